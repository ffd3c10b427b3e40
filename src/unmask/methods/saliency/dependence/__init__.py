"""Dependence: how the score, or the loss, changes with a column of a table over a dataset."""

from unmask.methods.saliency.dependence.feature_importance_curves import (
    feature_importance_curves,
    permutation_importance,
)
from unmask.methods.saliency.dependence.ice import ice, ice_derivative
from unmask.methods.saliency.dependence.partial_dependence import partial_dependence
from unmask.methods.saliency.dependence.shapley_feature_importance import (
    importance_game,
    shapley_feature_importance,
)

__all__ = [
    "feature_importance_curves",
    "ice",
    "ice_derivative",
    "importance_game",
    "partial_dependence",
    "permutation_importance",
    "shapley_feature_importance",
]
