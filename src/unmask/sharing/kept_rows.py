"""Some rows of what a model puts out, kept on the way, so that two ways to it can be compared."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


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
