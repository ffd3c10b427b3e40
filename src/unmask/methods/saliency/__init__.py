"""Saliency: which part of the input matters.

The section of the survey that speaks of saliency is the largest, so its methods lie in folders by
how they work: games in `shapley`, derivatives in `gradients`.
"""

from unmask.methods.saliency.gradients import gradient, integrated_gradients
from unmask.methods.saliency.shapley import shapley_exact

__all__ = ["gradient", "integrated_gradients", "shapley_exact"]
