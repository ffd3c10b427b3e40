"""What was found of a network at one step of its training."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unmask.results import Interactions


@dataclass(frozen=True)
class Snapshot:
    """The logic of a network on a fixed set of samples, at one step of its training.

    A history is a sequence of these in the order of their steps, of the same samples in the same
    order; it begins at step 0, before the first update.

    Args:
        step: updates of the parameters so far.
        terms: one explanation per sample.
        train_losses: of the network then, on training data: one per sample, or per batch.
        test_losses: the same on data that it does not learn from.
    """

    step: int
    terms: tuple[Interactions, ...]
    train_losses: Float[Tensor, " train"] | None = None
    test_losses: Float[Tensor, " test"] | None = None
