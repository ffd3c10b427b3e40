"""How far does an explanation move when the input hardly does?

Low values of `max_sensitivity` and its kin are stable; `neighbour_similarity` asks the same of
real inputs that are alike, `run_to_run` of random draws, `implementation_invariance` of another
way to compute the same function. What never changes is stable too, so none of them is enough.
"""

from unmask.evaluation.stability.continuity import continuity
from unmask.evaluation.stability.implementation_invariance import implementation_invariance
from unmask.evaluation.stability.local_lipschitz import local_lipschitz
from unmask.evaluation.stability.max_sensitivity import average_sensitivity, max_sensitivity
from unmask.evaluation.stability.neighbour_similarity import neighbour_similarity, overlap
from unmask.evaluation.stability.relative_stability import (
    relative_output_stability,
    relative_representation_stability,
    relative_stability,
)
from unmask.evaluation.stability.run_to_run import run_to_run

__all__ = [
    "average_sensitivity",
    "continuity",
    "implementation_invariance",
    "local_lipschitz",
    "max_sensitivity",
    "neighbour_similarity",
    "overlap",
    "relative_output_stability",
    "relative_representation_stability",
    "relative_stability",
    "run_to_run",
]
