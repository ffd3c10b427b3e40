"""Inputs side by side: pictures where they look like pictures, otherwise rows of colour."""

from collections.abc import Sequence
from math import ceil

import torch
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from unmask.plot.labels import wrapped
from unmask.plot.style import INK, MUTED, SMALL, UNSIGNED

ACROSS = 6


def rows(count: int) -> int:
    """Rows of pictures that this many need."""
    return ceil(count / ACROSS)


def are_pictures(inputs: Shaped[Tensor, "batch *input"]) -> bool:
    """Whether inputs have height and width, with one or three channels or none."""
    shape = inputs.shape[1:]
    if len(shape) == 2:
        return min(shape) > 1
    return len(shape) == 3 and shape[0] in (1, 3)


def pictures(
    figure: Figure, places: Sequence[Axes], inputs: Shaped[Tensor, "batch *input"],
    titles: Sequence[str],
) -> None:  # fmt: skip
    """Show inputs as pictures, each between its own darkest and lightest value.

    Args:
        figure: the figure.
        places: at least as many axes.
        inputs: with one or three channels, or none.
        titles: one for each.
    """
    for ax in places:
        ax.set_axis_off()
    for ax, picture, title in zip(places, inputs, titles, strict=False):
        shown = _between_zero_and_one(picture)
        shown = shown.movedim(0, -1).squeeze(-1) if shown.ndim == 3 else shown
        ax.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(wrapped(title, 16), size=SMALL, color=INK, parse_math=False)


def matrix(figure: Figure, ax: Axes, inputs: Tensor, titles: Sequence[str]) -> None:
    """Show inputs as rows of colour.

    Args:
        figure: the figure.
        ax: where to.
        inputs: of any shape; every one becomes a row.
        titles: one for each.
    """
    flat = inputs.detach().cpu().double().flatten(1)
    image = ax.imshow(flat.numpy(), cmap=UNSIGNED, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(flat)), [wrapped(title, 24) for title in titles], parse_math=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.set_xlabel("position in the input", size=SMALL, color=MUTED)
    scale = figure.colorbar(image, ax=ax, pad=0.02, aspect=18)
    scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    scale.ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)


def _between_zero_and_one(picture: Tensor) -> Float[Tensor, "..."]:
    picture = picture.detach().cpu().double().nan_to_num(0.0)
    low, high = picture.min(), picture.max()
    return (picture - low) / (high - low) if high > low else torch.zeros_like(picture)
