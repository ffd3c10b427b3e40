"""The mean order of each input's terms along training, in which the phases are looked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.interactions.terms.orders import mean_order, order_shares
from unmask.interactions.terms.snapshot import Snapshot
from unmask.interactions.terms.stacked import salient, stacked


@dataclass(frozen=True)
class CentreCurves:
    """The mean order of every input at every checkpoint.

    Args:
        steps: of the checkpoints.
        orders: a row per input that has terms at all of them.
        players: n.
        left_out: how many inputs have no term at some checkpoint.
    """

    steps: Float[Tensor, " checkpoints"]
    orders: Float[Tensor, "inputs checkpoints"]
    players: int
    left_out: int

    @property
    def times(self) -> Float[Tensor, " checkpoints"]:
        """Log-steps, s = log(1 + t)."""
        return self.steps.log1p()

    def until(self, count: int) -> "CentreCurves":
        """The same at the first checkpoints alone."""
        return CentreCurves(self.steps[:count], self.orders[:, :count], self.players, self.left_out)


def centre_curves(history: Sequence[Snapshot], tau: float, least: int) -> CentreCurves:
    """Read the mean orders off a history.

    Args:
        history: snapshots of the same inputs.
        tau: the least strength of a term that counts, relative to the strongest of its input.
        least: how many checkpoints are needed.
    """
    steps = [snapshot.step for snapshot in history]
    if len(steps) < least:
        raise ValueError(
            f"A course of training shows in {least} checkpoints or more, but the history has "
            f"{len(steps)}. Keep more, at steps that grow by a factor."
        )
    if any(before >= after for before, after in pairwise(steps)):
        raise ValueError(
            f"A history goes from step to later step, but its steps are {steps}. "
            "Give one snapshot per checkpoint, in the order of training."
        )
    if steps[0] < 0:
        raise ValueError(f"A training begins at step 0, but the first step is {steps[0]}.")
    counts = {len(snapshot.terms) for snapshot in history}
    if len(counts) > 1:
        raise ValueError(
            f"A history follows the same inputs, but its snapshots are of {sorted(counts)} inputs. "
            "Explain all of them at every checkpoint."
        )
    players = {len(one.names) for snapshot in history for one in snapshot.terms}
    if len(players) > 1:
        raise ValueError(
            f"Orders are followed among the same players, but there are {sorted(players)} of them. "
            "Explain all inputs with equally many at every checkpoint."
        )
    return together(
        steps, [centres_of(snapshot, tau) for snapshot in history], len(history[0].terms[0].names)
    )


def together(
    steps: Sequence[int], centres: Sequence[Float[Tensor, " inputs"]], players: int
) -> CentreCurves:
    """The curves of the inputs that have terms at all checkpoints.

    Args:
        steps: of the checkpoints.
        centres: the mean order of each input, at each of them.
        players: n.
    """
    orders = torch.stack(list(centres), dim=1)
    whole = orders.isfinite().all(1)
    if not whole.any():
        raise ValueError(
            f"None of the {len(orders)} inputs has a term at every checkpoint, so there is no "
            "order to follow. Look at whether the network's output depends on its input at all."
        )
    return CentreCurves(
        torch.tensor(steps, dtype=torch.float64), orders[whole], players, int((~whole).sum())
    )


def centres_of(snapshot: Snapshot, tau: float) -> Float[Tensor, " inputs"]:
    """The mean order of each input's terms; NaN where there is no term.

    Args:
        snapshot: of one checkpoint.
        tau: the least strength of a term that counts, relative to the strongest of its input.
    """
    stack = stacked(snapshot.terms)
    return mean_order(order_shares(stack * salient(stack, tau))).cpu()
