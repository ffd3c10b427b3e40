"""Extremal perturbation: the part of a given size that matters most."""

from collections.abc import Sequence
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unmask.baselines import blur
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.removal.backgrounds import backgrounds_of, check_images
from unmask.results import Attribution, Measurement
from unmask.score import Score

_GRID = 32
"""Parameters along the shorter side of an image: one for seven of the published 224 pixels."""
_REACH = 3.0
"""Radius of the bump around a parameter, in distances between parameters."""
_COLDNESS = 20.0
_WORTH = 100.0
"""What the whole image is made to be worth, beside the pull of the area."""
_PULL, _LAST = 300.0, 5 * 300.0 * 1.0035**800
"""The weight of the area at the first step and at the last."""
_FREE = 0.05
"""The share of the steps that the scores have for themselves."""


@method("fong2019understanding")
def extremal_perturbation(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    areas: Sequence[float] = (0.1,),
    baseline: Float[Tensor, "*background"] | None = None,
    preserve: bool = True,
    delete: bool = False,
    steps: int = 300,
    rate: float = 0.01,
    blurred: float = 0.09,
    levels: int = 8,
    batch_size: int | None = None,
) -> Attribution:
    r"""Learn which part of an image, of a given size, keeps the score as high as can be.

    $$
    \max_m \; F(m \otimes x) - \lambda\, \overline{\bigl( \mathrm{sort}(m) - r_a \bigr)^2}
    $$

    r is 0 but for its last share a, which is 1: so the mask m is pulled towards 0 and 1, and
    towards the area a. With `delete` it is the part whose loss lowers the score most, $-F((1 - m)
    \otimes x)$ in place of F; with both, the sum of the two. Masks are smooth by construction: a
    parameter on a coarse grid is a bump with a flat top, and a pixel takes what is, softly, the
    largest of the bumps around it. Where the mask is 0 the image is blurred, and less so the
    larger the mask; or a baseline stands there, and they mix.

    The values are the mask or, of several areas, their mean: how small an area may be and
    still hold the pixel. All areas of all images are found together.

    Two things are not as published, where the area draws on a mask that is 1 everywhere, with a
    weight that suits logits: the mask then grew where it happened to be largest, unless the score
    was steep. Here F is scaled so that the whole image is worth 100, masks begin at 1/2, and the
    first twentieth of the steps is left to the score alone. lambda begins at 300 as it did, and
    grows evenly to 25,000 instead of 4,900. Fewer steps find a worse part.

    Distances are counted on a grid of 32 parameters along the shorter side, which for 224 pixels
    is as published, and so is the blur. Every other step the image is mirrored.

    Args:
        score: F, differentiable in its input.
        x: the images.
        areas: a, shares of the image between 0 and 1.
        baseline: what stands where the mask is 0, instead of the image blurred; with one axis more
            than an image a set of them that is averaged over, with two more a set for each image.
        preserve: whether the part is to keep the score.
        delete: whether its loss is to lower the score.
        steps: of gradient ascent with momentum; 800 are published.
        rate: of the ascent.
        blurred: standard deviation of the strongest blur, as a share of the shorter side.
        levels: of blur.
        batch_size: images in one call of the model, by default as many as inputs.

    >>> from unmask.score import logit
    >>> corner = logit(lambda x: 30 * x[:, 0, :4, :4].mean((1, 2)), 0)
    >>> image, black = torch.ones(1, 1, 8, 8), torch.zeros(1, 8, 8)
    >>> found = extremal_perturbation(corner, image, areas=(0.25,), baseline=black, steps=200)
    >>> found.values[0, 0].round()[::2, ::2]
    tensor([[1., 1., 0., 0.],
            [1., 1., 0., 0.],
            [0., 0., 0., 0.],
            [0., 0., 0., 0.]])
    """
    admit(score, x, batch_size)
    _check(x, areas, steps, rate, blurred, levels)
    if not (preserve or delete):
        raise ValueError(
            "A part that need neither keep nor lower the score can be any. "
            "Set preserve, delete or both."
        )
    images = _Images(score, x.detach(), _levels(x, baseline, blurred, levels), batch_size or len(x))
    masks = _learned(images, areas, [False] * preserve + [True] * delete, steps, rate)
    return Attribution(masks.mean(1)[:, None].to(x.dtype), evaluations=images.evaluations)


@method("fong2019understanding")
def extremal_areas(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    steps: int,
    areas: Sequence[float] = (0.025, 0.05, 0.1, 0.2, 0.4),
    share: float = 0.9,
    baseline: Float[Tensor, "*background"] | None = None,
    rate: float = 0.01,
    blurred: float = 0.09,
    levels: int = 8,
    batch_size: int | None = None,
) -> Measurement:
    r"""Ask how small a part of an image can be and still keep the score.

    $$
    a^* = \min \bigl\{ a : F(m_a \otimes x) \ge \Phi \bigr\}, \qquad
    \Phi = F(0 \otimes x) + s \bigl( F(x) - F(0 \otimes x) \bigr)
    $$

    m is the mask of `extremal_perturbation` for each area. There is a curve of scores over the
    areas for each image, and a number for its smallest sufficient area, if any area will do.

    Args:
        score: F, differentiable in its input.
        x: the images.
        steps: of gradient ascent with momentum; 800 are published.
        areas: a, shares of the image between 0 and 1, rising.
        share: s, of what the whole image adds to the score.
        baseline: what stands where the mask is 0, instead of the image blurred; with one axis more
            than an image a set of them that is averaged over, with two more a set for each image.
        rate: of the ascent.
        blurred: standard deviation of the strongest blur, as a share of the shorter side.
        levels: of blur.
        batch_size: images in one call of the model, by default as many as inputs.

    >>> from unmask.score import logit
    >>> corner = logit(lambda x: 30 * x[:, 0, :4, :4].mean((1, 2)), 0)
    >>> image, black = torch.ones(1, 1, 8, 8), torch.zeros(1, 8, 8)
    >>> found = extremal_areas(corner, image, areas=(0.1, 0.3), baseline=black, steps=200)
    >>> round(found.numbers["smallest area of image 0"], 1)
    0.3
    """
    admit(score, x, batch_size)
    _check(x, areas, steps, rate, blurred, levels)
    if list(areas) != sorted(set(areas)) or not 0 < share <= 1:
        raise ValueError(
            f"No smallest area can be read off areas {tuple(areas)} and a share of {share}. "
            "Give rising areas, and a share above 0 and at most 1."
        )
    images = _Images(score, x.detach(), _levels(x, baseline, blurred, levels), batch_size or len(x))
    masks = _learned(images, areas, [False], steps, rate)
    (none, whole), reached = images.ends().unbind(1), images.scores(masks)
    wanted = none + share * (whole - none)
    numbers: dict[str, float] = {}
    curves: dict[str, Tensor] = {"area": reached.new_tensor(list(areas))}
    for i, enough in enumerate((reached >= wanted[:, None]).tolist()):
        sufficient = [area for area, there in zip(areas, enough, strict=True) if there]
        if sufficient:
            numbers[f"smallest area of image {i}"] = sufficient[0]
        curves[f"score of image {i}"] = reached[i]
    return Measurement(numbers, curves)


def _levels(
    x: Tensor, baseline: Tensor | None, blurred: float, levels: int
) -> Float[Tensor, "batch backgrounds levels channels height width"]:
    """What stands at a mask of 0, of 1 and at even steps between: blurs, or b and x alone."""
    x = x.detach()
    if baseline is not None:
        backgrounds = backgrounds_of(x, baseline)
        return torch.stack([backgrounds, x[:, None].expand_as(backgrounds)], 2)
    wide = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(0, 1)
    strongest = blurred * min(x.shape[-2:])
    radii = [strongest * (1 - step / (levels - 1)) for step in range(levels)]
    pyramid = [blur(wide, radius).view(x.shape).to(x) if radius > 0 else x for radius in radii]
    return torch.stack(pyramid, 1)[:, None]


class _Images:
    """The score of images that are hidden in part, and its slope in the masks."""

    def __init__(self, score: Score, x: Tensor, levels: Tensor, batch_size: int) -> None:
        self.score, self.x, self.levels, self.size = score, x, levels, batch_size
        self.evaluations = 0

    def _rows(self, counts: tuple[int, ...]) -> Sequence[Tensor]:
        every = torch.cartesian_prod(*(torch.arange(n, device=self.x.device) for n in counts))
        self.evaluations += len(every)
        return every.view(-1, len(counts)).split(self.size)

    def _mixed(self, seen: Tensor, i: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Each pixel between the two levels next to its mask, and how it changes with the mask."""
        last = self.levels.shape[2] - 1
        place = seen * last
        below = place.floor().clamp(max=last - 1)
        point = torch.zeros(len(i), *self.x.shape[1:], dtype=seen.dtype, device=seen.device)
        change = torch.zeros_like(point)
        for level in range(last + 1):  # one at a time, as all would be so many batches
            image = self.levels[i, k, level].to(seen)
            share = (1 - (place - level).abs()).clamp(min=0)
            point += share[:, None] * image
            change += (
                last * ((below == level - 1).to(seen) - (below == level).to(seen))[:, None] * image
            )
        return point, change

    def slopes(
        self, masks: Float[Tensor, "batch areas height width"], removals: list[bool], mirror: bool
    ) -> Float[Tensor, "batch areas height width"]:
        """How much what is wanted of the scores grows with each pixel of the masks."""
        slope = torch.zeros_like(masks)
        backgrounds = self.levels.shape[1]
        removed = torch.tensor(removals, device=self.x.device)
        for some in self._rows((*masks.shape[:2], len(removals), backgrounds)):
            i, a, v, k = some.unbind(1)
            mask = masks[i, a]
            point, change = self._mixed(torch.where(removed[v, None, None], 1 - mask, mask), i, k)
            point = point.flip(-1) if mirror else point
            _, gradient = value_and_gradient(self.score, point.to(self.x), i)
            gradient = gradient.flip(-1) if mirror else gradient
            # Of what is removed the score is to fall, and the mask is turned round: two signs.
            found = (gradient.to(slope) * change).sum(1) / backgrounds
            slope.index_put_((i, a), found, accumulate=True)
        return slope

    def ends(self) -> Float[Tensor, "batch 2"]:
        """The scores of nothing and of the whole image."""
        wide = torch.promote_types(self.x.dtype, torch.float32)
        shares = torch.arange(2, dtype=wide, device=self.x.device)[None, :, None, None]
        return self.scores(shares.expand(len(self.x), -1, *self.x.shape[-2:]))

    @torch.inference_mode(False)
    @torch.no_grad()
    def scores(
        self, masks: Float[Tensor, "batch areas height width"]
    ) -> Float[Tensor, "batch areas"]:
        """The score of each image under each mask, averaged over backgrounds."""
        found = []
        backgrounds = self.levels.shape[1]
        for some in self._rows((*masks.shape[:2], backgrounds)):
            i, a, k = some.unbind(1)
            point, _ = self._mixed(masks[i, a], i, k)
            found.append(self.score(point.to(self.x), i).double())
        return torch.cat(found).view(*masks.shape[:2], backgrounds).mean(2)


def _learned(
    images: _Images, areas: Sequence[float], removals: list[bool], steps: int, rate: float
) -> Float[Tensor, "batch areas height width"]:
    """The masks of all images and areas."""
    x = images.x
    wide = torch.promote_types(x.dtype, torch.float32)
    height, width = x.shape[-2:]
    step = max(1.0, min(height, width) / _GRID)
    grid = (len(x) * len(areas), ceil(height / step), ceil(width / step))
    pixels = height * width
    wanted = torch.zeros(len(areas), pixels, dtype=wide, device=x.device)
    for row, area in zip(wanted, areas, strict=True):
        row[pixels - max(1, round(area * pixels)) :] = 1
    none, whole = images.ends().unbind(1)
    worth = (whole - none).abs().to(wide)
    scale = torch.where(worth > 0, _WORTH / worth, 1.0)[:, None, None, None]
    with torch.inference_mode(False), torch.enable_grad():
        heights = torch.full(grid, 0.5, dtype=wide, device=x.device, requires_grad=True)
        bumps = _Bumps(heights, (height, width))
        share = grid[1] * grid[2] / _GRID**2  # of few parameters each has a large part in the mean
        optimiser = torch.optim.SGD([heights], lr=rate * share, momentum=0.9, dampening=0.9)
        for t in range(steps):
            masks = bumps(heights).view(len(x), len(areas), height, width)
            slope = scale * images.slopes(masks.detach(), removals, mirror=t % 2 == 1)
            pull = _PULL * (_LAST / _PULL) ** (t / steps) if t >= _FREE * steps else 0.0
            away = (masks.flatten(2).sort(2).values - wanted).square().mean(2).sum()
            (heights.grad,) = torch.autograd.grad(
                [masks, away], heights, [-slope, torch.full_like(away, pull)]
            )
            optimiser.step()
            heights.data.clamp_(0, 1)
    with torch.no_grad():
        return bumps(heights).view(len(x), len(areas), height, width)


class _Bumps:
    r"""Smooth masks: at each pixel the soft maximum of the bumps around it.

    $$
    m(u) = \frac{\sum_p z_p e^{20 z_p}}{\sum_p e^{20 z_p}}, \quad
    z_p = \theta_p \exp\bigl( -2 \max(d(u, p) / \sigma - 1/2, 0)^2 \bigr)
    $$

    It is found at two points per parameter and axis, and enlarged to the image.
    """

    def __init__(self, heights: Tensor, size: tuple[int, int]) -> None:
        self.size = size
        self.radius = 1 + ceil(_REACH)
        fine = (
            2 if all(2 * n <= side for n, side in zip(heights.shape[1:], size, strict=True)) else 1
        )
        self.fine = fine
        offset = torch.arange(-self.radius, self.radius + 1, device=heights.device)
        inside = (torch.arange(fine, device=heights.device) + 0.5) / fine - 0.5
        down = inside[None, :] - offset[:, None]
        distance = (down[:, None, :, None] ** 2 + down[None, :, None, :] ** 2).sqrt()
        weights = (-2 * (distance / _REACH - 0.5).clamp(min=0) ** 2).exp().to(heights)
        self.weights = weights.flatten(0, 1)[None, :, None, :, None, :]

    def __call__(
        self, heights: Float[Tensor, "masks rows columns"]
    ) -> Float[Tensor, "masks height width"]:
        count, rows, columns = heights.shape
        around = functional.unfold(heights[:, None], 2 * self.radius + 1, padding=self.radius).view(
            count, -1, rows, 1, columns, 1
        )
        z = around * self.weights
        smooth = (z * (_COLDNESS * z).softmax(1)).sum(1)
        smooth = smooth.reshape(count, 1, rows * self.fine, columns * self.fine)
        return functional.interpolate(smooth, size=self.size, mode="bilinear")[:, 0].clamp(0, 1)


def _check(
    x: Tensor, areas: Sequence[float], steps: int, rate: float, blurred: float, levels: int
) -> None:
    check_images(x, {"steps": steps})
    if len(areas) == 0 or not all(0 < area < 1 for area in areas):
        raise ValueError(
            f"The areas are {tuple(areas)}. Give at least one share of the image between 0 and 1."
        )
    if not rate > 0:
        raise ValueError(f"A rate of {rate} moves no mask. Give one above 0, such as 0.01.")
    if levels < 2 or not blurred > 0:
        raise ValueError(
            f"{levels} levels of blur up to {blurred} hide nothing. "
            "Give at least 2 levels and a blur above 0."
        )
