"""Information: what a network keeps of its input, and what it may be told to keep."""

from unmask.methods.saliency.information.attention_rollout import attention_rollout
from unmask.methods.saliency.information.attention_test import (
    Attentive,
    attention_test,
    uniform_baseline,
)
from unmask.methods.saliency.information.information_bottleneck import information_bottleneck
from unmask.methods.saliency.information.mutual_information_saliency import (
    mutual_information_saliency,
)
from unmask.methods.saliency.information.rationale import Rationale, rationale
from unmask.methods.saliency.information.selections import HardKuma, Reinforce, StraightThrough

__all__ = [
    "Attentive",
    "HardKuma",
    "Rationale",
    "Reinforce",
    "StraightThrough",
    "attention_rollout",
    "attention_test",
    "information_bottleneck",
    "mutual_information_saliency",
    "rationale",
    "uniform_baseline",
]
