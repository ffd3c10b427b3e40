"""Taylor effects, and how attribution methods share them out."""
