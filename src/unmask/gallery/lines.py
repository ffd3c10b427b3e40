"""Lines with bands and bars with whiskers, as the plates about interactions draw them."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor

from unmask.plot import COLOURS
from unmask.plot.style import FAINT, INK, MUTED, NORMAL, SMALL, quiet

SHADES = (*COLOURS, "#5f6b77", "#7a9e3f", "#8a5aa8")


def line(
    place: Any,
    x: Shaped[Tensor, " points"],
    y: Float[Tensor, " points"],
    *,
    band: tuple[Float[Tensor, " points"], Float[Tensor, " points"]] | None = None,
    colour: str = COLOURS[0],
    style: str = "-",
    label: str | None = None,
) -> None:
    """A line, and around it what it may be.

    Args:
        place: axes.
        x: along.
        y: up.
        band: its lower and its upper end.
        colour: of both.
        style: of the line, as matplotlib writes it.
        label: in the legend.
    """
    if band is not None:
        place.fill_between(
            x.tolist(), band[0].tolist(), band[1].tolist(), color=colour, alpha=0.15, linewidth=0
        )
    place.plot(x.tolist(), y.tolist(), style, color=colour, linewidth=1.4, label=label)


def bars(
    place: Any,
    values: Float[Tensor, " orders"],
    *,
    ends: tuple[Float[Tensor, " orders"], Float[Tensor, " orders"]] | None = None,
    colour: str = COLOURS[0],
    shift: float = 0.0,
    width: float = 0.7,
    label: str | None = None,
) -> None:
    """A bar for each order from 1 on.

    Args:
        place: axes.
        values: lengths.
        ends: between which values each may lie.
        colour: of the bars.
        shift: of the bars to the right, where two rows of them stand side by side.
        width: of a bar.
        label: in the legend.
    """
    orders = [order + shift for order in range(1, len(values) + 1)]
    place.bar(orders, values.tolist(), width=width, color=colour, label=label)
    if ends is not None:
        place.vlines(orders, ends[0].tolist(), ends[1].tolist(), color=INK, linewidth=0.8)


def named(
    place: Any, title: str = "", *, x: str = "", y: str = "", ticks: Sequence[int] | None = None
) -> None:
    """Title and axes in the manner of the house.

    Args:
        place: axes.
        title: above.
        x: below.
        y: beside.
        ticks: along x, if they are to be chosen.
    """
    quiet(place)
    place.grid(color=FAINT, linewidth=0.5)
    place.set_title(title, loc="left", size=NORMAL, color=INK, parse_math=False)
    place.set_xlabel(x, size=SMALL, color=MUTED, parse_math=False)
    place.set_ylabel(y, size=SMALL, color=MUTED, parse_math=False)
    if ticks is not None:
        place.set_xticks(list(ticks))


def over_steps(place: Any) -> None:
    """Steps of a training along the axis: 0, and then by factors."""
    place.set_xscale("symlog", linthresh=4)
    place.set_xlim(left=0)
    place.set_xticks([0, 10, 100, 1000], ["0", "10", "", "1000"])
    place.minorticks_off()


def legend_below(figure: Any, place: Any) -> None:
    """What the lines of one place are, below all of them.

    Args:
        figure: the figure.
        place: axes whose lines are named.
    """
    handles, labels = place.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", frameon=False, fontsize=SMALL,
        labelcolor=MUTED, ncols=len(labels), handlelength=1.6,
    )  # fmt: skip


def legend(place: Any, *, room: float = 0.0) -> None:
    """What the lines are.

    Args:
        place: axes.
        room: to make for it above what is drawn, as a share of the height.
    """
    low, high = place.get_ylim()
    place.set_ylim(low, high + room * (high - low))
    place.legend(frameon=False, fontsize=SMALL, labelcolor=MUTED, handlelength=1.6)
