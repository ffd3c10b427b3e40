"""Interactions in contexts of each size, and of players who act as one."""
