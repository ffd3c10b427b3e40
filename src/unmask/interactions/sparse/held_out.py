"""How far an explanation is off on coalitions that it was not made from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from unmask.interactions.sparse.purse import ROUNDING, Purse

NEAR_FULL = 5
"""Of the players of a coalition near the full one at most one in so many is missing."""

_MISSED = 1e-8
"""Of the largest value: an error from which a constant game was missed."""


@dataclass(frozen=True)
class HeldOut:
    """Coalitions that serve to judge and for nothing else.

    Args:
        uniform: each as likely as any other.
        values: theirs.
        near_full: of which at most a fifth of the players is missing.
        values_near_full: theirs.
        noise: the largest difference between two answers to the same question.
        rounding: the size of a difference that may be rounding or noise.
        digits: the size of one that may be the rounding of a single number.
        unit: the largest size of a value.
    """

    uniform: Bool[np.ndarray, "rows players"]
    values: Float64[np.ndarray, " rows"]
    near_full: Bool[np.ndarray, "others players"]
    values_near_full: Float64[np.ndarray, " others"]
    noise: float
    rounding: float
    digits: float
    unit: float

    def residuals(
        self, explained: Callable[[Bool[np.ndarray, "rows players"]], Float64[np.ndarray, " rows"]]
    ) -> tuple[float, float]:
        """The shares of the variance that are not explained, on either kind of coalition."""
        return (
            self._share(explained(self.uniform), self.values),
            self._share(explained(self.near_full), self.values_near_full),
        )

    def _share(
        self, found: Float64[np.ndarray, " rows"], values: Float64[np.ndarray, " rows"]
    ) -> float:
        """Mean squared error by variance; of a constant game nothing, unless it was missed."""
        error = float(np.mean((values - found) ** 2))
        variance = float(values.var())
        if variance <= self.digits**2:
            missed = error > max(self.digits, _MISSED * self.unit) ** 2
            return float("inf") if missed else 0.0
        return error / variance


def held_out(purse: Purse, players: int, random: np.random.Generator) -> HeldOut:
    """Draw coalitions to judge by, the full one among them; a tenth of the budget, within bounds.

    Args:
        purse: the game.
        players: n.
        random: draws them.
    """
    count = int(np.clip(purse.budget // 30, 8, 300))
    uniform = random.random((2 * count, players)) < 0.5
    missing = random.integers(0, players // NEAR_FULL + 1, count)
    missing[0] = 0  # the input itself
    place = np.argsort(np.argsort(random.random((count, players)), axis=1), axis=1)
    near_full = place >= missing[:, None]
    values, others = purse.ask(uniform), purse.ask(near_full)
    # Asked again in another order, in which a model's batches are other ones too.
    again = purse.ask(uniform[:8][::-1])[::-1]
    noise = float(np.abs(again - values[:8]).max())
    return HeldOut(
        uniform,
        values,
        near_full,
        others,
        noise,
        rounding=max(purse.tolerance, 4 * noise),
        digits=2 * purse.tolerance / ROUNDING,
        unit=purse.largest,
    )
