"""A text whose pieces are coloured by their values."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from unmask.plot.labels import clean
from unmask.plot.style import INK, MUTED, PAPER, Colours, diverging, rising, signed

FONT = 11.0


@dataclass(frozen=True)
class _Placed:
    text: str
    value: float
    number: str
    x: float
    y: float


def height(
    pieces: Sequence[str], values: Sequence[float], width: float, unsigned: bool = False
) -> float:
    """Points that a text of this width needs."""
    return _arranged(pieces, values, width, FONT, unsigned)[1]


def draw(
    ax: Axes, pieces: Sequence[str], values: Sequence[float], *, width: float, room: float,
    colours: Colours, unsigned: bool = False,
) -> None:  # fmt: skip
    """Write the pieces in lines, each on its colour, with its number below where it counts.

    Args:
        ax: where to; its upper left corner is where the text begins.
        pieces: the text; a line break in a piece ends its line.
        values: of the pieces.
        width: of the axes, in points.
        room: height of the axes, in points; the letters shrink until the text fits.
        colours: of positive and negative values.
        unsigned: whether values have no sign, so that colours begin at zero.
    """
    font = FONT
    placed, needed = _arranged(pieces, values, width, font, unsigned)
    while needed > room + 0.5 and font > 4:
        font *= 0.95
        placed, needed = _arranged(pieces, values, width, font, unsigned)
    ax.set_axis_off()
    figure = ax.get_figure(root=True)
    assert figure is not None  # the caller has looked
    limit = max((abs(value) for value in values if np.isfinite(value)), default=0.0) or 1.0
    shades, zero, full = (rising(True), 0.0, 0.68) if unsigned else (diverging(colours), 0.5, 0.34)
    for unit in placed:
        # Full colour would swallow the letters: the strongest piece gets two thirds of it.
        shade = shades(zero + full * np.nan_to_num(unit.value) / limit)
        seen = shade[3] * np.dot(shade[:3], [0.299, 0.587, 0.114]) + 1 - shade[3]  # on white paper
        light = seen > 0.5
        box = {"boxstyle": "round,pad=0.18", "facecolor": shade, "edgecolor": "none"}
        # In points from the corner: letters do not grow with the axes, so places must not either.
        shift = ScaledTranslation(unit.x / 72, -unit.y / 72, figure.dpi_scale_trans)
        text = ax.text(
            0, 1, unit.text, size=font, color=INK if light else PAPER, ha="center",
            va="baseline", parse_math=False, bbox=box, transform=ax.transAxes + shift,
        )  # fmt: skip
        text.set_in_layout(False)
        if unit.number:
            shift = ScaledTranslation(
                unit.x / 72, -(unit.y + 1.25 * font) / 72, figure.dpi_scale_trans
            )
            number = ax.text(
                0,
                1,
                unit.number,
                size=0.6 * font,
                color=MUTED,
                ha="center",
                va="baseline",
                transform=ax.transAxes + shift,
            )
            number.set_in_layout(False)  # fmt: skip


def _arranged(
    pieces: Sequence[str], values: Sequence[float], width: float, font: float, unsigned: bool
) -> tuple[list[_Placed], float]:
    """The pieces at their places, in points, and the height they need."""
    margin, step, gap = 0.6 * font, 2.7 * font, 0.5 * font
    x, y = margin, 1.6 * font
    limit = max((abs(value) for value in values), default=0.0)
    placed: list[_Placed] = []
    for piece, value in zip(pieces, values, strict=True):
        number = ""
        if abs(value) >= 0.08 * limit > 0:
            number = f"{value:.3g}" if unsigned else signed(value)
        # Nothing is written for a piece of no letters, but a number below it is not kept back.
        parts = _fitting(clean(piece), width - 2 * margin, font) if piece else [""] * bool(number)
        for i, part in enumerate(parts):
            shown = number if i == len(parts) - 1 else ""
            wide = written(part, font)
            if shown:  # a number may be broader than a short piece
                wide = max(wide, written(shown, 0.6 * font))
            if x > margin and x + wide > width - margin:
                x, y = margin, y + step
            placed.append(_Placed(part, value, shown, x + wide / 2, y))
            x += wide + gap
        if "\n" in piece:
            x, y = margin, y + step
    return placed, (y if x > margin or not placed else y - step) + 1.7 * font


def _fitting(text: str, width: float, font: float) -> list[str]:
    """A piece in parts that each fit a line."""
    parts = [""]
    for letter in text:
        if parts[-1] and written(parts[-1] + letter, font) > width:
            parts.append("")
        parts[-1] += letter
    return parts


def written(text: str, font: float) -> float:
    """Points that a text is wide.

    Args:
        text: one line.
        font: size of its letters, in points.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return text_to_path.get_text_width_height_descent(text, FontProperties(size=font), False)[0]
