"""Measurement: its curves, alone or in panels, and its numbers as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from unmask.plot.curves import along, extra_height, plot_curve, plot_panel, readable
from unmask.plot.dispatch import plot
from unmask.plot.labels import wrapped
from unmask.plot.orders import plot_strengths
from unmask.plot.sentence import written
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    WIDTH,
    Colours,
    caption,
    count,
    notice,
    sheet,
    stage,
)
from unmask.results import Measurement

LINE = 0.22
_BESIDE = 2.3
"""Inches of a table that may stand beside a curve."""
_HIGH, _ABOUT = 1.65, 0.6
"""Inches of axes, and of the title and the ticks above and below them."""


@plot.register
def _(result: Measurement, *, most: int = 8, colours: Colours = COLOURS) -> Figure:
    """All numbers, and the curves: those of a panel together, each other one by itself.

    A curve in no panel is drawn over the first of the table, if that rises and is as long; else
    over its places. Fidelity against number of terms is such a curve. Strengths by order, positive
    and negative, are bars. What is called like another with `_low` and `_high` or `_error` is a
    band about it, or stands in brackets behind its number. A table without curves is a figure too.
    For one panel or curve on given axes there are `plot_panel` and `plot_curve`.

    Args:
        result: numbers and curves.
        most: axes to draw; what is left out is counted below, and `frame` has all of it.
        colours: the first is that of a single curve.
    """
    every = _cells(result)
    drawn, left = every[: max(0, most)], every[max(0, most) :]
    cells = len(drawn) + bool(result.numbers)
    if cells == 0:
        figure, ax = stage(None, 1.2)
        notice(ax, "Nothing was measured." if not left else _left_out(left))
        return figure
    across = min(2, cells)
    down = -(-len(drawn) // across)
    # A short table stands beside the last curve where there is room; a long one below all of them.
    half = len(drawn) % 2 == 1 and LINE * _count(_lines(result, half=True)) < _BESIDE
    lines = _lines(result, half)
    inner = [_HIGH] * down
    about = [
        _ABOUT + max(cell.extra for cell in drawn[row * across :][:across]) for row in range(down)
    ]
    if lines and half:
        inner[-1] = max(_HIGH, LINE * _count(lines) + 0.1)
    elif lines:
        inner.append(LINE * _count(lines) + 0.1)
    figure = sheet(sum(inner) + sum(about) + 0.2 * len(inner))
    grid = figure.add_gridspec(len(inner), across, height_ratios=inner)
    for place, cell in enumerate(drawn):
        ax = figure.add_subplot(grid[place // across, place % across])
        if cell.kind == "bars":
            plot_strengths(result, ax=ax, colours=colours)
            ax.set_title(cell.name, loc="left", size=NORMAL, color=INK)
        elif cell.kind == "panel":
            plot_panel(result, cell.name, ax=ax, colours=colours)
        else:
            plot_curve(result, cell.name, ax=ax, colours=colours)
    if lines:
        where = grid[-1, 1:] if half else grid[-1, :]
        _tabulate(figure, figure.add_subplot(where), lines)
    if left:
        caption(figure, figure.axes[0], _left_out(left), own=True)
    return figure


@dataclass(frozen=True)
class _Cell:
    """What is drawn on one pair of axes.

    Args:
        kind: panel, curve or bars.
        name: the title of the panel, or the name of the curve.
        curves: how many it shows.
        extra: inches for a legend.
    """

    kind: str
    name: str
    curves: int = 1
    extra: float = 0.0


def _cells(result: Measurement) -> list[_Cell]:
    """Panels first, then what stands in none."""
    found = [
        _Cell("panel", title, len(names) - 1, extra_height(result, title, WIDTH / 2))
        for title, names in result.panels.items()
    ]
    shown = {name for names in result.panels.values() for name in names}
    rest = [
        name
        for name in result.curves
        if name not in shown | _beside(result.curves) and name != along(result)
    ]
    if along(result) == "order" and {"positive", "negative"} <= set(rest):
        found.append(_Cell("bars", "strength", 2))
        rest = [name for name in rest if name not in ("positive", "negative")]
    return found + [_Cell("curve", name) for name in rest]


def _left_out(cells: Sequence[_Cell]) -> str:
    curves = sum(cell.curves for cell in cells)
    return (
        f"{curves} more curve{'s are' if curves > 1 else ' is'} not drawn. Ask for more with most, "
        "or see frame(result)."
    )


def _tabulate(figure: Figure, ax: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Names and numbers in lines, counted in inches from the top of the axes."""
    ax.set_axis_off()
    down = 0.1
    for label, value in lines:
        line = ax.transAxes + ScaledTranslation(0, -down, figure.dpi_scale_trans)
        looks = {"size": NORMAL, "va": "top", "parse_math": False, "transform": line}
        ax.text(0, 1, label, color=MUTED, linespacing=1.25, **looks)
        ax.text(1, 1, value, color=INK, ha="right", **looks)
        down += LINE * (label.count("\n") + 1)
        below = ax.transAxes + ScaledTranslation(0, -down + 0.04, figure.dpi_scale_trans)
        ax.plot([0, 1], [1, 1], color=FAINT, linewidth=0.5, transform=below, clip_on=False)


def _lines(result: Measurement, half: bool) -> list[tuple[str, str]]:
    """Names and numbers as they are written, an interval behind its number.

    Args:
        result: its numbers.
        half: whether only half a page is there for them.
    """
    room = 72 * (WIDTH / 2 - 0.4 if half else WIDTH - 0.4)
    numbers, beside = result.numbers, _beside(result.numbers)
    lines = []
    for name, value in numbers.items():
        if name in beside:
            continue
        told = _plain(value)
        if f"{name}_low" in beside:
            low, high = (_plain(numbers[f"{name}_{end}"]) for end in ("low", "high"))
            told = told if low == high == "nan" else f"{told} ({low} to {high})"
        elif f"{name}_error" in beside:
            told = f"{told} \N{PLUS-MINUS SIGN} {_plain(numbers[f'{name}_error'])}"
        letter = 0.62 * NORMAL  # broad enough for most names
        fits = int((room - written(told, NORMAL)) / letter) - 1
        lines.append((wrapped(readable(name), max(8, min(30 if half else 70, fits))), told))
    return lines


def _count(lines: Sequence[tuple[str, str]]) -> int:
    return sum(label.count("\n") + 1 for label, _ in lines)


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
