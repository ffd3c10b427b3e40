"""The input's parts as players of a game, which share its outcome fairly."""

from unmask.methods.saliency.shapley.dasp import dasp
from unmask.methods.saliency.shapley.deep_shap import deep_shap
from unmask.methods.saliency.shapley.kernel_shap import kernel_shap, leverage_shap
from unmask.methods.saliency.shapley.permutation_shapley import permutation_shapley
from unmask.methods.saliency.shapley.shapley_exact import shapley_exact
from unmask.methods.saliency.shapley.shapley_regression import (
    shapley_coefficients,
    shapley_regression,
)
from unmask.methods.saliency.shapley.shapley_values import shapley_values

__all__ = [
    "dasp",
    "deep_shap",
    "kernel_shap",
    "leverage_shap",
    "permutation_shapley",
    "shapley_coefficients",
    "shapley_exact",
    "shapley_regression",
    "shapley_values",
]
