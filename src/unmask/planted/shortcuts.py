"""Images whose labels can be read off a shape, and, in training data, off a patch as well."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_PATCH = 3


@dataclass(frozen=True)
class PlantedShortcut:
    """Images with a shape, which is the evidence, and a patch in a corner, which should be none.

    Args:
        x: images of one channel.
        labels: 1 where the stripes of the shape lie, 0 where they stand.
        shape: True where the shape of each image is.
        patch: True where the patch may be, the same for all.
    """

    x: Float[Tensor, "batch channels height width"]
    labels: Int[Tensor, " batch"]
    shape: Bool[Tensor, "batch channels height width"]
    patch: Bool[Tensor, "batch channels height width"]


def planted_shortcut(
    samples: int,
    generator: torch.Generator,
    *,
    agreement: float = 1.0,
    size: int = 12,
    noise: float = 0.3,
) -> PlantedShortcut:
    """Draw images of two classes, and put a patch where it tells the class, as often as one likes.

    The shape is a square of stripes at a place drawn at random, and the label says which way they
    run. The patch in the upper left corner is bright for class 1 and dark for class 0, in a share
    `agreement` of the images; in the others it is the other way round. With 1 a model can take it
    for the label, and is right for the wrong reason; with one half it says nothing, as in the data
    to test such a model on. The shape never covers the patch.

    Args:
        samples: how many.
        generator: source of randomness.
        agreement: share of the images in which the patch tells the class.
        size: height and width, 9 at least.
        noise: standard deviation of what is added to every pixel.

    >>> images = planted_shortcut(20, torch.Generator().manual_seed(0), noise=0.0)
    >>> bright = images.x[images.patch].view(20, -1).mean(1)
    >>> torch.equal(bright > 0, images.labels == 1)
    True
    """
    if samples < 1 or size < 9 or not 0 <= agreement <= 1 or noise < 0:
        raise ValueError(
            f"{samples} images of {size} x {size} pixels with noise {noise}, of which a share "
            f"{agreement} has a patch that agrees, cannot be drawn. Give at least one image of 9 "
            "pixels, a share from 0 to 1, and noise of at least 0."
        )
    labels = torch.randint(2, (samples,), generator=generator)
    side = size - 2 * _PATCH if size < 12 else 6
    # The shape begins below the patch, and so cannot cover it wherever it stands.
    down = torch.randint(_PATCH, size - side + 1, (samples,), generator=generator)
    across = torch.randint(0, size - side + 1, (samples,), generator=generator)
    places = torch.arange(size)
    rows, columns = places - down[:, None], places - across[:, None]
    within = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    shape = within[0][:, :, None] & within[1][:, None]
    lying, standing = (rows % 2)[:, :, None], (columns % 2)[:, None]
    stripes = torch.where((labels == 1)[:, None, None], lying, standing)
    x = torch.where(shape, 2.0 * stripes - 1, 0.0)
    agrees = torch.rand(samples, generator=generator) < agreement
    sign = torch.where((labels == 1) == agrees, 1.0, -1.0)
    patch = torch.zeros(samples, size, size, dtype=torch.bool)
    patch[:, :_PATCH, :_PATCH] = True
    x = torch.where(patch, sign[:, None, None], x)
    x = x + noise * torch.randn(x.shape, generator=generator)
    return PlantedShortcut(x[:, None], labels, shape[:, None], patch[:, None])
