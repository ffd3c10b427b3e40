"""Convolutional networks: early layers on a few masks, put together for all.

A place of an early feature map sees few players. Players that no place sees together get one
colour, and are shown and hidden together: k colours take 2^k rows instead of 2^n. For a
coalition, each place is then taken from the row whose colours agree with the coalition on the
players that this place sees. Deeper layers see more, so a network is cut at several places: 16
rows up to one layer, 512 up to the next, put together from those 16, and 2^n from there on.
Between, where places see many players but not all the same, a convolution can be done for each
place as often as there are coalitions of the players that it sees.
"""

from collections.abc import Callable, Iterator
from copy import copy
from itertools import pairwise
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from unmask.lattice import coalitions
from unmask.players import Players
from unmask.score import Score
from unmask.sharing.chain import Chain, chain
from unmask.sharing.convolutions.convolution import convolved
from unmask.sharing.dependence import measured
from unmask.sharing.shared import Shared, Way
from unmask.sharing.stages import Stage, chosen, convolution, small

Piece = Callable[[Tensor], Tensor]


def coloured(score: Score, x: Shaped[Tensor, "*input"], players: Players, rows: int) -> Way | None:
    """Share the early layers of a convolutional network, where that pays.

    Args:
        score: its model must be a module that can be traced, in evaluation mode, without hooks.
        x: one input, real numbers or token ids.
        players: who owns which position.
        rows: inputs in one call of the model.
    """
    if x.dtype in (torch.float16, torch.bfloat16) or not _large(score.model, x, players):
        return None
    model = chain(score.model)
    if model is None or not model.cuts:
        return None
    try:
        cuts, total = measured(model, x, players, rows)
        stages = chosen(model, cuts, total, x, len(players.names))
        if not stages:
            return None
        pieces = _pieces(Chain(model.nodes, _turned(model.parts), model.cuts), stages)
        last = _channels_last(x, stages, pieces)
        if not last:
            pieces = _pieces(model, stages)
    except Exception:  # the model refuses NaN, say; on its own inputs it is asked later
        return None

    def share(background: Shaped[Tensor, "*input"]) -> Shared:
        def blocks(at_once: int) -> Iterator[Tensor]:
            table: Tensor | None = None
            before: Stage | None = None
            for stage, piece in zip(stages, pieces[:-1], strict=True):
                if stage.colours is None:
                    assert table is not None  # such a stage is never the first
                    assert before is not None
                    table = _by_place(model, table, before, stage, at_once)
                else:
                    shown = coalitions(max(stage.colours) + 1)[:, list(stage.colours)].to(x.device)
                    if table is None or before is None:
                        parts = (players.cover(some) for some in shown.split(at_once))
                        made = (torch.where(part, x, background) for part in parts)
                    else:
                        made = _gathered(table, before, shown, at_once, last)
                    table = _table(made, piece, len(shown))
                before = stage
            assert table is not None  # there is a stage
            assert before is not None
            everyone = coalitions(len(players.names)).to(x.device)
            yield from _gathered(table, before, everyone, at_once, last)

        return Shared(blocks, pieces[-1], _told(model, stages, len(players.names)))

    return share


def _large(model: object, x: Shaped[Tensor, "*input"], players: Players) -> bool:
    """Whether a table may cost so much that finding out more is worth the while.

    No weight of a convolution is used more often than the input has positions, so this asks no
    model, and most of the networks that have nothing to share are done with at once.
    """
    if not isinstance(model, nn.Module) or x.ndim == 0 or (x.ndim == 1 and x.is_floating_point()):
        return False
    kernels = sum(weight.numel() for weight in model.parameters() if weight.ndim >= 3)
    places = prod(x.shape[1:]) if x.is_floating_point() else x.numel()
    return 0.03 * kernels * places * 2.0 ** len(players.names) > small(x)


def _pieces(model: Chain, stages: list[Stage]) -> list[Piece]:
    """The model, cut: up to the first cut, from cut to cut, and the rest."""
    ends = [None, *(stage.cut.place for stage in stages), len(model.nodes) - 1]
    return [model.piece(start, end) for start, end in pairwise(ends) if end is not None]


def _turned(parts: dict[str, Any]) -> dict[str, Any]:
    """The same layers, the weights of convolutions turned at once, not for each batch anew."""
    turned = dict(parts)
    for name, layer in parts.items():
        if type(layer) is nn.Conv2d:
            turned[name] = copy(layer)
            turned[name]._parameters = dict(layer._parameters)
            weight = layer.weight.detach().to(memory_format=torch.channels_last)
            turned[name].weight = nn.Parameter(weight, requires_grad=False)
    return turned


def _channels_last(x: Tensor, stages: list[Stage], pieces: list[Piece]) -> bool:
    """Whether what was gathered can go on as it lies, all channels of a place together.

    Processors pool and convolve it faster so, but a model may ask for the other layout: by a view.
    """
    if x.is_cuda or x.dtype != torch.float32 or any(len(one.cut.shape) != 3 for one in stages):
        return False
    try:
        for stage, piece in zip(stages, pieces[1:], strict=True):
            piece(x.new_zeros(1, *stage.cut.shape).to(memory_format=torch.channels_last))
    except Exception:  # whatever it is, the other layout is tried in earnest
        return False
    return True


def _told(model: Chain, stages: list[Stage], n: int) -> dict[str, int]:
    """The rows of each part that one table takes, and those that planning took."""
    rows = {"all, to plan": n + 1}
    for stage in stages:
        how = " by place" if stage.colours is None else ""
        rows[f"up to {model.name(stage.cut.place)}{how}"] = stage.rows
    return rows | {"the rest": 2**n}


def _table(made: Iterator[Tensor], piece: Piece, rows: int) -> Float[Tensor, "lines channels"]:
    """What a piece makes of all its rows, each place's channels together."""
    table: Tensor | None = None
    done = 0
    for block in made:
        output = piece(block).flatten(2).transpose(1, 2)
        if table is None:
            table = output.new_empty(rows, *output.shape[1:])
        table[done : done + len(output)] = output
        done += len(output)
    assert table is not None  # there is at least one row
    return table.flatten(0, 1)


def _by_place(
    model: Chain, table: Float[Tensor, "lines channels"], before: Stage, stage: Stage, at_once: int
) -> Float[Tensor, "more width"]:
    """A convolution, and the layers of one place after it, from table to table."""
    layer = convolution(model, before.cut, stage.cut)
    assert layer is not None  # such a stage is only chosen where there is one
    height, width = before.cut.shape[1:]
    numbers = at_once * max(prod(before.cut.shape), prod(stage.cut.shape))
    made = convolved(table, before.layout, stage.layout, layer, (height, width), numbers)
    first = before.cut.place + 1  # the convolution itself
    if first != stage.cut.place:
        after = model.piece(first, stage.cut.place)
        for part in made.split(at_once * prod(stage.cut.shape[1:])):
            part.copy_(after(part[:, :, None, None])[:, :, 0, 0])
    return made


def _gathered(
    table: Float[Tensor, "lines channels"],
    stage: Stage,
    masks: Bool[Tensor, "masks players"],
    at_once: int,
    channels_last: bool,
) -> Iterator[Float[Tensor, "batch channels *space"]]:
    """What goes on at a cut under each mask, every place from the line that is right for it."""
    channels, *space = stage.cut.shape
    places = prod(space)
    most = min(at_once, len(masks))
    stretch = table.new_empty(most * places, channels)
    room = None if channels_last else table.new_empty(most, channels, places)
    for some in masks.split(at_once):
        index = stage.layout.index(some).flatten()
        found = torch.index_select(table, 0, index, out=stretch[: len(index)])
        found = found.view(len(some), places, channels).transpose(1, 2)
        if room is not None:
            found = room[: len(some)].copy_(found)
        yield found.unflatten(2, space)
