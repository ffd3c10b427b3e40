"""Meaningful perturbation: the smallest part whose removal takes the score away."""

from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.baselines import blur
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.removal.backgrounds import (
    backgrounds_of,
    check_cells,
    check_images,
)
from unmask.results import Attribution
from unmask.score import Score

_CELLS = 28
"""Rows and columns of the published mask, one for eight pixels of its images."""
_WINDOW, _LITTLE = 25, 1e-3
"""A mask is done when the mean objective of so many steps falls by less than this share of all it
has fallen."""


@method("fong2017interpretable")
def meaningful_perturbation(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    baseline: Float[Tensor, "*background"],
    preserve: bool = False,
    cells: tuple[int, int] | None = None,
    steps: int = 300,
    rate: float = 0.1,
    sparsity: float = 1e-4,
    roughness: float = 1e-2,
    beta: float = 3.0,
    softness: float = 0.625,
    jitter: float = 0.5,
    samples: int = 1,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Learn the smallest, smoothest part of an image whose removal takes the score away.

    $$
    \min_{m \in [0, 1]} \; \lambda_1 \sum_u (1 - m_u)
        + \lambda_2 \sum_u \bigl( |m_u - m_{u+\downarrow}|^\beta + |m_u - m_{u+\to}|^\beta \bigr)
        + E_\tau F\bigl( m \odot x_\tau + (1 - m) \odot b_\tau \bigr)
    $$

    The mask m is 1 where the image stays and 0 where b stands instead; the values are 1 - m. It has
    far fewer cells than the image has pixels, is enlarged and blurred, and the image is shifted
    against it by a few pixels at random, so that it finds parts of the image rather than noise that
    fools the network. With `preserve` the question is turned round: which smallest part, alone,
    keeps the score? Then $\sum m$ is paid for, F is to be large, and the values are m.

    How large a part comes out is a matter of lambda_1, the price of a cell in units of the score.
    Its default is meant for probabilities. Where one of these is so close to 1 that its slope is
    lost, the mask stays as it is: take log-odds then, and a price a hundred times as high or more.
    The problem is not convex: another start, step or background finds another mask.

    The published mask has 28 x 28 cells on 224 x 224 pixels. Here no image has more than a cell
    for two pixels unless told otherwise, and sizes are counted in cells. What is not done as
    published: all masks start at 1, without the search for a first disc, and an image shifted
    beyond its border goes on as at the border.

    Args:
        score: F, differentiable in its input.
        x: the images.
        baseline: b, often each image blurred; with one axis more than an image a set of them that
            is averaged over, with two more a set for each image.
        preserve: whether to look for a part that is enough, not for one that is needed.
        cells: rows and columns of the mask.
        steps: the most steps of Adam; a mask whose objective no longer falls is done earlier.
        rate: by how much a step may change the mask.
        sparsity: lambda_1, the price of a cell.
        roughness: lambda_2, the price of differences between neighbouring cells.
        beta: the exponent of these differences.
        softness: standard deviation of the blur of the enlarged mask, in cells.
        jitter: how far the image is shifted either way, in cells.
        samples: shifts per step, averaged over.
        batch_size: images in one call of the model, by default as many as inputs.
        generator: source of the shifts.

    >>> from unmask.score import logit
    >>> corner = logit(lambda x: x[:, 0, 0, 0] - x[:, 0, 1, 1], 0)
    >>> found = meaningful_perturbation(
    ...     corner, torch.ones(1, 1, 2, 2), baseline=torch.zeros(1, 2, 2), cells=(2, 2),
    ...     roughness=0.0, softness=0.0, jitter=0.0,
    ... )
    >>> found.values[0, 0]
    tensor([[1., 0.],
            [0., 0.]])
    """
    admit(score, x, batch_size)
    check_images(x, {"steps": steps, "samples": samples})
    height, width = x.shape[-2:]
    if cells is None:
        cells = (min(_CELLS, ceil(height / 2)), min(_CELLS, ceil(width / 2)))
    check_cells(x, cells)
    _check(rate, sparsity, roughness, beta, softness, jitter)
    x = x.detach()
    images = _Images(score, x, backgrounds_of(x, baseline), batch_size or len(x))
    generator = admission.drawing(generator)
    cell = min(height / cells[0], width / cells[1])
    reach = round(jitter * cell)
    sign = -1.0 if preserve else 1.0

    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.inference_mode(False), torch.enable_grad():
        mask = torch.ones(len(x), *cells, dtype=wide, device=x.device, requires_grad=True)
        optimiser = torch.optim.Adam([mask], lr=rate)
        open_ = torch.arange(len(x), device=x.device)  # the images that are not done
        objectives = torch.zeros(0, len(x), device=x.device)
        evaluations = 0
        for _ in range(steps):
            shifts = torch.randint(
                -reach, reach + 1, (samples, 2), generator=generator, device=generator.device
            )
            visible = _enlarged(mask[open_], x.shape[-2:], softness * cell)
            values, slope = images(open_, visible.detach(), shifts.to(x.device))
            price = _price(mask[open_], preserve, sparsity, roughness, beta)
            (mask.grad,) = torch.autograd.grad(
                [visible, price], mask, [sign * slope, torch.ones_like(price)]
            )
            before = mask.detach().clone()
            optimiser.step()
            with torch.no_grad():
                done = torch.ones(len(x), dtype=torch.bool, device=x.device)
                done[open_] = False
                mask.copy_(torch.where(done[:, None, None], before, mask.clamp(0, 1)))
            evaluations += len(open_) * samples * images.backgrounds.shape[1]
            latest = torch.zeros(1, len(x), device=x.device)
            latest[0, open_] = (price.detach() + sign * values).float()
            objectives = torch.cat([objectives, latest])
            open_ = open_[~_settled(objectives[:, open_])]
            if len(open_) == 0:
                break
    with torch.no_grad():
        visible = _enlarged(mask, x.shape[-2:], softness * cell)
        found = visible if preserve else 1 - visible
    return Attribution(found.clamp(0, 1)[:, None].to(x.dtype), evaluations=evaluations)


class _Images:
    """The score of half-hidden images, and its slope in what is visible."""

    def __init__(self, score: Score, x: Tensor, backgrounds: Tensor, batch_size: int) -> None:
        self.score, self.x, self.backgrounds = score, x, backgrounds
        self.batch_size = batch_size

    def __call__(
        self,
        inputs: Int[Tensor, " some"],
        visible: Float[Tensor, "some height width"],
        shifts: Int[Tensor, "samples 2"],
    ) -> tuple[Float[Tensor, " some"], Float[Tensor, "some height width"]]:
        """The mean over shifts and backgrounds, and its derivative by each pixel of the mask."""
        counts = (len(inputs), len(shifts), self.backgrounds.shape[1])
        every = torch.cartesian_prod(*(torch.arange(n, device=self.x.device) for n in counts))
        value, slope = visible.new_zeros(len(inputs)), torch.zeros_like(visible)
        share = counts[0] / len(every)
        for some in every.split(self.batch_size):
            i, s, k = some.unbind(1)
            rows = inputs[i]
            x = _shifted(self.x[rows], shifts[s])
            b = _shifted(self.backgrounds[rows, k], shifts[s])
            difference = x.to(visible) - b.to(visible)
            points = (b.to(visible) + visible[i, None] * difference).to(x)
            values, gradient = value_and_gradient(self.score, points, rows)
            value.index_add_(0, i, share * values.to(value))
            slope.index_add_(0, i, share * (gradient.to(slope) * difference).sum(1))
        return value, slope


def _shifted(
    images: Float[Tensor, "rows channels height width"], shifts: Int[Tensor, "rows 2"]
) -> Float[Tensor, "rows channels height width"]:
    """Each image moved by its own shift; beyond the border it goes on as at the border."""
    if not shifts.any():
        return images
    height, width = images.shape[-2:]
    down = torch.arange(height, device=images.device) + shifts[:, :1]
    across = torch.arange(width, device=images.device) + shifts[:, 1:]
    row = torch.arange(len(images), device=images.device)[:, None, None]
    moved = images[
        row, :, down.clamp(0, height - 1)[:, :, None], across.clamp(0, width - 1)[:, None, :]
    ]
    return moved.movedim(-1, 1)


def _enlarged(
    mask: Float[Tensor, "some rows columns"], size: torch.Size, radius: float
) -> Float[Tensor, "some height width"]:
    large = functional.interpolate(mask[:, None], size=tuple(size), mode="bilinear")[:, 0]
    return blur(large, radius) if radius > 0 else large


def _price(
    mask: Float[Tensor, "some rows columns"],
    preserve: bool,
    sparsity: float,
    roughness: float,
    beta: float,
) -> Float[Tensor, " some"]:
    """What the mask costs by itself."""
    paid = (mask if preserve else 1 - mask).sum((1, 2))
    rough = sum(mask.diff(dim=axis).abs().pow(beta).sum((1, 2)) for axis in (1, 2))
    return sparsity * paid + roughness * rough


def _settled(objectives: Float[Tensor, "steps some"]) -> Tensor:
    """Whose objective has stopped falling; asked at the end of each window of steps."""
    steps, count = objectives.shape
    if steps < 2 * _WINDOW or steps % _WINDOW:
        return torch.zeros(count, dtype=torch.bool, device=objectives.device)
    means = objectives.unflatten(0, (-1, _WINDOW)).mean(1)
    fallen = means[:-1].amin(0) - means[-1]
    return fallen <= _LITTLE * (objectives[0] - means[-1]).clamp(min=0)


def _check(
    rate: float, sparsity: float, roughness: float, beta: float, softness: float, jitter: float
) -> None:
    if not rate > 0:
        raise ValueError(f"A rate of {rate} moves no mask. Give one above 0, such as 0.1.")
    if not beta >= 1:
        raise ValueError(
            f"Differences to the power of {beta} reward rough masks. Give a beta of at least 1."
        )
    prices = {"sparsity": sparsity, "roughness": roughness, "softness": softness, "jitter": jitter}
    for what, value in prices.items():
        if not value >= 0:
            raise ValueError(f"{what} is {value}, but cannot be negative. Give 0 or more.")
