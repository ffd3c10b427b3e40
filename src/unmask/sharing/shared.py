"""Work that coalitions share: what every way to an exact table below 2^n passes has to offer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jaxtyping import Int, Shaped
from torch import Tensor

from unmask.game import Game

CHECKED = 64
"""Coalitions, drawn at random for each background, that shared work is checked on. Each takes a
row of the whole model."""


@dataclass(frozen=True)
class Narrowed:
    """That part of a model's output on which a score depends; no other needs to be computed.

    Args:
        narrow: what the model puts out -> the part.
        widen: the part -> the shape that the model puts out, NaN in what is left out.
    """

    narrow: Callable[[Tensor], Tensor]
    widen: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shared:
    """One background's 2^n masked inputs, with the work done once that many of them share.

    Whoever asks for the table runs `rest` on all `blocks`, reads the score from what it puts out,
    and compares some rows with the model itself: a way to share may be wrong, a table may not.

    Args:
        blocks: at most so many rows at a time -> what has been shared, for every coalition once.
            A block may be written over once the next is asked for.
        rest: what the model makes of a block: one row of its output for each row.
        rows: how many rows of which part of the model one table takes, all that `blocks` and
            `rest` run; parts in the order of the model, named by the layers they end at.
        order: the place in lattice order of each row in turn; None where that is their order.
        narrowed: the part of the model's output that `rest` puts out; None for all of it.
    """

    blocks: Callable[[int], Iterator[Shaped[Tensor, "batch *inside"]]]
    rest: Callable[[Tensor], Tensor]
    rows: Mapping[str, int]
    order: Int[Tensor, " coalitions"] | None = None
    narrowed: Narrowed | None = None


Way = Callable[[Tensor], Shared]
"""A way to share, once it is known to pay: a background -> its share. It runs no model yet."""


def rows_run(game: Game) -> dict[str, int]:
    """How many rows of which part of a model a game's last table took.

    Args:
        game: made by `masked`. Before its table was asked for, and of other games, nothing is
            known.
    """
    return dict(getattr(game.everything, "rows", {}))
