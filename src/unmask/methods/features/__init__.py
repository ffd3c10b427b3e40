"""Features: what neurons and layers encode."""

from unmask.methods.features.deconvnet import deconvnet
from unmask.methods.features.guided_backprop import guided_backprop

__all__ = ["deconvnet", "guided_backprop"]
