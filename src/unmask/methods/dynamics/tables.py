"""The values of all coalitions of many inputs at once, of one score or of several."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unmask.game import LARGEST_TABLE
from unmask.lattice import coalitions
from unmask.masking import cached_rows
from unmask.players import Players

Read = Callable[
    [Shaped[Tensor, "rows *input"], Int[Tensor, " rows"]], Float[Tensor, "rows readings"]
]
"""From masked rows, and the input that each was made from, to one number or more of each."""


def tables(
    read: Read,
    x: Shaped[Tensor, "inputs *input"],
    players: Players,
    hidden: Shaped[Tensor, "inputs backgrounds *input"],
    batch_size: int | None = None,
) -> Float[Tensor, "readings inputs coalitions"]:
    r"""Every number that is read from a model, on every coalition of every input.

    $$
    v_r(S \mid x) = \frac1K \sum_{k=1}^K F_r\bigl(m_S \odot x + (1 - m_S) \odot b_k(x)\bigr)
    $$

    `masked` plays on one input. Here a batch goes across inputs, coalitions and backgrounds, so
    that few players do not mean small batches, and several numbers are read from one pass.

    Args:
        read: F; it may write on the rows that it is given.
        x: the inputs.
        players: who owns which position.
        hidden: b, what stands where a player is hidden, of each input.
        batch_size: rows that are read at a time.
    """
    n, backgrounds = len(players.names), hidden.shape[1]
    if n > LARGEST_TABLE:
        raise ValueError(
            f"{n} players have 2^{n} coalitions of every input; at most {LARGEST_TABLE} players "
            "are possible. Group the players into fewer, larger parts."
        )
    size = batch_size or cached_rows(x[0])
    masks = coalitions(n).to(x.device)
    total = len(x) * 2**n * backgrounds
    values: Tensor | None = None
    with torch.inference_mode(False), torch.no_grad():
        for first in range(0, total, size):
            row = torch.arange(first, min(first + size, total), device=x.device)
            place, background = row // backgrounds, row % backgrounds
            source, mask = place // 2**n, place % 2**n
            shown = players.cover(masks[mask])
            found = read(torch.where(shown, x[source], hidden[source, background]), source)
            if values is None:
                values = found.new_zeros(found.shape[1], len(x) * 2**n, dtype=torch.float64)
            values.index_add_(1, place, found.double().T)
    assert values is not None  # there is at least one row
    return values.view(len(values), len(x), 2**n) / backgrounds


def hidden_for(
    x: Shaped[Tensor, "inputs *input"], backgrounds: Shaped[Tensor, "backgrounds *input"]
) -> Shaped[Tensor, "inputs backgrounds *input"]:
    """The same backgrounds for every input."""
    return backgrounds.expand(len(x), *backgrounds.shape)
