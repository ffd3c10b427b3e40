"""A game: one number for every coalition of players."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.lattice import coalitions, indices

LARGEST_TABLE = 20
"""Players whose coalitions still fit a table: 2^20 values and, in float64, 8 MiB a copy."""


@dataclass(frozen=True)
class Game:
    """A number for every coalition of players. It knows no model.

    Args:
        value: coalitions as masks -> their values.
        names: of the players.
        everything: the values of all coalitions in lattice order, where there is a cheaper way
            than to ask for one after the other.
    """

    value: Callable[[Bool[Tensor, "batch players"]], Float[Tensor, " batch"]]
    names: tuple[str, ...]
    everything: Callable[[], Float[Tensor, " coalitions"]] | None = None

    def __call__(self, masks: Bool[Tensor, "batch players"]) -> Float[Tensor, " batch"]:
        if masks.ndim != 2 or masks.shape[1] != len(self.names) or masks.dtype != torch.bool:
            raise ValueError(
                f"This game takes bool masks of shape [batch, {len(self.names)}], but got "
                f"{masks.dtype} of shape {tuple(masks.shape)}. Give one column per player."
            )
        values = self.value(masks)
        self._refuse_broken(values, len(masks), lambda i: masks[i])
        return values

    def table(self) -> Float[Tensor, " coalitions"]:
        """The values of all 2^n coalitions, in lattice order."""
        n = len(self.names)
        if n > LARGEST_TABLE:
            raise ValueError(
                f"{n} players have 2^{n} coalitions; at most {LARGEST_TABLE} players fit a table. "
                "Group the players into fewer, larger parts."
            )
        if self.everything is None:
            return self(coalitions(n))
        values = self.everything()
        self._refuse_broken(values, 2**n, lambda i: coalitions(n)[i])
        return values

    def _refuse_broken(self, values: Tensor, count: int, mask_of: Callable[[int], Tensor]) -> None:
        if values.shape != (count,):
            raise ValueError(
                f"A game is one number per coalition, but for {count} coalitions its values have "
                f"shape {tuple(values.shape)}. Give a function that returns one number per mask."
            )
        if values.sum().isfinite():  # then all are; it is the cheaper question
            return
        finite = values.isfinite()
        if finite.all():
            return
        first = int((~finite).nonzero()[0, 0])
        present = [
            name for name, there in zip(self.names, mask_of(first).tolist(), strict=True) if there
        ]
        raise ValueError(
            f"The value of the coalition {{{', '.join(present)}}} is {float(values[first])}. "
            "Look at what the model returns when all other players are hidden, or choose "
            "another baseline."
        )


def tabulated(game: Game) -> Game:
    """The same game, evaluated on all coalitions once, so that asking again is free."""
    table = game.table()
    return Game(
        lambda masks: table[indices(masks).to(table.device)], game.names, lambda: table.clone()
    )
