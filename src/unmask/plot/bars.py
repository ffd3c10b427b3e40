"""Bars that lie: a name, a length to the right or the left, and the number at its end."""

from collections.abc import Sequence
from math import isfinite

from matplotlib.axes import Axes

from unmask.plot.style import FAINT, INK, MUTED, NORMAL, SMALL, Colours, quiet, signed

LINE = 0.16
"""Inches from line to line of a label."""


def height(labels: Sequence[str]) -> float:
    """Inches that bars with these labels need."""
    return sum(_row(label) for label in labels)


def draw(
    ax: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    hatched: Sequence[bool],
    colours: Colours,
    own: bool,
    errors: Sequence[float] | None = None,
) -> None:
    """Draw one bar below the other, the first on top.

    Args:
        ax: where to.
        labels: may have several lines; a row is as high as its label.
        values: to the right if positive, to the left if negative.
        hatched: bars that are lined instead of filled.
        colours: of positive and negative bars.
        own: whether the axes are as high as the bars need. Otherwise letters may have to shrink.
        errors: half the length of the line that shows how sure each value is.
    """
    bottom, middles = 0.0, []
    for label in labels:
        middles.append(bottom + _row(label) / 2)
        bottom += _row(label)
    lengths = [value if isfinite(value) else 0.0 for value in values]
    sure = [error if isfinite(error) else 0.0 for error in errors or [0.0] * len(values)]
    ends = [
        length + (error if length >= 0 else -error)
        for length, error in zip(lengths, sure, strict=True)
    ]
    for middle, value, length, end, lined in zip(
        middles, values, lengths, ends, hatched, strict=True
    ):
        colour = colours[0] if length >= 0 else colours[1]
        ax.barh(
            middle, length, height=0.19, linewidth=0.9, edgecolor=colour,
            color="white" if lined else colour, hatch="/////" if lined else None,
        )  # fmt: skip
        ax.annotate(
            signed(value), (end, middle), (4 if length >= 0 else -4, 0),
            textcoords="offset points", va="center", ha="left" if length >= 0 else "right",
            size=SMALL, color=MUTED,
        )  # fmt: skip
    if errors is not None:
        ax.errorbar(
            lengths, middles, xerr=sure, fmt="none", ecolor=INK, elinewidth=1.0, capsize=2.4,
            capthick=1.0,
        )  # fmt: skip
    quiet(ax)
    letters = NORMAL * (1.0 if own else _scale(ax, bottom))
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    ax.set_yticks(middles, labels, parse_math=False, size=letters, color=INK)
    ax.set_ylim(bottom, 0)
    others = [length - (end - length) for length, end in zip(lengths, ends, strict=True)]
    _leave_room(ax, ends, others)


def _row(label: str) -> float:
    return max(0.27, LINE * (label.count("\n") + 1) + 0.1)


def _scale(ax: Axes, height: float) -> float:
    """How much smaller letters must be where given axes are too low for them."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # the caller has looked
    room = 0.9 * figure.get_figheight() * ax.get_position().height
    return min(1.0, max(0.45, room / height)) if height > room else 1.0


def _leave_room(ax: Axes, ends: Sequence[float], others: Sequence[float]) -> None:
    """Room for the numbers at the ends, and for the other ends of what says how sure they are."""
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.2 * (high - low) or 1.0
    left = low - room if low < 0 else -0.02 * room
    right = high + room if high > 0 else 0.02 * room
    ax.set_xlim(min(left, min(others) - 0.02 * room), max(right, max(others) + 0.02 * room))
