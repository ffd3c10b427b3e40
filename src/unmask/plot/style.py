"""How all pictures look: two accents, quiet axes, text that stays text."""

import io
import re
import warnings

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

Colours = tuple[str, str]
"""The accents of what raises the score and of what lowers it."""

COLOURS: Colours = ("#2a6fb0", "#c9622f")  # blue and orange differ for every kind of colour vision
INK, MUTED, FAINT, PAPER = "#1f2933", "#5f6b77", "#d4dae0", "#ffffff"
UNSIGNED = "cividis"
"""The map of what has no sign: even steps look even, in grey too."""

WIDTH = 7.2
"""Inches: what a page holds beside its margins."""
NORMAL, SMALL = 9.0, 8.0


def sheet(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that makes room for its labels. pyplot does not know of it.

    Args:
        height: in inches.
        width: in inches.
    """
    engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width, height), layout=engine, facecolor=PAPER)


def stage(ax: Axes | None, height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """The axes that were given and their figure, or new ones.

    Args:
        ax: where to draw, if someone has prepared a place.
        height: of a new figure, in inches.
        width: of a new figure, in inches.
    """
    if ax is None:
        figure = sheet(height, width)
        return figure, figure.add_subplot()
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("The axes belong to no figure. Give axes of a figure, or none.")
    return figure, ax


def quiet(ax: Axes) -> None:
    """Take away all lines that carry no number."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED, color=FAINT)
    ax.set_axisbelow(True)


def caption(figure: Figure, ax: Axes, text: str, own: bool) -> None:
    """Say below the picture what is not in it.

    Args:
        figure: the figure.
        ax: its axes.
        text: lines of the caption.
        own: whether the figure was made for this picture, so that the whole width is free.
    """
    if own:
        line = figure.supxlabel(text, x=0.012, ha="left", size=SMALL, color=MUTED)
        line.set_parse_math(False)
    else:
        above = ax.get_xlabel()
        ax.set_xlabel(f"{above}\n{text}" if above else text, size=SMALL, color=MUTED)
        ax.xaxis.label.set_parse_math(False)


def notice(ax: Axes, text: str) -> None:
    """A sentence where there is nothing to draw."""
    ax.set_axis_off()
    ax.text(
        *(0.5, 0.5, text), ha="center", va="center", size=NORMAL, color=MUTED, parse_math=False,
        transform=ax.transAxes,
    )  # fmt: skip


def diverging(colours: Colours, see_through: bool = False) -> LinearSegmentedColormap:
    """From the negative accent over white, or nothing, to the positive one.

    Args:
        colours: the accents.
        see_through: lets what lies below show where values are small.
    """
    positive, negative = colours
    if not see_through:
        steps = [_darker(negative), negative, PAPER, positive, _darker(positive)]
        return LinearSegmentedColormap.from_list("signed", steps)
    steps = [to_rgba(_darker(negative), 0.95), to_rgba(negative, 0.8), to_rgba(negative, 0.0)]
    steps += [to_rgba(positive, 0.0), to_rgba(positive, 0.8), to_rgba(_darker(positive), 0.95)]
    places = [0.0, 0.25, 0.5, 0.5, 0.75, 1.0]
    return LinearSegmentedColormap.from_list("signed", list(zip(places, steps, strict=True)))


def rising(see_through: bool = False) -> LinearSegmentedColormap:
    """For values without a sign: from nothing to dark, in steps that look even.

    Args:
        see_through: lets what lies below show where values are small.
    """
    shades = colormaps["magma_r"](np.linspace(0.0, 0.92, 256))
    if see_through:
        shades[:, 3] = np.linspace(0.0, 1.0, 256) ** 0.6 * 0.92
    return LinearSegmentedColormap.from_list("unsigned", shades)


def _darker(colour: str) -> tuple[float, float, float]:
    red, green, blue = to_rgb(colour)
    return 0.7 * red, 0.7 * green, 0.7 * blue


def signed(value: float) -> str:
    """A number in three digits with its sign, as print writes it."""
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def count(number: int) -> str:
    """A whole number with thin spaces between the thousands."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def share(part: float) -> str:
    """A share in per cent; what is not quite all is not called all."""
    percent = 100 * part
    if 99.95 <= percent < 100:
        return "over 99.9\N{NO-BREAK SPACE}%"
    if 0 < percent < 0.01:
        return "under 0.01\N{NO-BREAK SPACE}%"
    return f"{percent:.3g}\N{NO-BREAK SPACE}%"


def svg(figure: Figure) -> str:
    """A figure as SVG to put into a page: text is text, and the same figure is the same file.

    Args:
        figure: any figure of matplotlib.
    """
    written = io.StringIO()
    settings = rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "unmask", "font.sans-serif": ["DejaVu Sans"]}
    )
    with settings, warnings.catch_warnings():
        # Letters that matplotlib's own font lacks are no loss: the reader's browser has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    whole = written.getvalue()
    whole = whole[whole.index("<svg") :]
    # Names of groups serve nobody, and two pictures in a page would share them.
    return re.sub(r'<g id="[^"]*">', "<g>", whole)


def png(figure: Figure, dpi: int = 144) -> bytes:
    """A figure as PNG.

    Args:
        figure: any figure of matplotlib.
        dpi: dots per inch.
    """
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dpi)
    return written.getvalue()
