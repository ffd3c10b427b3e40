"""The input's parts as players of a game, which share its outcome fairly."""

from unmask.methods.saliency.shapley.shapley_exact import shapley_exact

__all__ = ["shapley_exact"]
