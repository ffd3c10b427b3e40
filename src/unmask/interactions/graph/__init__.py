"""Fewer terms, and the words that they share."""
