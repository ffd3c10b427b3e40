"""A game that counts what it is asked, and refuses to be asked more than was allowed."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64

from unmask.game import Game

ROUNDING = 32
"""Differences below so many times the last digit of the largest value are rounding."""


@dataclass
class Purse:
    """A game, and how many of its coalitions may still be asked for.

    Args:
        game: v.
        budget: coalitions in all.
        spent: those asked for so far.
        largest: the largest size of a value so far.
        smallest_step: of the float type that the values come in.
        device: where they come from.
    """

    game: Game
    budget: int
    spent: int = 0
    largest: float = 0.0
    smallest_step: float = torch.finfo(torch.float64).eps
    device: torch.device | str = "cpu"

    @property
    def players(self) -> int:
        """How many there are."""
        return len(self.game.names)

    @property
    def left(self) -> int:
        """Coalitions that may still be asked for."""
        return self.budget - self.spent

    @property
    def tolerance(self) -> float:
        """What is no more than this may be rounding."""
        return ROUNDING * self.smallest_step * self.largest

    def ask(self, masks: Bool[np.ndarray, "rows players"]) -> Float64[np.ndarray, " rows"]:
        """The values of some coalitions."""
        if len(masks) > self.left:
            raise ValueError(
                f"{len(masks)} coalitions were asked for where {self.left} of {self.budget} are "
                "left. Raise the budget."
            )
        if len(masks) == 0:
            return np.zeros(0)
        values = self.game(torch.from_numpy(np.ascontiguousarray(masks))).detach()
        self.spent += len(masks)
        self.device = values.device
        if values.is_floating_point():
            self.smallest_step = torch.finfo(values.dtype).eps
        found = values.double().cpu().numpy()
        self.largest = max(self.largest, float(np.abs(found).max()))
        return found
