"""What explanations are good for: each use with what it brings, measured on trained networks."""

from unmask.evaluation.retrained import Train
from unmask.evaluation.uses.correct_reasons import Correct, correct_reasons
from unmask.evaluation.uses.find_label_errors import find_label_errors, label_errors_found
from unmask.evaluation.uses.prune_units import prune_units
from unmask.evaluation.uses.spot_shortcuts import spot_shortcuts

__all__ = [
    "Correct",
    "Train",
    "correct_reasons",
    "find_label_errors",
    "label_errors_found",
    "prune_units",
    "spot_shortcuts",
]
