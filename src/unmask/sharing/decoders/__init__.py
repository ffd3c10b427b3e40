"""Decoders of language models, which read a prefix once for all coalitions that have it."""
