"""What explanations cost that a metric makes."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.evaluation.explained import Explain
from unmask.score import Score


@dataclass
class Counted:
    """An explanation that counts the inputs on which the model is run for it.

    Args:
        explain: makes the explanation.
        evaluations: inputs so far; None once an explanation does not say how many.
    """

    explain: Explain
    evaluations: int | None = 0

    def __call__(self, score: Score, x: Tensor) -> Any:  # `explained` looks at what it is
        made = self.explain(score, x)
        told = getattr(made, "evaluations", None)
        spent = self.evaluations
        self.evaluations = None if spent is None or told is None else spent + told
        return made
