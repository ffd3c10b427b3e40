"""Masked inputs without masks: from block to block only one player's positions are rewritten."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from unmask.players import Players


def gray_code(
    x: Shaped[Tensor, "*input"],
    players: Players,
    background: Shaped[Tensor, "*input"],
    low: int,
    others: Sequence[int],
) -> Iterator[Shaped[Tensor, "batch *input"]]:
    """One tensor, written over: all coalitions of the first `low` players with each of `others`.

    Args:
        x: one input.
        players: who owns which position.
        background: what stands where a player is hidden.
        low: players of whom all coalitions are in a block.
        others: coalitions of the others, as numbers; the fewer players come and go from one to the
            next, the less is rewritten.
    """
    owner = players.owner.flatten().to(x.device)
    counts = (owner + 1).bincount(minlength=len(players.names) + 1)
    places = owner.argsort().split(counts.tolist())[1:]  # the first are those of owner -1
    shown, hidden = x.flatten(), torch.where(owner < 0, x.flatten(), background.flatten())
    block = hidden.new_empty(2**low, len(owner))

    def show(rows: Tensor, player: int) -> None:
        rows[..., places[player]] = shown[places[player]]

    before, version = None, -1
    for other in others:
        if before is None or block._version != version:  # a model may write on its input
            block.copy_(hidden)
            for player in range(low):
                show(block.view(-1, 2, 2**player, len(owner))[:, 1], player)
            for player in range(low, len(places)):
                if other >> player - low & 1:
                    show(block, player)
        else:
            come, gone = other & ~before, before & ~other
            for player in range(low, low + (come | gone).bit_length()):
                if come >> player - low & 1:
                    show(block, player)
                elif gone >> player - low & 1:
                    block[:, places[player]] = hidden[places[player]]
        before, version = other, block._version
        yield block.view(-1, *x.shape)
