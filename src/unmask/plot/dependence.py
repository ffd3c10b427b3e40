"""Dependence: a curve over one column, with each row's own; a map over two."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from unmask.plot.dispatch import plot
from unmask.plot.labels import lines, wrapped
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    SMALL,
    UNSIGNED,
    Colours,
    caption,
    count,
    notice,
    quiet,
    share,
    stage,
)
from unmask.results import Dependence

FEW = 12
"""Values of a column that are each shown by a mark."""
_RUG = 2000
"""Ticks that still look like ticks; of more rows, evenly spaced ones."""
_DRAWN = 6000
"""Points of curves that are drawn as lines; more are one picture, or a file would be huge."""


@plot.register
def _(
    result: Dependence,
    *,
    centre: bool = False,
    most: int = 200,
    values: Sequence[str] | None = None,
    label: str = "score",
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """How the score changes with a column, or with two.

    The average is bold and the curves of single rows are thin. Ticks below are the rows' own
    values, long ticks their deciles; a column of few values is drawn with marks, and the share of
    the rows at each. Two columns are a map, light where the score is high.

    Args:
        result: of one column or two.
        centre: lets all curves begin at zero, so that one sees how far apart they go.
        most: curves of single rows to draw, spread evenly over the rows.
        values: what the values of the one column are called, if they are codes.
        label: what is drawn, such as "price in $".
        ax: where to draw.
        colours: the first is that of the curves.
    """
    points = _double(result.points)
    columns = points.shape[1]
    names = result.names or tuple(
        f"column {i + 1}" if columns > 1 else "value of the column" for i in range(columns)
    )
    if len(points) == 0 or columns not in (1, 2):
        figure, ax = stage(ax, 1.2)
        notice(ax, f"There is nothing to draw: points have shape {tuple(points.shape)}.")
        return figure
    if columns == 2:
        return _map(result, points, names, label, ax)
    own = ax is None
    figure, ax = stage(ax, 3.6, 5.6)
    at, average = points[:, 0], _double(result.average)
    curves = None if result.curves is None else _double(result.curves)
    if centre:
        average = average - average[0]
        curves = None if curves is None else curves - curves[:, :1]
    few = len(at) <= FEW
    quiet(ax)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    drawn = _thin(ax, at, curves, most, colours)
    if centre:
        ax.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    ax.plot(
        at, average, color=_dark(colours), linewidth=2.2, marker="o" if few else None, markersize=6,
        markeredgecolor=PAPER, solid_capstyle="round", zorder=4,
        path_effects=[withStroke(linewidth=4.2, foreground=PAPER)],
    )  # fmt: skip
    room = 0.02 * float(at[-1] - at[0])
    if few and len(at) > 1:
        room = max(room, 0.5 * float(at.diff().min()))
    ax.set_xlim(float(at[0]) - (room or 0.5), float(at[-1]) + (room or 0.5))
    said = _explained(drawn, curves)
    if result.observed is not None and len(result.observed):
        _room_below(ax)
        observed = _double(result.observed)[:, 0]
        marked = few and bool(torch.isin(observed, at).double().mean() > 0.5)
        said += (_shares if marked else _rug)(ax, observed, at)
    if few:
        _name_values(ax, at, values)
    ax.set_xlabel(wrapped(names[0], 60), size=NORMAL, color=INK, parse_math=False)
    label = f"change of the {label}" if centre else label
    ax.set_ylabel(wrapped(label, 40), size=SMALL, color=MUTED, parse_math=False)
    if said:
        caption(figure, ax, lines(" ".join(said).split(" "), 88 if own else 50), own)
    return figure


def _thin(
    ax: Axes, at: Tensor, curves: Float[Tensor, "rows points"] | None, most: int, colours: Colours
) -> int:
    """Curves of single rows; how many."""
    if curves is None or len(curves) == 0 or most < 1:
        return 0
    some = torch.linspace(0, len(curves) - 1, min(most, len(curves))).round().long()
    chosen = curves[some]
    paths = torch.stack([at.expand_as(chosen), chosen], -1).numpy()
    strength = min(0.8, max(0.12, 9 / len(some)))
    thin = LineCollection(
        list(paths), colors=colours[0], linewidths=0.7, alpha=strength, zorder=2,
        rasterized=chosen.numel() > _DRAWN,
    )  # fmt: skip
    ax.add_collection(thin)
    ax.autoscale_view()
    return len(some)


def _name_values(ax: Axes, at: Tensor, values: Sequence[str] | None) -> None:
    """Write at each mark what its value is, aslant where names are long."""
    given = [f"{value:g}" for value in at.tolist()] if values is None else list(values)
    if len(given) != len(at):
        raise ValueError(
            f"There are {len(given)} names for {len(at)} values of the column. "
            "Give one for each point, in their order."
        )
    if values is None and len(at) > 1 and at.diff().min() < 0.04 * (at[-1] - at[0]):
        return  # numbers that lie too close for each to be written
    longest = max(len(word) for name in given for word in name.split() or [""])
    slanted = longest > 66 // len(at)  # letters that fit between one mark and the next
    texts = [wrapped(name, 28 if slanted else max(longest, 11)) for name in given]
    ax.set_xticks(at.tolist(), texts, parse_math=False)
    if slanted:
        for text in ax.get_xticklabels():
            text.set(rotation=30, ha="right", rotation_mode="anchor")


def _explained(drawn: int, curves: Tensor | None) -> list[str]:
    """What the bold and the thin lines are."""
    if not drawn or curves is None:
        return ["The average over the rows."]
    rows = count(len(curves))
    which = "each row by itself" if drawn == len(curves) else f"{count(drawn)} single rows"
    return [f"Bold: the average over {rows} rows. Thin: {which}."]


def _room_below(ax: Axes) -> None:
    """Room for ticks or bars below the curves."""
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.09 * (high - low), high)


def _rug(ax: Axes, observed: Tensor, at: Tensor) -> list[str]:
    """A tick per row at its value, and a long one per decile."""
    low, high = float(at[0]), float(at[-1])
    inside = observed[(observed >= low) & (observed <= high)]
    some = inside[:: max(1, -(-len(inside) // _RUG))]
    across = ax.get_xaxis_transform()
    ticks = LineCollection(
        [[(value, 0.0), (value, 0.03)] for value in some.tolist()], colors=MUTED,
        linewidths=0.5, alpha=min(0.8, max(0.08, 60 / max(1, len(some)))), transform=across,
        rasterized=len(some) > 500,
    )  # fmt: skip
    ax.add_collection(ticks, autolim=False)
    deciles = np.quantile(observed.numpy(), np.arange(0.1, 0.95, 0.1))
    shown = [value for value in deciles if low <= value <= high]
    ax.vlines(shown, 0.0, 0.06, colors=INK, linewidths=1.1, transform=across)
    said = ["Ticks: values in the data, the long ones deciles."]
    if len(inside) < len(observed):
        said.append(f"{share(1 - len(inside) / len(observed))} of the rows lie outside.")
    return said


def _shares(ax: Axes, observed: Tensor, at: Tensor) -> list[str]:
    """A bar at each value, as high as the share of the rows that have it."""
    part = (observed[:, None] == at).double().mean(0)
    width = 0.5 * float(at.diff().min()) if len(at) > 1 else 0.5
    ax.bar(
        at.tolist(), (0.2 * part).tolist(), width=width, color=FAINT, zorder=1,
        transform=ax.get_xaxis_transform(),
    )  # fmt: skip
    for place, height in zip(at.tolist(), part.tolist(), strict=True):
        ax.annotate(
            share(height), (place, 0.2 * height), (0, 2), textcoords="offset points", ha="center",
            xycoords=ax.get_xaxis_transform(), size=0.85 * SMALL, color=MUTED, zorder=3,
            path_effects=[withStroke(linewidth=2, foreground=PAPER)],
        )  # fmt: skip
    return ["Bars: the share of the rows at each value."]


def _map(
    result: Dependence, points: Float[Tensor, "points 2"], names: Sequence[str], label: str,
    ax: Axes | None,
) -> Figure:  # fmt: skip
    """A map of the average over two columns, with ticks along both sides."""
    own = ax is None
    figure, ax = stage(ax, 4.3, 5.6)
    x, y = points[:, 0].unique().numpy(), points[:, 1].unique().numpy()
    if len(x) * len(y) != len(points):
        raise ValueError(
            f"A map needs every value of one column with every value of the other, but there are "
            f"{len(points)} points for {len(x)} x {len(y)} values. Give the whole grid."
        )
    high = _double(result.average).view(len(x), len(y)).T.numpy()
    if min(len(x), len(y)) <= FEW:
        image = ax.pcolormesh(x, y, high, cmap=UNSIGNED, shading="nearest", rasterized=True)
    else:
        image = ax.contourf(x, y, high, levels=16, cmap=UNSIGNED)
        image.set_edgecolor("face")  # or the ground shines through between the levels
        heights = ax.contour(
            x, y, high, levels=list(image.levels)[::2], colors=PAPER, linewidths=0.6
        )
        ax.clabel(heights, fontsize=SMALL - 1, inline=True, inline_spacing=3)
    quiet(ax)
    scale = figure.colorbar(image, ax=ax, pad=0.03, aspect=24)
    scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    scale.ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)
    scale.set_label(
        wrapped(f"{label}, the average over the rows", 44),
        size=SMALL,
        color=MUTED,
        parse_math=False,
    )
    if result.observed is not None and len(result.observed):
        shown = _rugs(ax, _double(result.observed))
        said = f"Dots: {shown} in the data. Ticks: values of a column, the long ones deciles."
        caption(figure, ax, lines(said.split(" "), 88 if own else 50), own)
    ax.set_xlabel(wrapped(names[0], 50), size=NORMAL, color=INK, parse_math=False)
    ax.set_ylabel(wrapped(names[1], 40), size=NORMAL, color=INK, parse_math=False)
    return figure


def _rugs(ax: Axes, observed: Float[Tensor, "rows 2"]) -> str:
    """Dots where there are rows, and ticks within the lower and the left side of a map."""
    limits = ax.get_xlim(), ax.get_ylim()
    some = observed[:: max(1, -(-len(observed) // 400))]
    ax.scatter(*some.T, s=3, color=PAPER, alpha=0.55, linewidths=0, rasterized=len(some) > 200)
    for axis, (along, blended) in enumerate(
        ((ax.vlines, ax.get_xaxis_transform()), (ax.hlines, ax.get_yaxis_transform()))
    ):
        deciles = np.quantile(observed[:, axis].numpy(), np.arange(0.1, 0.95, 0.1))
        along(some[:, axis], 0, 0.015, colors=PAPER, linewidths=0.4, alpha=0.6, transform=blended)
        along(deciles, 0, 0.035, colors=PAPER, linewidths=1.2, transform=blended)
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    return "rows" if len(some) == len(observed) else f"{count(len(some))} of the rows"


def _dark(colours: Colours) -> tuple[float, float, float]:
    red, green, blue = to_rgb(colours[0])
    return 0.7 * red, 0.7 * green, 0.7 * blue


def _double(values: Tensor) -> Tensor:
    return values.detach().cpu().double()
