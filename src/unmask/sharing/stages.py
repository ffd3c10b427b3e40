"""Where to cut a network, and how to come from one cut to the next: the least work by estimate."""

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from unmask.sharing.chain import Chain
from unmask.sharing.convolutions.convolution import is_plain, is_pointwise
from unmask.sharing.dependence import Cut
from unmask.sharing.layout import Layout, by_colour, by_place, coloured_players
from unmask.sharing.shared import CHECKED

LARGEST = 2**24
"""Numbers in a table of one cut. It is held whole, whatever the batch."""
WORTH = 0.85
"""The largest share of the plain way's estimated cost at which sharing is worth the while."""
SMALL = 1e8
"""Nanoseconds, as estimated, below which finding out would cost what it saves."""
GPU = 500
"""How much more work a GPU does in the time that finding out takes; measured on an H200."""
_STAGE, _WINDOW, _PRODUCT = 1e6, 0.5, 1.5
"""Nanoseconds that one more cut takes, that a number of a window takes, and how much longer a
convolution takes place by place than on whole maps."""


@dataclass(frozen=True)
class Stage:
    """A cut, and the table of what goes on there.

    Args:
        cut: where.
        layout: of the table.
        colours: of each player, where whole maps are made; None where a convolution is done place
            by place.
    """

    cut: Cut
    layout: Layout
    colours: tuple[int, ...] | None

    @property
    def rows(self) -> int:
        """How many rows of the layers before it take as much work, rounded up."""
        return -(-self.layout.lines // prod(self.cut.shape[1:]))


def small(x: Shaped[Tensor, "*input"]) -> float:
    """The estimated nanoseconds below which a table is better made the plain way."""
    return SMALL * (GPU if x.is_cuda else 1)


def pays(cost: float, plain: float, x: Shaped[Tensor, "*input"]) -> bool:
    """Whether shared work is worth the while.

    Args:
        cost: its estimate.
        plain: that of the plain way.
        x: one input.
    """
    return plain >= small(x) and cost <= WORTH * plain


def chosen(
    model: Chain, cuts: list[Cut], total: float, x: Shaped[Tensor, "*input"], n: int
) -> list[Stage]:
    """The stages that together cost least by estimate; none where that saves too little.

    Args:
        model: where it can be cut.
        cuts: what is known of each cut.
        total: estimated cost of one row of the whole model.
        x: one input.
        n: players.
    """
    plain = 2**n * total
    if plain < small(x):
        return []
    stages = [stage for stage in _stages(cuts, n) if _fits(stage)]
    # Of each stage: the least cost of its table, and the stage that this table is made from.
    least: list[tuple[float, int]] = []
    for here, stage in enumerate(stages):
        ways = [(float("inf"), -1)]
        if stage.colours is not None:
            ways += [(stage.rows * (x.numel() + stage.cut.spent), -1)]
        ways += [(least[i][0] + _cost(model, one, stage), i) for i, one in enumerate(stages[:here])]
        cost, before = min(ways)
        least.append((cost + _STAGE, before))
    last = [
        (least[i][0] + 2**n * (one.cut.gather + total - one.cut.spent), i)
        for i, one in enumerate(stages)
    ]
    cost, i = min(last, default=(plain, -1))
    if not pays(cost + (CHECKED + n + 1) * total, plain, x):
        return []
    found: list[Stage] = []
    while i >= 0:
        found.insert(0, stages[i])
        i = least[i][1]
    return found


def _stages(cuts: list[Cut], n: int) -> list[Stage]:
    """Every table that could be made at a cut."""
    stages: list[Stage] = []
    depends: Tensor | None = None
    colours, whole, scattered = (), None, None
    for cut in cuts:
        if depends is None or not torch.equal(cut.depends, depends):
            depends = cut.depends
            colours = coloured_players(depends)
            whole, scattered = by_colour(depends, colours), by_place(depends)
        assert whole is not None  # there has been a first cut
        assert scattered is not None
        if max(colours) + 1 < n:
            stages.append(Stage(cut, whole, colours))
        if len(cut.shape) == 3 and 2 * scattered.lines < len(scattered.kind) << n:
            stages.append(Stage(cut, scattered, None))
    return stages


def _fits(stage: Stage) -> bool:
    return stage.layout.lines * stage.cut.shape[0] <= LARGEST


def _cost(model: Chain, one: Stage, stage: Stage) -> float:
    """Estimated cost of making the table of a stage from that of an earlier one."""
    work = stage.cut.spent - one.cut.spent
    if stage.colours is not None:
        return stage.rows * (one.cut.gather + work)
    layer = convolution(model, one.cut, stage.cut)
    if layer is None:
        return float("inf")
    window = prod(layer.kernel_size) * layer.in_channels
    places = prod(stage.cut.shape[1:])
    return stage.layout.lines * (_WINDOW * window + _PRODUCT * work / places)


def convolution(model: Chain, start: Cut, end: Cut) -> nn.Conv2d | None:
    """The convolution right after a cut, if up to another only layers of one place follow.

    Args:
        model: where it can be cut.
        start: a cut.
        end: a later one.
    """
    layers = []
    for node in model.nodes[start.place + 1 : end.place + 1]:
        if node.op != "call_module" or len(node.all_input_nodes) != 1:
            return None
        layers.append(model.parts[str(node.target)])
    if not layers or not is_plain(layers[0]) or len(start.shape) != 3:
        return None
    return layers[0] if all(map(is_pointwise, layers[1:])) else None
