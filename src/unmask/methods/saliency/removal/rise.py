"""RISE: how much higher the score is where a pixel is seen, under random masks."""

from collections.abc import Iterator
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.internals import admit_any
from unmask.masking import Batches, cached_rows
from unmask.methods.saliency.removal.backgrounds import (
    backgrounds_of,
    check_cells,
    check_images,
)
from unmask.results import Attribution
from unmask.score import Score

_DRAWN = 1024
"""Masks that are drawn at a time, so that they do not depend on the batch."""


@method("petsiuk2018rise")
def rise(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    baseline: Float[Tensor, "*background"],
    samples: int = 4000,
    cells: int = 7,
    keep: float = 0.5,
    centred: bool = True,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Show random parts of an image, and ask how much higher the score is where a pixel is seen.

    $$
    A(u) = E_m\Bigl[ F\bigl( m \odot x + (1 - m) \odot b \bigr)
        \Bigl( \frac{m(u)}{p} - 1 \Bigr) \Bigr]
    $$

    A mask is a grid of few cells, each shown with chance p, enlarged to a bit more than the image
    and cut out at a random place. Every pixel is seen with p on average, so that E[F m(u)] / p is
    the mean score under masks weighted by how much of u they show. That is the published value; all
    of these lie about the mean score of all masks, E[F], which says nothing of single pixels and is
    taken off here. Parts closer than a cell cannot be told apart. Nothing but scores is asked of
    the model.

    The mean is taken over `samples` masks, the same for all images, without bias. A constant, half
    the way from the score of b to that of x, is taken off F, which changes no mean but makes it
    less noisy. `errors` are the standard errors that remain. Differences of neighbouring pixels are
    surer than these, as they saw nearly the same masks.

    Args:
        score: F.
        x: the images.
        baseline: b; with one axis more than an image a set of them that is averaged over, with two
            more a set for each image.
        samples: masks.
        cells: rows and columns of the grid.
        keep: p, the chance of a cell to be seen.
        centred: whether the mean score is taken off, so that what does not matter has the value 0.
        batch_size: images in one call of the model; by default what a processor's cache holds.
        generator: source of the masks.

    >>> from unmask.score import logit
    >>> corner = logit(lambda x: x[:, 0, :2, :2].sum((1, 2)), 0)
    >>> image, black = torch.ones(1, 1, 6, 6), torch.zeros(1, 6, 6)
    >>> found = rise(corner, image, baseline=black, cells=3)
    >>> found.values[0, 0, ::2, ::2].round() + 0.0
    tensor([[1., 1., 0.],
            [1., 0., 0.],
            [0., 0., 0.]])
    """
    admit_any(score, x, batch_size)
    _check(x, samples, cells, keep)
    backgrounds = backgrounds_of(x, baseline)
    generator = admission.drawing(generator)
    rows = batch_size or cached_rows(x[0])
    pixels = torch.promote_types(x.dtype, torch.float32)
    with torch.inference_mode(False), torch.no_grad():
        scores = _Scores(score, x.detach(), backgrounds, rows)
        nothing, everything = (torch.full((1, *x.shape[-2:]), share) for share in (0.0, 1.0))
        middle = (scores(nothing.to(x)) + scores(everything.to(x)))[0] / 2
        total = x.new_zeros(len(x), *x.shape[-2:], dtype=torch.float64)
        squares = torch.zeros_like(total)
        block = max(1, rows // (len(x) * backgrounds.shape[1]))
        for some in _masks(x.shape[-2:], samples, cells, keep, generator):
            for masks in some.to(x.device, pixels).split(block):
                away = (scores(masks) - middle).to(pixels)
                weights = masks / keep - (1 if centred else 0)
                total += torch.einsum("nb,nhw->bhw", away, weights)
                squares += torch.einsum("nb,nhw->bhw", away**2, weights**2)
        mean = total / samples
        errors = ((squares / samples - mean**2).clamp(min=0) / (samples - 1)).sqrt()
        values = mean if centred else mean + middle[:, None, None]
    evaluations = (samples + 2) * len(x) * backgrounds.shape[1]
    return Attribution(
        values[:, None].to(x.dtype), evaluations=evaluations, errors=errors[:, None].to(x.dtype)
    )


class _Scores:
    """The scores of all images under masks, averaged over their backgrounds."""

    def __init__(self, score: Score, x: Tensor, backgrounds: Tensor, rows: int) -> None:
        self.x, self.backgrounds, self.rows = x, backgrounds, rows
        self.name, self.batches = score.name, Batches(score, rows)

    def __call__(self, masks: Float[Tensor, "masks height width"]) -> Float[Tensor, "masks batch"]:
        counts = (len(masks), *self.backgrounds.shape[:2])
        every = torch.cartesian_prod(*(torch.arange(n, device=masks.device) for n in counts))
        found = self.batches(self._blocks(masks, every), len(every), every[:, 1])
        if not found.isfinite().all():
            i = int(every[~found.isfinite()][0, 1])
            raise ValueError(
                f"The {self.name} of image {i} is not finite under some mask. Look at what the "
                "model computes there, or choose another baseline."
            )
        return found.view(counts).double().mean(2)

    def _blocks(self, masks: Tensor, every: Tensor) -> Iterator[Tensor]:
        for some in every.split(self.rows):
            m, i, k = some.unbind(1)
            shown = masks[m, None]
            mixed = self.x[i].to(shown) * shown + self.backgrounds[i, k].to(shown) * (1 - shown)
            yield mixed.to(self.x)


def _masks(
    size: torch.Size, samples: int, cells: int, keep: float, generator: torch.Generator
) -> Iterator[Float[Tensor, "some height width"]]:
    """Grids of cells shown at random, enlarged to a cell more than the image and cut out."""
    device = generator.device
    cell = [ceil(side / cells) for side in size]
    # To enlarge is linear in rows and in columns: one matrix each.
    enlarge = [
        functional.interpolate(
            torch.eye(cells, device=device)[None], size=(cells + 1) * width, mode="linear"
        )[0].T
        for width in cell
    ]
    for first in range(0, samples, _DRAWN):
        count = min(_DRAWN, samples - first)
        # A whole block is drawn though it may not be used, so that fewer masks are the first ones.
        seen = torch.rand(_DRAWN, cells, cells, generator=generator, device=device) < keep
        place = torch.rand(_DRAWN, 2, generator=generator, device=device)
        for grid, at in zip(seen[:count].float().split(64), place[:count].split(64), strict=True):
            down, across = (
                matrix[(at[:, axis, None] * width).long() + torch.arange(side, device=device)]
                for axis, (matrix, width, side) in enumerate(zip(enlarge, cell, size, strict=True))
            )
            yield down @ grid @ across.transpose(1, 2)


def _check(x: Tensor, samples: int, cells: int, keep: float) -> None:
    if not x.is_floating_point():
        raise TypeError(
            f"An image that is shown in part needs real numbers, but x holds {x.dtype}. "
            "Give it as the model takes it, in floating point."
        )
    check_images(x, {})
    check_cells(x, (cells, cells))
    if samples < 2:
        raise ValueError(f"{samples} masks have no standard error. Give at least 2 samples.")
    if not 0 < keep <= 1:
        raise ValueError(f"Cells cannot be seen with chance {keep}. Give more than 0, at most 1.")
