"""Does removing what is said to matter change the score as the explanation says?"""

from unmask.evaluation.faithfulness.completeness_gap import (
    completeness_gap,
    non_sensitivity,
)
from unmask.evaluation.faithfulness.deletion import deletion, insertion
from unmask.evaluation.faithfulness.faithfulness_correlation import (
    faithfulness_correlation,
    faithfulness_estimate,
    sensitivity_n,
    surrogate_r2,
)
from unmask.evaluation.faithfulness.infidelity import (
    GaussianNoise,
    Perturbation,
    RandomSquare,
    infidelity,
    removal_infidelity,
)
from unmask.evaluation.faithfulness.irof import irof
from unmask.evaluation.faithfulness.logic_fidelity import (
    contribution_fidelity,
    logic_fidelity,
)
from unmask.evaluation.faithfulness.monotonicity import (
    monotonicity,
    monotonicity_correlation,
)
from unmask.evaluation.faithfulness.pixel_flipping import pixel_flipping
from unmask.evaluation.faithfulness.road import road, road_combined
from unmask.evaluation.faithfulness.roar import roar
from unmask.evaluation.faithfulness.sufficiency import comprehensiveness, sufficiency

__all__ = [
    "GaussianNoise",
    "Perturbation",
    "RandomSquare",
    "completeness_gap",
    "comprehensiveness",
    "contribution_fidelity",
    "deletion",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "infidelity",
    "insertion",
    "irof",
    "logic_fidelity",
    "monotonicity",
    "monotonicity_correlation",
    "non_sensitivity",
    "pixel_flipping",
    "removal_infidelity",
    "road",
    "road_combined",
    "roar",
    "sensitivity_n",
    "sufficiency",
    "surrogate_r2",
]
