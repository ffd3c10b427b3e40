"""Interactions along training: what a network learns, order by order, and when it over-fits."""

__all__: list[str] = []
