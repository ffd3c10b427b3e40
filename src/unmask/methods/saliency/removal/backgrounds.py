"""Images that are hidden in part: what may come in, and what stands where they are hidden."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from unmask import admission


def backgrounds_of(
    x: Float[Tensor, "batch channels height width"], baseline: Float[Tensor, "*background"]
) -> Float[Tensor, "batch backgrounds channels height width"]:
    """A set of backgrounds for each input, checked and in the type of x.

    Args:
        x: the inputs.
        baseline: shaped like one input; with one axis more a set that all inputs share; with two
            more a set for each, such as `blurred[:, None]` for one blurred copy of each input.
    """
    if baseline.ndim < x.ndim + 1:
        shared = admission.backgrounds_for(x[0], baseline)
        return shared.expand(len(x), *shared.shape)
    if baseline.ndim > x.ndim + 1 or len(baseline) != len(x):
        raise ValueError(
            f"The baseline has shape {tuple(baseline.shape)}, the inputs {tuple(x.shape)}. "
            "Give one background, a set of them with one axis more, or a set for each input "
            "with two more."
        )
    each = admission.baseline_for(x[0], baseline.flatten(0, 1))
    return each.unflatten(0, baseline.shape[:2])


def check_images(x: Tensor, counts: Mapping[str, int | None]) -> None:
    """Refuse what a mask cannot be laid over, and numbers of things below one.

    Args:
        x: the images.
        counts: numbers of steps, samples and the like, by the names that a user gives them.
    """
    if x.ndim != 4:
        raise ValueError(
            f"A mask is laid over images, but x has shape {tuple(x.shape)}. "
            "Give images as [batch, channels, height, width]."
        )
    for what, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{what} is {count}, which does nothing. Give at least 1.")


def check_cells(x: Tensor, cells: tuple[int, int]) -> None:
    """Refuse masks that are finer than the images."""
    if not all(1 <= count <= side for count, side in zip(cells, x.shape[-2:], strict=True)):
        raise ValueError(
            f"A mask of {cells[0]} x {cells[1]} cells does not fit images of {x.shape[-2]} x "
            f"{x.shape[-1]} pixels. Give at least one cell and at most one per pixel."
        )
