"""An exhibit: a network with inputs to explain, and all that a method needs to explain them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from unmask.players import Players
from unmask.score import Score
from unmask.views import View


@dataclass(frozen=True)
class Exhibit:
    """A network in evaluation mode and inputs that it was not trained on.

    The functions of the zoo keep what they return, so within a process an exhibit is shared. Who
    wants to change the network copies it first.

    Args:
        name: of the exhibit, which is also that of the function that makes it.
        model: the network.
        inputs: each without a batch axis; the lengths of texts differ.
        labels: the true class of each input, where there is one.
        classes: the names of the network's outputs.
        players: the parts of the i-th input, at most twelve.
        view: what a person sees of the i-th input.
        baseline: what stands where a part of the i-th input is hidden.
        score: the number that is read from the network for a class (or a token).
    """

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    players: Callable[[int], Players]
    view: Callable[[int], View]
    baseline: Callable[[int], Tensor]
    score: Callable[[nn.Module, int], Score]
