"""What a monitor says of a training: one line per step, and the beginning of the second phase."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.interactions import Snapshot
from unmask.interactions.terms.orders import mean_order, order_shares
from unmask.interactions.terms.stacked import stacked
from unmask.methods.dynamics.centre_curves import centres_of, together
from unmask.methods.dynamics.phase_two_begun import Look, look, verdict
from unmask.methods.dynamics.rising import FEWEST
from unmask.results import Measurement

LEVEL = 0.05
LEAST = 0.01
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Seen:
    """What the network chose at a step.

    Args:
        predicted: the class of each sample.
        targets: the class that is explained, of each.
        before: what was predicted at the step before; None if that is not known.
    """

    predicted: tuple[int, ...]
    targets: tuple[int, ...]
    before: tuple[int, ...] | None

    @property
    def right(self) -> int:
        """Samples that are given the class that is explained."""
        return sum(one == other for one, other in zip(self.predicted, self.targets, strict=True))

    @property
    def flipped(self) -> int:
        """Samples that are given another class than at the step before."""
        if self.before is None:
            return 0
        return sum(one != other for one, other in zip(self.predicted, self.before, strict=True))

    def notes(self) -> tuple[str, ...]:
        """The same in words, for the record."""
        return (
            f"{self.right} of {len(self.targets)} samples are given the class that is explained",
            f"{self.flipped} are given another class than at the step before",
        )


class Progress:
    """The course of the mean order, looked at after every step."""

    def __init__(self, tau: float) -> None:
        self.tau = tau
        self.begun = False
        self.last: Measurement | None = None
        """What was found at the last look: see `phase_two_begun`."""
        self._steps: list[int] = []
        self._centres: list[Tensor] = []
        self._looks: list[Look] = []

    def add(self, snapshot: Snapshot) -> str | None:
        """Look at one more step; what is to be told, the first time that there is something.

        Args:
            snapshot: of a later step than all before.
        """
        self._steps.append(snapshot.step)
        self._centres.append(centres_of(snapshot, self.tau))
        if len(self._steps) < FEWEST:
            return None
        try:
            curves = together(self._steps, self._centres, len(snapshot.terms[0].names))
        except ValueError:  # no sample has terms all along, as of a network that is constant yet
            self._looks.append(_nothing(len(self._steps)))
            return None
        self._looks.append(look(curves))
        self.last = verdict(curves, self._looks, LEAST, LEVEL)
        if self.begun or not self.last.numbers["begun"]:
            return None
        self.begun = True
        return _announced(snapshot.step, self.last)


def line(snapshot: Snapshot, seen: Seen) -> str:
    """A step in a line: mean order, the share of each order as bars, losses, predictions.

    Args:
        snapshot: what was found.
        seen: what the network chose.
    """
    shares = order_shares(stacked(snapshot.terms))
    parts = [f"step {snapshot.step:>6}"]
    if shares.isfinite().any():
        mean = float(mean_order(shares).nanmean())
        parts.append(f"order {mean:.2f} {bars(shares.nanmean(0))}")
    else:
        parts.append("no terms: the network is constant")
    for name, losses in (("train", snapshot.train_losses), ("test", snapshot.test_losses)):
        if losses is not None:
            parts.append(f"{name} {float(losses.mean()):.3f}")
    parts.append(f"{seen.right}/{len(seen.targets)} as explained")
    if seen.flipped:
        parts.append(f"{seen.flipped} flipped")
    return "  ".join(parts)


def bars(shares: Tensor) -> str:
    """Numbers as bars, of which the largest is full.

    Args:
        shares: at least 0.

    >>> bars(torch.tensor([0.1, 0.4, 0.2]))
    '▃█▅'
    """
    top = float(shares.max())
    heights = [round(float(share) / top * (len(_BARS) - 1)) if top > 0 else 0 for share in shares]
    return "".join(_BARS[height] for height in heights)


def _announced(step: int, found: Measurement) -> str:
    n = found.numbers
    chance = max(n["p_value"], 0.001)
    since = f"step {n['since']:.0f} ({n['since_low']:.0f} to {n['since_high']:.0f})"
    return (
        f"step {step:>6}  Phase two has begun, since {since}: interactions grow more complex. "
        f"The chance that this is a false alarm is at most {chance:.1%}."
    )


def _nothing(count: int) -> Look:
    return Look(torch.ones(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64))
