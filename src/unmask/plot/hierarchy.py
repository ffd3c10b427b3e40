"""Hierarchy: a tree of sets beside its leaves, over a sentence or over a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from unmask.players import Players
from unmask.plot import heat
from unmask.plot.dispatch import plot
from unmask.plot.labels import clean, wrapped
from unmask.plot.sentence import written
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    SMALL,
    WIDTH,
    Colours,
    diverging,
    notice,
    quiet,
    sheet,
    signed,
    stage,
)
from unmask.results import Hierarchy
from unmask.views import ImageView, TextView, View

Shade = tuple[float, float, float, float]
"""Red, green, blue and how little one sees through."""

_ROW, _GAP = 0.34, 0.14
"""Inches from step to step, and between the words of a sentence."""
_DEEP = 0.62
"""Colours end here, so that letters on them can be read."""


@plot.register
def _(
    result: Hierarchy,
    *,
    over: View | None = None,
    players: Players | None = None,
    most: int = 6,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """A block for each set, over its players and at the step that made it, with its score.

    A sentence, or few players with short names, stands in a line below the tree; a longer list
    stands to the left of it, and the tree grows to the right. Over a picture there is a picture
    per step, side by side, with the largest sets that there were by then; it makes no use of `ax`.

    Args:
        result: the sets.
        over: what a person sees of the input.
        players: who owns the positions of a picture.
        most: steps to show over a picture, spread evenly.
        ax: where to draw.
        colours: of positive and negative scores.
    """
    if len(result.members) == 0:
        figure, ax = stage(ax, 1.2)
        notice(ax, "There are no sets.")
        return figure
    if isinstance(over, ImageView):
        if players is None:
            raise ValueError(
                "A hierarchy over a picture needs to know where its players are. "
                "Give plot the players that the sets are made of."
            )
        return _levels(result, over, players, most, colours)
    names = [clean(name) for name in result.names]
    if isinstance(over, TextView):
        if len(over.pieces) != len(names):
            raise ValueError(
                f"There are {len(names)} players for {len(over.pieces)} pieces of text. "
                "Give the text in the pieces that are the players."
            )
        names = [clean(piece) if piece else "" for piece in over.pieces]
    tree = _tree(result)
    widths = [max(0.5, written(names[leaf], NORMAL + 1) / 72) + _GAP for leaf in tree.order]
    if sum(widths) <= WIDTH - 0.9:
        return _standing(tree, names, widths, ax, colours)
    return _lying(tree, names, ax, colours)


@dataclass(frozen=True)
class _Tree:
    """Sets as stretches of the leaves in an order in which each is one.

    Args:
        order: the players from first to last.
        spans: of each set, the first leaf and the one after the last.
        rows: of each set, its step among the steps that there are.
        steps: those steps.
        score: of each set.
        parent: the smallest set that holds it, or -1.
    """

    order: list[int]
    spans: list[tuple[int, int]]
    rows: list[float]
    steps: list[int]
    score: list[float]
    parent: list[int]


def _tree(result: Hierarchy) -> _Tree:
    members = result.members.detach().cpu()
    step = result.step.detach().cpu()
    count = members.sum(1)
    order = sorted(range(len(members)), key=lambda i: (int(count[i]), int(step[i])))
    parent = [-1] * len(members)
    for place, i in enumerate(order):
        for j in order[place + 1 :]:
            if bool((members[j] >= members[i]).all()):
                parent[i] = j
                break
            if bool((members[j] & members[i]).any()):
                raise ValueError(
                    f"The sets {i} and {j} overlap, but neither holds the other. "
                    "A hierarchy is of sets that lie within each other, or apart."
                )
    first = [int(row.nonzero()[0, 0]) if row.any() else len(row) for row in members]
    children: dict[int, list[int]] = {}
    for i in range(len(members)):
        children.setdefault(parent[i], []).append(i)
    leaves: list[int] = []
    spans = [(0, 0)] * len(members)

    def visit(node: int, own: Tensor) -> None:
        """Children in the order of their first players; players in no child stand among them."""
        start = len(leaves)
        within = children.get(node, [])
        loose = own.clone()
        for child in within:
            loose &= ~members[child]
        parts = [(first[child], child) for child in within]
        parts += [(int(player), -1) for player in loose.nonzero()[:, 0]]
        for place, child in sorted(parts):
            if child < 0:
                leaves.append(place)
            else:
                visit(child, members[child])
        if node >= 0:
            spans[node] = (start, len(leaves))

    visit(-1, torch.ones(members.shape[1], dtype=torch.bool))
    steps = sorted(set(step.tolist()))
    rows = [float(steps.index(one)) for one in step.tolist()]
    return _Tree(leaves, spans, rows, steps, result.score.detach().cpu().double().tolist(), parent)


def _standing(
    tree: _Tree, names: Sequence[str], widths: Sequence[float], ax: Axes | None, colours: Colours
) -> Figure:
    """The leaves in a line, as a sentence is read, and the tree above them."""
    edges = np.concatenate([[0], np.cumsum(widths)])
    high = len(tree.steps)
    figure, ax = stage(ax, _ROW * (high + 1) + 0.75, min(WIDTH, max(4.2, edges[-1] + 1.2)))
    shades = _shades(tree, colours)
    for node, (start, end) in enumerate(tree.spans):
        row, parent = tree.rows[node], tree.parent[node]
        left, right = edges[start] + _GAP / 3, edges[end] - _GAP / 3
        if parent >= 0:
            _stem(ax, [(left + right) / 2] * 2, [row, tree.rows[parent]])
        shade = shades[node]
        _block(ax, (left, row - 0.36), (right - left, 0.72), shade)
        _number(ax, (left + right) / 2, row, tree.score[node], shade, right - left)
    for place, leaf in enumerate(tree.order):
        ax.text(
            (edges[place] + edges[place + 1]) / 2, -0.55, names[leaf], ha="center", va="top",
            size=NORMAL + 1, color=INK, parse_math=False,
        )  # fmt: skip
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(-1.2, high - 0.5)
    quiet(ax)
    ax.set_xticks([])
    _count_steps(ax.set_yticks, tree)
    ax.set_ylabel("step", size=SMALL, color=MUTED)
    _legend(ax, colours)
    return figure


def _lying(tree: _Tree, names: Sequence[str], ax: Axes | None, colours: Colours) -> Figure:
    """The leaves below each other, and the tree to their right."""
    labels = [wrapped(names[leaf], 32) for leaf in tree.order]
    rows = [0.26 + 0.15 * label.count("\n") for label in labels]
    edges = np.concatenate([[0], np.cumsum(rows)])
    figure, ax = stage(ax, edges[-1] + 0.7)
    shades = _shades(tree, colours)
    across = 4.2 / max(1, len(tree.steps))
    for node, (start, end) in enumerate(tree.spans):
        row, parent = tree.rows[node], tree.parent[node]
        top, bottom = edges[start] + 0.03, edges[end] - 0.03
        if parent >= 0:
            _stem(ax, [row, tree.rows[parent]], [(top + bottom) / 2] * 2)
        _block(ax, (row - 0.43, top), (0.86, bottom - top), shades[node])
        _number(ax, row, (top + bottom) / 2, tree.score[node], shades[node], 0.86 * across)
    middles = (edges[:-1] + edges[1:]) / 2
    ax.set_xlim(-0.55, len(tree.steps) - 0.45)
    ax.set_ylim(edges[-1], 0)
    quiet(ax)
    ax.set_yticks(middles, labels, parse_math=False, size=NORMAL, color=INK)
    _count_steps(ax.set_xticks, tree)
    ax.set_xlabel("step", size=SMALL, color=MUTED)
    _legend(ax, colours)
    return figure


def _levels(
    result: Hierarchy, over: ImageView, players: Players, most: int, colours: Colours
) -> Figure:
    """The picture once per step, each with the largest sets that there were by then."""
    if len(players.names) != len(result.names):
        raise ValueError(
            f"The sets are of {len(result.names)} players, but players are {len(players.names)}. "
            "Give the players that the hierarchy was made of."
        )
    members, score = result.members.detach().cpu(), result.score.detach().cpu().double()
    step = result.step.detach().cpu()
    steps = step.unique()
    shown = steps[torch.linspace(0, len(steps) - 1, min(len(steps), max(1, most))).round().long()]
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    high, wide = over.pixels.shape[:2]
    figure = sheet(down * ((WIDTH - 1) / across * high / wide + 0.35) + 0.2)
    places = figure.subplots(down, across, squeeze=False)
    owner = players.owner.cpu()
    owner = owner[0] if owner.ndim == 3 else owner
    limit = float(score.abs().nan_to_num(0.0).max()) or 1.0
    for ax in places.ravel():
        ax.set_axis_off()
    for ax, level in zip(places.ravel(), shown.tolist(), strict=False):
        belongs = _largest(members, step <= level)
        nodes = torch.where(owner < 0, -1, belongs[owner.clamp(min=0)])
        painted = torch.cat([score, score.new_zeros(1)])[nodes]
        heat.lay(ax, painted.numpy(), over.pixels, limit=limit, colours=colours)
        present = [node for node in nodes.unique().tolist() if node >= 0]
        index = torch.full((len(members) + 1,), -1)
        index[present] = torch.arange(len(present))
        heat.mark_players(ax, index[nodes].numpy(), score[present].tolist(), (high, wide))
        many = f"{len(present)} set{'s' * (len(present) != 1)}"
        ax.set_title(f"step {level}: {many}", size=SMALL, color=INK)
    scale = ScalarMappable(Normalize(-limit, limit), diverging(colours, see_through=True))
    heat.scale(figure, list(places.ravel()), scale, "score of the set")
    return figure


def _largest(members: Tensor, made: Tensor) -> Int[Tensor, " players"]:
    """The largest set that each player is in by then, or -1."""
    sizes = members.sum(1) * made
    inside = torch.where(members, sizes[:, None], 0)
    size, node = inside.max(0)
    return torch.where(size > 0, node, -1)


def _shades(tree: _Tree, colours: Colours) -> list[Shade]:
    """The colour of each set; the largest score does not get all of it, so that letters show."""
    sizes = [abs(value) for value in tree.score if isfinite(value)]
    limit = max(sizes, default=0.0) or 1.0
    shades = diverging(colours)
    return [
        shades(0.5 + 0.5 * _DEEP * (value if isfinite(value) else 0.0) / limit)
        for value in tree.score
    ]


def _block(ax: Axes, corner: tuple[float, float], size: tuple[float, float], shade: Shade) -> None:
    ax.add_patch(
        FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=0.06", facecolor=shade,
            edgecolor=FAINT, linewidth=0.6, mutation_aspect=1, zorder=2,
        )
    )  # fmt: skip


def _stem(ax: Axes, x: list[float], y: list[float]) -> None:
    ax.plot(x, y, color=MUTED, linewidth=0.8, zorder=1, solid_capstyle="butt")


def _number(ax: Axes, x: float, y: float, value: float, shade: Shade, room: float) -> None:
    """The score of a set within its block: fewer digits where room is short, or none at all."""
    texts = (signed(value), f"{value:+.2g}".replace("-", "\N{MINUS SIGN}"))
    for text, size in ((text, size) for size in (SMALL, 7.0, 6.0, 5.0) for text in texts):
        if written(text, size) / 72 <= room - 0.04:
            light = np.dot(shade[:3], [0.299, 0.587, 0.114]) > 0.5
            ax.text(x, y, text, size=size, color=INK if light else PAPER, ha="center", va="center")
            return


def _count_steps(set_ticks: Callable[[list[int], list[str]], object], tree: _Tree) -> None:
    each = max(1, -(-len(tree.steps) // 20))
    places = range(0, len(tree.steps), each)
    set_ticks(list(places), [str(tree.steps[place]) for place in places])


def _legend(ax: Axes, colours: Colours) -> None:
    said = "Number: the score of the set."
    if colours == COLOURS:
        said += " Blue: above zero, orange: below."
    ax.set_title(said, size=SMALL, color=MUTED, loc="left")
