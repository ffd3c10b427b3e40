"""Some rows of what a model puts out, kept on the way, so that two ways to it can be compared."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

ROUNDING = 128
"""How many times the precision of its type a number may differ when it is computed in another
batch; of the largest number that the model puts out."""


@dataclass
class KeptRows:
    """A model, and what it puts out for some of the rows that pass through it.

    Args:
        model: what runs them.
        places: of the rows that are kept, counted from the first that passes.
        done: rows that have passed.
        found: which of the places, and the rows.
    """

    model: Callable[[Tensor], Tensor]
    places: Int[Tensor, " kept"]
    done: int = 0
    found: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, block: Tensor) -> Tensor:
        output = self.model(block)
        chosen = ((self.places >= self.done) & (self.places < self.done + len(block))).nonzero()
        if isinstance(output, Tensor) and len(chosen) and len(output) == len(block):
            rows = self.places[chosen[:, 0]] - self.done
            self.found.append((chosen[:, 0], output[rows.to(output.device)]))
        self.done += len(block)
        return output

    def rows(self) -> Shaped[Tensor, "kept ..."]:
        """The rows that were kept, in the order of their places as given."""
        order = torch.cat([chosen for chosen, _ in self.found]).argsort()
        return torch.cat([rows for _, rows in self.found])[order.to(self.found[0][1].device)]


def size_of(found: Shaped[Tensor, "rows ..."], true: Shaped[Tensor, "rows ..."]) -> float:
    """The largest of the numbers that rounding may have changed.

    What a mask puts there, such as -1e9 for a class that may not be, is far larger and exactly the
    same: it would let any other number pass.

    Args:
        found: in the one way.
        true: in the other.
    """
    if found.shape != true.shape or not true.is_floating_point():
        return 0.0
    found, true = found.reshape(len(true), -1), true.reshape(len(true), -1)
    own = true[:, (true != true[:1]).any(0)].abs()
    changed = true[found != true].abs()
    sizes = [float(own.median())] if own.numel() else []  # those that differ may be few and small
    return max(sizes + ([float(changed.max())] if changed.numel() else []), default=0.0)


def alike(found: Shaped[Tensor, "rows ..."], true: Shaped[Tensor, "rows ..."], size: float) -> bool:
    """Whether two ways find the same but for the rounding of numbers of a size.

    Args:
        found: in the one way.
        true: in the other.
        size: of the numbers.
    """
    if found.shape != true.shape or found.dtype != true.dtype or not true.is_floating_point():
        return False
    if true.dtype not in (torch.float32, torch.float64):
        return False  # too coarse to tell what is wrong from what is rounded
    apart = (found - true).abs().max()
    return bool(apart <= ROUNDING * torch.finfo(true.dtype).eps * size)  # NaN is not
