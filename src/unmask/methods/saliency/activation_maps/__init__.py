"""Activation maps: where a layer holds what the score is made of."""

from unmask.methods.saliency.activation_maps.ablation_cam import ablation_cam
from unmask.methods.saliency.activation_maps.cam import cam, cam_box
from unmask.methods.saliency.activation_maps.grad_cam import (
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    x_grad_cam,
)
from unmask.methods.saliency.activation_maps.score_cam import score_cam
from unmask.methods.saliency.activation_maps.weak_localization import (
    WeakLocaliser,
    convolution_of,
    weak_localization,
)

__all__ = [
    "WeakLocaliser",
    "ablation_cam",
    "cam",
    "cam_box",
    "convolution_of",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
    "score_cam",
    "weak_localization",
    "x_grad_cam",
]
