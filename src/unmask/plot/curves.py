"""Curves on one pair of axes, told apart by colour, by line and by marker."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from torch import Tensor

from unmask.plot.labels import wrapped
from unmask.plot.orders import whiskers
from unmask.plot.sentence import written
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    SMALL,
    Colours,
    count,
    quiet,
    stage,
)
from unmask.results import Measurement

_FURTHER = ("#3b8a6e", "#8a5aa8", "#a8891a", INK, "#b04a78", MUTED)
_LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.4)),
    (0, (7, 1.6, 1.4, 1.6)),
    (0, (5, 1.4, 1.2, 1.4, 1.2, 1.4)),
)
_MARKERS = "os^DvXP"
_FEW = 24
"""Points up to which each has a marker."""
_STEEP = 100
"""A logarithmic axis shows what else would be flat: half of all lies below this part of the top."""
_HANDLE, _ROW = 33.0, 12.5
"""Points that a line takes in the legend beside its label, and that a row of it is high."""
_MARGIN = 0.6
"""Inches beside axes, for their ticks."""


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
    against = along(measurement)
    if against and len(measurement.curves[against]) != len(measurement.curves[name]):
        against = None
    _lines(ax, measurement, against, [name], colours)
    _title(ax, readable(name))
    return figure


def plot_panel(
    measurement: Measurement,
    title: str,
    *,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """The curves of one panel of a measurement, with a legend above them.

    Each differs from the others in colour, line and marker, and has its band. What the title says
    is left out of the labels. The vertical axis is logarithmic where all values are above zero and
    half of them below a hundredth of the largest.

    Args:
        measurement: its curves and panels.
        title: of the panel.
        ax: where to draw.
        colours: of the first two curves.
    """
    if title not in measurement.panels:
        raise ValueError(
            f"There is no panel {title!r}. Choose from {', '.join(measurement.panels) or 'none'}."
        )
    against, *names = measurement.panels[title]
    labels = _labels(names, title)
    figure, ax = stage(ax, 2.6 + _legend_height(labels, 72 * (4.6 - _MARGIN)) / 72, 4.6)
    handles = _lines(ax, measurement, against, names, colours)
    if _steep(torch.cat([_values(measurement, name) for name in names])):
        ax.set_yscale("log")
    if len(names) == 1:
        _title(ax, title)
        return figure
    room = _room(figure, ax)
    columns, _ = _legend_shape(labels, room)
    legend = ax.legend(
        handles, labels, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), frameon=False,
        fontsize=SMALL, labelcolor=MUTED, borderpad=0, borderaxespad=0.3, handlelength=2.6,
        handletextpad=0.5, columnspacing=1.0, labelspacing=0.35,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    _title(ax, title, above=_legend_height(labels, room))
    return figure


def extra_height(measurement: Measurement, title: str, width: float) -> float:
    """Inches that the legend of a panel takes above its axes.

    Args:
        measurement: its panels.
        title: of the panel.
        width: of the axes with what stands beside them, in inches.
    """
    labels = _labels(measurement.panels[title][1:], title)
    return _legend_height(labels, 72 * (width - _MARGIN)) / 72


def along(measurement: Measurement) -> str | None:
    """What curves in no panel are drawn over: the first, if it rises and there are others.

    Args:
        measurement: its curves.
    """
    first = next(iter(measurement.curves), None)
    if first is None or len(measurement.curves) < 2:
        return None
    return first if bool((measurement.curves[first].double().diff() > 0).all()) else None


def readable(name: str) -> str:
    """Names here are written by methods, as in code: an underscore stands for a blank.

    Args:
        name: of a number or a curve.
    """
    return name.replace("_", " ")


def _lines(
    ax: Axes, measurement: Measurement, against: str | None, names: Sequence[str], colours: Colours
) -> list[Any]:
    """The curves, their bands and the axis that they are over."""
    quiet(ax)
    palette = (*colours, *_FURTHER)
    size = len(measurement.curves[names[0]])
    places = torch.arange(size).double() if against is None else _values(measurement, against)
    handles: list[Any] = []
    for i, name in enumerate(names):
        colour, marker = palette[i % len(palette)], _MARKERS[i % len(_MARKERS)]
        looks: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": _LINES[i % 5]}
        if size <= _FEW or len(names) > 1:
            # The second of two equal curves lets the first be seen: its markers are open.
            looks |= {"marker": marker, "markersize": 3.5 if i % 2 == 0 else 4.5}
            looks |= {"markerfacecolor": colour if i % 2 == 0 else "none"}
        if size > _FEW and len(names) > 1:
            looks["markevery"] = (0.1 * i / len(names), 0.1)  # in parts of what is seen
        handles += ax.plot(places, _values(measurement, name), **looks)
        ends = whiskers(measurement, name)
        if ends is not None:
            depth = 0.18 if len(names) <= 3 else 0.09
            ax.fill_between(places, *ends, color=colour, alpha=depth, linewidth=0)
    ax.grid(color=FAINT, linewidth=0.5)
    if len(places) > 2 and float(places.min()) >= 0 and float(places.max()) > 60:
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(left=float(places.min()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(round(x))))
    elif bool((places == places.round()).all()):
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    ax.margins(y=0.08)
    axis = "place" if against is None else readable(against)
    ax.set_xlabel(axis, size=SMALL, color=MUTED, parse_math=False)
    return handles


def _title(ax: Axes, text: str, above: float = 0.0) -> None:
    looks = {"loc": "left", "size": NORMAL, "color": INK, "parse_math": False}
    ax.set_title(wrapped(text, 34), pad=6.0 + above, **looks)


def _labels(names: Sequence[str], title: str) -> list[str]:
    """Names without what the title says already."""
    said = readable(title)
    labels = [readable(name) for name in names]
    short = [label.removeprefix(f"{said} ").removesuffix(f" {said}") for label in labels]
    labels = short if len(set(short)) == len(short) else labels
    return [wrapped(label, 40) for label in labels]


def _room(figure: Figure, ax: Axes) -> float:
    """Points that axes are wide; before they are laid out, what they will be at least."""
    spec = ax.get_subplotspec()
    if spec is None or figure.get_layout_engine() is None:
        return 72 * figure.get_figwidth() * ax.get_position().width
    share = len(spec.colspan) / spec.get_gridspec().ncols
    return 72 * (figure.get_figwidth() * share - _MARGIN)


def _legend_shape(labels: Sequence[str], room: float) -> tuple[int, int]:
    """Columns of a legend that fit the room, in points, and lines below each other."""
    wide = [max(written(line, SMALL) for line in label.split("\n")) for label in labels]
    high = max(label.count("\n") + 1 for label in labels)
    rows = 1
    while True:  # filled column by column
        columns = -(-len(labels) // rows)
        needed = sum(max(wide[i * rows : i * rows + rows]) + _HANDLE for i in range(columns))
        if columns == 1 or needed <= room:
            return columns, rows * high
        rows += 1


def _legend_height(labels: Sequence[str], room: float) -> float:
    return _ROW * _legend_shape(labels, room)[1] if len(labels) > 1 else 0.0


def _steep(values: Float[Tensor, " values"]) -> bool:
    values = values[values.isfinite()]
    if len(values) < 3 or not bool((values > 0).all()):
        return False
    return bool(values.median() * _STEEP < values.max())


def _values(measurement: Measurement, name: str) -> Float[Tensor, " points"]:
    return measurement.curves[name].detach().cpu().double()
