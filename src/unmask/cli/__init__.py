"""The door: what a person types."""
