"""Recurrent networks, whose states depend on what they have read so far alone."""
