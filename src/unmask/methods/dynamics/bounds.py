"""What follows from means over inputs, and how sure it is."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.interactions.bootstrap import CONFIDENCE, DRAWS, interval, resampled

Statistic = Callable[[Float[Tensor, "draws parts"]], Float[Tensor, "draws numbers"]]
"""From means over inputs to what is told of them, for any number of sets of means at a time."""


def bounds(
    values: Float[Tensor, "inputs parts"],
    statistic: Statistic,
    generator: torch.Generator | None,
) -> tuple[Float[Tensor, " numbers"], Float[Tensor, " numbers"], Float[Tensor, " numbers"]]:
    """A statistic of means over inputs, and the bounds that the bootstrap sets it.

    The bounds hold it in 19 of 20 resamplings. A single input tells nothing of others: there they
    are NaN.

    Args:
        values: what is averaged, a row per input.
        statistic: of the means.
        generator: source of the draws.
    """
    found = statistic(values.mean(0, keepdim=True))
    weights = resampled(len(values), DRAWS, admission.drawing(generator)).to(values)
    low, high = interval(found[0], statistic(weights @ values), CONFIDENCE)
    return found[0], low, high
