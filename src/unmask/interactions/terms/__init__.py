"""The terms of many games at once."""
