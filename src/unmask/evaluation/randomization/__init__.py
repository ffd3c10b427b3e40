"""Does an explanation change when the weights, the labels or the class do?"""

from unmask.evaluation.randomization.data_randomization import data_randomization
from unmask.evaluation.randomization.efficient_mprt import efficient_mprt
from unmask.evaluation.randomization.input_invariance import input_invariance
from unmask.evaluation.randomization.parameter_randomization import (
    parameter_randomization,
    smooth_mprt,
)
from unmask.evaluation.randomization.random_logit import random_logit
from unmask.evaluation.randomization.similarity import (
    absolute_rank_similarity,
    gaussian_structural_similarity,
    rank_similarity,
    structural_similarity,
)
from unmask.evaluation.randomization.smoothed import smoothed
from unmask.evaluation.randomization.weights import (
    as_new,
    bottom_up,
    like_moments,
    one_by_one,
    top_down,
)

__all__ = [
    "absolute_rank_similarity",
    "as_new",
    "bottom_up",
    "data_randomization",
    "efficient_mprt",
    "gaussian_structural_similarity",
    "input_invariance",
    "like_moments",
    "one_by_one",
    "parameter_randomization",
    "random_logit",
    "rank_similarity",
    "smooth_mprt",
    "smoothed",
    "structural_similarity",
    "top_down",
]
