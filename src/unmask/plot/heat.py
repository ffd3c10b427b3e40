"""Values laid over the positions of a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from torch import Tensor

from unmask.plot.style import INK, MUTED, PAPER, SMALL, Colours, diverging, rising, signed


def draw(
    figure: Figure,
    ax: Axes,
    values: Float[np.ndarray, "height width"],
    pixels: UInt8[Tensor, "rows columns 3"] | None,
    *,
    limit: float,
    label: str,
    colours: Colours,
    unsigned: bool = False,
) -> None:
    """Lay values over a picture in grey, with a scale beside it.

    Args:
        figure: the figure.
        ax: where to.
        values: stretched over the picture where they are fewer.
        pixels: the picture; without it the ground is white.
        limit: the size at which colours end.
        label: of the scale.
        colours: of positive and negative values.
        unsigned: whether values have no sign, so that colours begin at zero.
    """
    image = lay(ax, values, pixels, limit=limit, colours=colours, unsigned=unsigned)
    scale(figure, [ax], image, label)


def lay(
    ax: Axes,
    values: Float[np.ndarray, "height width"],
    pixels: UInt8[Tensor, "rows columns 3"] | None,
    *,
    limit: float,
    colours: Colours,
    unsigned: bool = False,
) -> AxesImage:
    """Lay values over a picture in grey; colours are symmetric about zero, or begin at it.

    Args:
        ax: where to.
        values: stretched over the picture where they are fewer.
        pixels: the picture; without it the ground is white.
        limit: the size at which colours end.
        colours: of positive and negative values.
        unsigned: whether values have no sign.
    """
    height, width = values.shape if pixels is None else pixels.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if pixels is not None:
        grey = pixels.cpu().numpy() @ np.array([0.299, 0.587, 0.114]) / 255
        pale = 0.5 + 0.5 * grey  # so that black parts do not swallow the colours
        ax.imshow(pale, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    limit = limit or 1.0
    see_through = pixels is not None
    shades = rising(see_through) if unsigned else diverging(colours, see_through)
    ax.set_axis_off()
    return ax.imshow(
        values, cmap=shades, vmin=0 if unsigned else -limit, vmax=limit, extent=extent,
        interpolation="nearest",
    )  # fmt: skip


def scale(figure: Figure, places: Sequence[Axes], image: ScalarMappable, label: str) -> None:
    """A scale beside pictures.

    Args:
        figure: the figure.
        places: the axes that it serves.
        image: whose colours it explains.
        label: what they stand for.
    """
    bar = figure.colorbar(image, ax=list(places), shrink=0.8, pad=0.03, aspect=24)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)
    bar.set_label(label, size=SMALL, color=MUTED)


def mark_players(
    ax: Axes,
    owner: Int[np.ndarray, "height width"],
    values: list[float],
    size: tuple[int, int],
) -> None:
    """Draw the borders between players, and in each of not too many its number.

    Args:
        ax: a picture.
        owner: the player of each position.
        values: of the players.
        size: height and width of the picture.
    """
    down, across = size[0] / owner.shape[0], size[1] / owner.shape[1]
    ax.add_collection(LineCollection(_borders(owner, down, across), colors=PAPER, linewidths=0.8))
    places = [np.argwhere(owner == player) for player in range(len(values))]
    if len(values) > 40 or any(len(place) < owner.size / 80 for place in places if len(place)):
        return
    for value, place in zip(values, places, strict=True):
        if len(place):
            centre = place.mean(0)
            if owner[tuple(centre.astype(int))] != owner[tuple(place[0])]:
                # The centre lies in another player, as that of a ring does: take what is nearest.
                centre = place[np.abs(place - centre).sum(1).argmin()]
            ax.text(
                (centre[1] + 0.5) * across - 0.5, (centre[0] + 0.5) * down - 0.5, signed(value),
                ha="center", va="center", size=SMALL, color=INK,
                path_effects=[withStroke(linewidth=2.2, foreground=PAPER)],
            )  # fmt: skip


def _borders(
    owner: Int[np.ndarray, "height width"], down: float, across: float
) -> list[list[tuple[float, float]]]:
    """The edges between positions of different players, as lines of the picture."""
    borders = []
    for row, column in np.argwhere(owner[:, 1:] != owner[:, :-1]).tolist():
        x = (column + 1) * across - 0.5
        borders.append([(x, row * down - 0.5), (x, (row + 1) * down - 0.5)])
    for row, column in np.argwhere(owner[1:] != owner[:-1]).tolist():
        y = (row + 1) * down - 0.5
        borders.append([(column * across - 0.5, y), ((column + 1) * across - 0.5, y)])
    return borders
