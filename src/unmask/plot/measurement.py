"""Measurement: its curves, each on axes of its own, and its numbers as a table."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation
from torch import Tensor

from unmask.plot.dispatch import plot
from unmask.plot.labels import wrapped
from unmask.plot.orders import plot_strengths, whiskers
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    SMALL,
    Colours,
    count,
    notice,
    quiet,
    sheet,
    stage,
)
from unmask.results import Measurement

LINE = 0.22


@plot.register
def _(result: Measurement, *, colours: Colours = COLOURS) -> Figure:
    """All curves and numbers.

    The first curve is the horizontal axis of the others that are as long, if it rises; otherwise
    curves are drawn over their places. Fidelity against number of terms is such a curve. Strengths
    by order, positive and negative, are bars. What is called like another with `_low` and `_high`
    or `_error` is a band about it, or stands in brackets behind its number. A table without curves
    is a figure too. For one curve on given axes there is `plot_curve`.

    Args:
        result: numbers and curves.
        colours: the first is that of the curves.
    """
    against = _axis(result)
    beside = _beside(result.curves)
    bars = against == "order" and {"positive", "negative"} <= set(result.curves)
    drawn = [name for name in result.curves if name != against and name not in beside]
    if bars:
        drawn.remove("negative")
    lines = sum(label.count("\n") + 1 for label, _ in _lines(result))
    cells = len(drawn) + bool(result.numbers)
    if cells == 0:
        figure, ax = stage(None, 1.2)
        notice(ax, "Nothing was measured.")
        return figure
    table = LINE * lines + 0.3
    across = min(2, cells)
    down = -(-cells // across)
    # The table is the last cell; the row it stands in is as high as it needs.
    heights = [2.2] * down
    if result.numbers:
        heights[-1] = max(2.2 if len(drawn) % across or not drawn else 0.0, table)
        if not drawn:
            heights = [table]
    figure = sheet(sum(heights) + 0.2 * down)
    grid = figure.add_gridspec(down, across, height_ratios=heights)
    for cell, name in enumerate(drawn):
        ax = figure.add_subplot(grid[cell // across, cell % across])
        if bars and name == "positive":
            plot_strengths(result, ax=ax, colours=colours)
            ax.set_title("strength", loc="left", size=NORMAL, color=INK)
        else:
            plot_curve(result, name, ax=ax, colours=colours)
    if result.numbers:
        last = len(drawn)
        where = grid[last // across, last % across :]
        _tabulate(figure, figure.add_subplot(where), result)
    return figure


def plot_curve(
    measurement: Measurement,
    name: str,
    *,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """One curve of a measurement, in a band where it is known how sure it is.

    The band is the interval from `_low` to `_high`, or else twice the `_error` to either side. The
    horizontal axis is the first curve of the table, if it rises. It is logarithmic from 1 on
    where it goes further than sixty times as far.

    Args:
        measurement: its curves.
        name: which of them.
        ax: where to draw.
        colours: the first is that of the curve.
    """
    if name not in measurement.curves:
        raise ValueError(
            f"There is no curve {name!r}. Choose from {', '.join(measurement.curves) or 'none'}."
        )
    figure, ax = stage(ax, 2.6, 4.6)
    curve = measurement.curves[name].detach().cpu().double()
    against = _axis(measurement)
    places = torch.arange(len(curve)).double()
    if against is not None and len(measurement.curves[against]) == len(curve):
        places = measurement.curves[against].detach().cpu().double()
    else:
        against = None
    quiet(ax)
    few = len(curve) <= 24
    ax.plot(
        places, curve, color=colours[0], linewidth=1.6, marker="o" if few else None, markersize=3.5
    )
    ends = whiskers(measurement, name)
    if ends is not None:
        ax.fill_between(places, *ends, color=colours[0], alpha=0.18, linewidth=0)
    ax.grid(color=FAINT, linewidth=0.5)
    if len(places) > 2 and float(places.min()) >= 0 and float(places.max()) > 60:
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(left=float(places.min()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(round(x))))
    ax.margins(y=0.08)
    axis = "place" if against is None else _readable(against)
    ax.set_xlabel(axis, size=SMALL, color=MUTED, parse_math=False)
    ax.set_title(wrapped(_readable(name), 34), loc="left", size=NORMAL, color=INK, parse_math=False)
    return figure


def _axis(result: Measurement) -> str | None:
    """The first curve, if it rises and there is something to draw over it."""
    first = next(iter(result.curves), None)
    if first is None or len(result.curves) < 2:
        return None
    return first if _rises(result.curves[first]) else None


def _rises(curve: Float[Tensor, " points"]) -> bool:
    return bool((curve.double().diff() > 0).all())


def _tabulate(figure: Figure, ax: Axes, result: Measurement) -> None:
    """Names and numbers in lines, counted in inches from the top of the axes."""
    ax.set_axis_off()
    down = 0.1
    for label, value in _lines(result):
        line = ax.transAxes + ScaledTranslation(0, -down, figure.dpi_scale_trans)
        looks = {"size": NORMAL, "va": "top", "parse_math": False, "transform": line}
        ax.text(0, 1, label, color=MUTED, linespacing=1.25, **looks)
        ax.text(1, 1, value, color=INK, ha="right", **looks)
        down += LINE * (label.count("\n") + 1)
        below = ax.transAxes + ScaledTranslation(0, -down + 0.04, figure.dpi_scale_trans)
        ax.plot([0, 1], [1, 1], color=FAINT, linewidth=0.5, transform=below, clip_on=False)


def _lines(result: Measurement) -> list[tuple[str, str]]:
    """Names and numbers as they are written, an interval behind its number."""
    numbers, beside = result.numbers, _beside(result.numbers)
    lines = []
    for name, value in numbers.items():
        if name in beside:
            continue
        told = _plain(value)
        if f"{name}_low" in beside:
            low, high = (_plain(numbers[f"{name}_{end}"]) for end in ("low", "high"))
            told = f"{told} ({low} to {high})"
        elif f"{name}_error" in beside:
            told = f"{told} \N{PLUS-MINUS SIGN} {_plain(numbers[f'{name}_error'])}"
        lines.append((wrapped(_readable(name), 30), told))
    return lines


def _beside(named: Mapping[str, object]) -> set[str]:
    """What says how sure another is, and needs no place of its own."""
    intervals = [n for n in named if f"{n}_low" in named and f"{n}_high" in named]
    ends = {f"{name}_{end}" for name in intervals for end in ("low", "high")}
    return ends | {f"{name}_error" for name in named if f"{name}_error" in named}


def _plain(value: float) -> str:
    """Whole numbers as such, others in four digits."""
    if value == value // 1 and abs(value) < 1e15:
        return count(int(value)).replace("-", "\N{MINUS SIGN}")
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _readable(name: str) -> str:
    """Names here are written by methods, as in code: an underscore stands for a blank."""
    return name.replace("_", " ")
