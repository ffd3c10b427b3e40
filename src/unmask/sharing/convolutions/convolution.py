"""A convolution of a table: at each place only as often as there are values it can hold.

Where a whole map under every coalition would repeat most of its places, a convolution is a product
of matrices: one line for each place and each coalition of the players that it depends on, of what
its window sees.
"""

from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask.lattice import coalitions
from unmask.sharing.layout import Layout

_POINTWISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.ReLU6, nn.Hardswish, nn.BatchNorm2d, nn.Identity, nn.Dropout, nn.Dropout2d),
)
"""Layers that look at one place at a time, whatever the size of the map."""


def is_pointwise(layer: Any) -> bool:
    """Whether a layer looks at one place at a time."""
    return type(layer) in _POINTWISE


def is_plain(layer: Any) -> bool:
    """Whether a layer is a convolution that can be done place by place."""
    return (
        type(layer) is nn.Conv2d
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def windows(layer: nn.Conv2d, height: int, width: int) -> Int[Tensor, "places window"]:
    """The places of the input that each place of the output sees; -1 beyond the edge.

    Args:
        layer: the convolution.
        height: of its input.
        width: of its input.
    """
    places = torch.arange(1.0, height * width + 1, dtype=torch.float64).view(1, 1, height, width)
    rows, columns = (int(padding) for padding in layer.padding)
    seen = functional.unfold(
        functional.pad(places, (columns, columns, rows, rows)),
        layer.kernel_size,
        dilation=layer.dilation,
        stride=layer.stride,
    )
    return seen[0].T.round().long() - 1


def convolved(
    table: Float[Tensor, "lines channels"],
    before: Layout,
    after: Layout,
    layer: nn.Conv2d,
    space: tuple[int, int],
    at_once: int,
) -> Float[Tensor, "more width"]:
    """The table of a convolution's output.

    Args:
        table: of its input.
        before: where the values of its input stand in that table.
        after: where those of its output are to stand; one of `by_place`.
        layer: the convolution.
        space: height and width of the input.
        at_once: numbers that may be put together at a time.
    """
    seen = windows(layer, *space).to(table.device)
    weight = layer.weight.permute(0, 2, 3, 1).reshape(len(layer.weight), -1)
    table = torch.cat([table, table.new_zeros(1, table.shape[1])])  # the last line: the edge
    made = table.new_empty(after.lines, len(weight))
    room = table.new_empty(0)
    for kind in range(after.code.shape[1]):
        (places,) = (after.kind == kind).nonzero(as_tuple=True)
        (owned,) = after.code[:, kind].nonzero(as_tuple=True)
        masks = torch.zeros(2 ** len(owned), len(after.code), dtype=torch.bool).to(table.device)
        masks[:, owned] = coalitions(len(owned)).to(table.device)
        window = seen[places]
        together = max(1, at_once // (window.numel() * table.shape[1]))
        start = int(after.first[places[0]])
        for some in masks.split(together):
            index = before.index(some, window.flatten().clamp(min=0))
            index.masked_fill_(window.flatten() < 0, len(table) - 1)
            if room.numel() < index.numel() * table.shape[1]:
                room = table.new_empty(index.numel() * table.shape[1])
            lines = room[: index.numel() * table.shape[1]].view(-1, table.shape[1])
            torch.index_select(table, 0, index.flatten(), out=lines)
            lines = lines.view(-1, prod(layer.kernel_size) * table.shape[1])
            out = made[start : start + len(lines)]
            if layer.bias is None:
                torch.mm(lines, weight.T, out=out)
            else:
                torch.addmm(layer.bias, lines, weight.T, out=out)
            start += len(lines)
    return made
