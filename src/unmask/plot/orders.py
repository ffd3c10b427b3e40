"""Strength by order: positive effects as bars upwards, negative ones downwards, with whiskers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from unmask.plot.labels import wrapped
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    SMALL,
    Colours,
    quiet,
    sheet,
    stage,
)
from unmask.results import Measurement

ACROSS = 4


def plot_strengths(
    measurement: Measurement,
    *,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
    legend: bool = True,
) -> Figure:
    """The curves `positive` and `negative` over `order`, such as `order_strength` finds them.

    A whisker is the interval, if the measurement has `_low` and `_high`, or else twice the
    standard error, if it has `_error`, to either side.

    Args:
        measurement: its curves.
        ax: where to draw.
        colours: of positive and negative effects.
        legend: whether to say which bars are which.
    """
    lacking = [name for name in ("order", "positive", "negative") if name not in measurement.curves]
    if lacking:
        raise ValueError(
            f"Strengths are curves over order, but there is no curve {lacking[0]!r}. Give a result "
            "of order_strength, or another with order, positive and negative."
        )
    own = ax is None
    figure, ax = stage(ax, 2.6, 4.6)
    order = _curve(measurement, "order")
    for name, colour in zip(("positive", "negative"), colours, strict=True):
        bars = _curve(measurement, name)
        ax.bar(
            order.tolist(), bars.tolist(), width=0.7, color=colour, edgecolor=colour, linewidth=0.9
        )
        ends = whiskers(measurement, name)
        if ends is not None:
            low, high = ends
            reach = torch.stack([bars - low, high - bars]).clamp(min=0).nan_to_num(0.0)
            ax.errorbar(
                order.tolist(), bars.tolist(), yerr=reach.numpy(), fmt="none", ecolor=INK,
                elinewidth=0.9, capsize=2.0,
                capthick=0.9,
            )  # fmt: skip
    quiet(ax)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    ax.set_xlim(float(order.min()) - 0.6, max(float(order.max()), 6.0) + 0.6)
    ax.set_xticks(order[:: -(-len(order) // 12)].tolist())
    ax.margins(y=0.08)
    ax.set_xlabel("order: players in a term", size=SMALL, color=MUTED)
    if legend:
        _legend(figure, None if own else ax, colours)
    return figure


def plot_course(
    measurements: Sequence[Measurement],
    titles: Sequence[str],
    *,
    one_scale: bool = True,
    colours: Colours = COLOURS,
) -> Figure:
    """Strengths at several checkpoints, or of several networks, side by side.

    On one scale it shows how much there is of each order; on scales of their own, the shapes. A
    network's strength may grow a thousandfold in training, and then only the shapes can be seen.

    Args:
        measurements: one for each small picture, in reading order.
        titles: what to write above them.
        one_scale: whether all share the vertical axis.
        colours: of positive and negative effects.
    """
    if len(measurements) != len(titles) or not measurements:
        raise ValueError(
            f"Each small picture has a title, but got {len(measurements)} measurements and "
            f"{len(titles)} titles. Give as many, one at least."
        )
    across = min(ACROSS, len(measurements))
    down = -(-len(measurements) // across)
    figure = sheet(1.75 * down + 0.4)
    axes = figure.subplots(down, across, sharey=one_scale, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        if i >= len(measurements):
            ax.set_axis_off()
            continue
        plot_strengths(measurements[i], ax=ax, colours=colours, legend=False)
        ax.set_title(wrapped(titles[i], 26), loc="left", size=NORMAL, color=INK, parse_math=False)
        if i + across < len(measurements):
            ax.set_xlabel("")
    _legend(figure, None, colours)
    return figure


def whiskers(
    measurement: Measurement, name: str
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]] | None:
    """Between what a curve lies: its interval, or twice its standard error to either side.

    Args:
        measurement: its curves.
        name: which of them.
    """
    if {f"{name}_low", f"{name}_high"} <= set(measurement.curves):
        return _curve(measurement, f"{name}_low"), _curve(measurement, f"{name}_high")
    if f"{name}_error" in measurement.curves:
        curve, error = _curve(measurement, name), 2 * _curve(measurement, f"{name}_error")
        return curve - error, curve + error
    return None


def _legend(figure: Figure, ax: Axes | None, colours: Colours) -> None:
    """Which bars are which: above the whole figure, or above axes that were given."""
    handles = [
        Patch(facecolor=colours[0], label="positive (up)"),
        Patch(facecolor=colours[1], label="negative (down)"),
    ]
    looks = {"frameon": False, "fontsize": SMALL, "labelcolor": MUTED, "handlelength": 1.4}
    if ax is None:
        figure.legend(handles=handles, loc="outside upper left", ncols=2, **looks)
    else:
        ax.legend(
            handles=handles, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2,
            columnspacing=1.0, **looks,
        )  # fmt: skip


def _curve(measurement: Measurement, name: str) -> Float[Tensor, " points"]:
    return measurement.curves[name].detach().cpu().double()
