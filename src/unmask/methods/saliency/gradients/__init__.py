"""Gradients: how the score changes with the input, at a point or along a path."""

from unmask.methods.saliency.gradients.gradient import gradient
from unmask.methods.saliency.gradients.integrated_gradients import integrated_gradients

__all__ = ["gradient", "integrated_gradients"]
