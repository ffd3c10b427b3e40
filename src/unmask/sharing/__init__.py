"""Exact tables below the cost of 2^n passes, from work that coalitions share.

Each way to share is a function `(score, x, players, rows) -> Way | None` in `WAYS`, where `rows`
is the batch that fits: `recurring` for recurrent networks, `coloured` for convolutional ones,
`causal` for language models. None means that it does not apply or would not pay; that is told from
shapes, never from a clock, so that the same call gives the same bits. `masked` takes the first way
that there is, and checks what comes of it.
"""

from collections.abc import Callable

from jaxtyping import Shaped
from torch import Tensor

from unmask.players import Players
from unmask.score import Score
from unmask.sharing.convolutions.colouring import coloured
from unmask.sharing.decoders.causal import causal
from unmask.sharing.decoders.decoder import GoesOn
from unmask.sharing.decoders.past import Past
from unmask.sharing.recurrent.recurring import recurring
from unmask.sharing.shared import CHECKED, Shared, Way, rows_run

WAYS: tuple[Callable[[Score, Tensor, Players, int], Way | None], ...] = (
    recurring,
    coloured,
    causal,
)


def way_to_share(
    score: Score, x: Shaped[Tensor, "*input"], players: Players, rows: int
) -> Way | None:
    """The first way that applies and pays.

    Args:
        score: what is read from each row.
        x: one input.
        players: who owns which position.
        rows: inputs in one call of the model.
    """
    return next((way for find in WAYS if (way := find(score, x, players, rows))), None)


__all__ = ["CHECKED", "WAYS", "GoesOn", "Past", "Shared", "Way", "rows_run", "way_to_share"]
