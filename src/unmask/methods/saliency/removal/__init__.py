"""Saliency by removal: hide, leave out or replace a part of the input and watch the output.

What hides players of one input is a method of a game. What slides, samples or deletes makes its
own inputs and reads a score, or looks at the model.
"""

from unmask.methods.saliency.removal.ablation import ablation, inclusion
from unmask.methods.saliency.removal.extremal_perturbation import (
    extremal_areas,
    extremal_perturbation,
)
from unmask.methods.saliency.removal.feature_omission import (
    feature_omission,
    information_difference,
    probability_difference,
)
from unmask.methods.saliency.removal.flipping_set import flipping_set, smallest_flipping_set
from unmask.methods.saliency.removal.gnn_explainer import gnn_explainer
from unmask.methods.saliency.removal.indirect_influence import indirect_influence
from unmask.methods.saliency.removal.meaningful_perturbation import meaningful_perturbation
from unmask.methods.saliency.removal.occlusion import occlusion
from unmask.methods.saliency.removal.omission_score import omission_score
from unmask.methods.saliency.removal.patch_samplers import ConditionalPatches, MarginalPatches
from unmask.methods.saliency.removal.prediction_difference import prediction_difference
from unmask.methods.saliency.removal.qii import disparity, influence_game, positive_rate, qii
from unmask.methods.saliency.removal.representation_erasure import representation_erasure
from unmask.methods.saliency.removal.rise import rise

__all__ = [
    "ConditionalPatches",
    "MarginalPatches",
    "ablation",
    "disparity",
    "extremal_areas",
    "extremal_perturbation",
    "feature_omission",
    "flipping_set",
    "gnn_explainer",
    "inclusion",
    "indirect_influence",
    "influence_game",
    "information_difference",
    "meaningful_perturbation",
    "occlusion",
    "omission_score",
    "positive_rate",
    "prediction_difference",
    "probability_difference",
    "qii",
    "representation_erasure",
    "rise",
    "smallest_flipping_set",
]
