"""Does an explanation point at a region that is known to matter?

These metrics reward agreement with whoever drew the region. Of a model that looks elsewhere they
rate a faithful explanation low: they measure faithfulness only where the evidence was planted.
"""

from unmask.evaluation.localization.focus import focus
from unmask.evaluation.localization.pointing_game import pointing_game
from unmask.evaluation.localization.relevance_mass import (
    attribution_iou,
    localization_auc,
    relevance_mass,
    relevance_rank,
    top_k_intersection,
)

__all__ = [
    "attribution_iou",
    "focus",
    "localization_auc",
    "pointing_game",
    "relevance_mass",
    "relevance_rank",
    "top_k_intersection",
]
