"""Bits of evidence: what a probability loses when a part of the input is averaged out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from unmask.score import Score

_BITS = 1 / math.log(2)


@dataclass(frozen=True)
class Belief:
    """A probability p and 1 - p, each to full precision, corrected after Laplace.

    Where the model has seen N inputs of K classes, p is taken for (p N + 1) / (N + K): no
    probability is 0 or 1 after finitely many of them.
    """

    of: Float[Tensor, "*batch"]
    against: Float[Tensor, "*batch"]

    def corrected(self, trained_on: int | float, classes: int) -> "Belief":
        """After Laplace; of infinitely many inputs nothing is corrected."""
        if math.isinf(trained_on):
            return self
        others = classes - 1
        return Belief(
            (self.of * trained_on + 1) / (trained_on + classes),
            (self.against * trained_on + others) / (trained_on + classes),
        )

    @property
    def odds(self) -> Float[Tensor, "*batch"]:
        """log2 p / (1 - p)."""
        return self.of.log2() - self.against.log2()

    @property
    def odds_slope(self) -> Float[Tensor, "*batch"]:
        """How fast that grows with p."""
        return _BITS / self.of + _BITS / self.against


def belief(log_odds: Float[Tensor, "*batch"]) -> Belief:
    """The probability of these log-odds, in nats."""
    return Belief(log_odds.sigmoid(), (-log_odds).sigmoid())


def moved(start: Belief, change: Float[Tensor, "*batch"]) -> Belief:
    """The belief whose probability is larger by so much."""
    return Belief((start.of + change).clamp(min=0), (start.against - change).clamp(min=0))


def counting(score: Score) -> tuple[Score, Callable[[], int]]:
    """The same score, and how many classes its model turned out to have once it has been read."""
    if score.name.startswith("probability"):
        raise ValueError(
            f"This method makes probabilities from log-odds, but the score is the {score.name}. "
            "Make it with log_odds(model, target)."
        )
    outputs: set[int] = set()

    def read(output: Tensor, rows: Int[Tensor, " batch"] | None) -> Tensor:
        outputs.add(output.shape[-1] if output.ndim > 1 else 1)
        return score.of(output, rows)

    return replace(score, read=read), lambda: max({2} | outputs)


def check_laplace(trained_on: int | float) -> None:
    """Refuse a number of inputs that is none."""
    if not trained_on > 0:
        raise ValueError(
            f"A model cannot have been trained on {trained_on} inputs. Give a number above 0; "
            "math.inf leaves probabilities as they are."
        )


def refuse_certain(values: Tensor) -> None:
    """Refuse evidence that is infinite because a probability is 0 or 1."""
    if not values.isfinite().all():
        raise ValueError(
            f"A probability is exactly 0 or 1 for {int((~values.isfinite()).sum())} of "
            f"{values.numel()} values, and has no finite evidence. Give trained_on, the number "
            "of inputs that the model was trained on."
        )
