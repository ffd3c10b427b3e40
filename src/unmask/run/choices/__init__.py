"""Choosing what a plan leaves open: the score, the players and the baseline of each input."""
