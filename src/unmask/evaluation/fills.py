"""Fills: what stands where parts of an input are removed, made from the rest of that input."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.baselines import blur
from unmask.evaluation.trial import Fill

_LOOK = 8
"""Steps of the solver from one look at what is left to the next: a look waits for a GPU."""
_MOST = 2_000
"""Steps after which the solver stops, far beyond what images of any size need."""


def blurred(x: Float[Tensor, "batch channels height width"], radius: float = 5.0) -> Fill:
    """Each input without its detail: what insertion begins with.

    Args:
        x: the images that are tried.
        radius: standard deviation of the Gaussian, in pixels.
    """
    _refuse_other(x)
    soft = blur(x.detach().flatten(0, 1), radius).view_as(x)
    return lambda rows, visible: torch.where(visible, x.detach()[rows], soft[rows])


def linear_imputation(
    x: Float[Tensor, "batch channels height width"],
    noise: float = 0.01,
    *,
    generator: torch.Generator | None = None,
) -> Fill:
    r"""Pixels drawn from those around them, so that no hole shows: noisy linear imputation.

    $$
    u_i = \frac{\sum_{j \sim i} w_{ij} u_j}{\sum_{j \sim i} w_{ij}} + \epsilon_i, \qquad
    \epsilon_i \sim N(0, \sigma^2)
    $$

    j are the eight pixels around i, as far as they lie within the image: w is 1/6 beside it and
    1/12 across the corner. Where they are removed too, they are unknowns of the same equations,
    which are solved for all of them, and the noise is added to what comes out [rong2022consistent].
    It is drawn once, a number for every position, and all inputs and masks share it, so that
    nothing depends on the order in which they are filled.

    The equations are those of a graph's Laplacian, symmetric and positive: conjugate gradients
    solve them for many images at once, to six digits (to ten in float64). Where no pixel of a
    channel is left there is nothing to fill it from, and that is refused.

    Args:
        x: the images that are tried.
        noise: sigma, in the units of x.
        generator: source of the noise.
    """
    _refuse_other(x)
    if noise < 0:
        raise ValueError(f"Noise has a size, but it is {noise}. Give 0 or more.")
    generator = admission.drawing(generator)
    kind = torch.promote_types(x.dtype, torch.float32)
    drawn = torch.randn(x.shape[1:], generator=generator, device=generator.device, dtype=kind)
    added = noise * drawn.to(x.device)

    def fill(rows: Tensor, visible: Tensor) -> Tensor:
        chosen = x.detach()[rows]
        maps, seen = chosen.to(kind).flatten(0, 1), visible.flatten(0, 1)
        smooth = _harmonic(maps, seen).view_as(chosen)
        return torch.where(visible, chosen, (smooth + added).to(x.dtype))

    return fill


def _refuse_other(x: Tensor) -> None:
    admission.finite("The input", x)
    admission.filled(x)
    if x.ndim != 4:
        raise ValueError(
            f"Pixels are filled in images, but x has shape {tuple(x.shape)}. "
            "Give it as [batch, channels, height, width]."
        )


def _harmonic(
    maps: Float[Tensor, "maps height width"], visible: Bool[Tensor, "maps height width"]
) -> Float[Tensor, "maps height width"]:
    """Every map with its hidden pixels at the weighted mean of those around them."""
    count, height, width = maps.shape
    seen = visible.flatten(1).sum(1)
    if (seen == 0).any():
        raise ValueError(
            "Pixels are imputed from those that are left, but of an image all are removed. "
            "Leave one at least, such as shares below 1."
        )
    # About zero, so that the solver starts from the mean of what is seen and keeps its digits; to
    # the scale of one, so that its squares are numbers.
    middle = ((maps * visible).flatten(1).sum(1) / seen)[:, None, None]
    shown = (maps - middle) * visible
    scale = shown.abs().amax((1, 2), keepdim=True)
    shown = shown / torch.where(scale > 0, scale, 1)
    # A rim of zeros: then a neighbour is a shift of the flat map, and none is beyond it.
    rim = (1, 1, 1, 1)
    known = functional.pad(shown, rim).flatten(1)
    hidden = functional.pad((~visible).to(maps), rim).flatten(1)
    inside = functional.pad(torch.ones_like(maps[:1]), rim).flatten(1)
    apart = width + 2
    weight = _nine(inside, apart)
    target = _nine(known, apart) * hidden
    solved = _conjugate_gradients(hidden, weight, target, apart)
    return scale * (known + solved).view(count, height + 2, apart)[:, 1:-1, 1:-1] + middle


def _nine(flat: Float[Tensor, "maps places"], apart: int) -> Float[Tensor, "maps places"]:
    """Twelve times the weighted sum of the eight neighbours, and four times the middle.

    That is 1, 2, 1 down times the same across.
    """
    across = 2 * flat
    across[:, 1:] += flat[:, :-1]
    across[:, :-1] += flat[:, 1:]
    both = 2 * across
    both[:, apart:] += across[:, :-apart]
    both[:, :-apart] += across[:, apart:]
    return both


def _conjugate_gradients(
    hidden: Float[Tensor, "maps places"],
    weight: Float[Tensor, "one places"],
    target: Float[Tensor, "maps places"],
    apart: int,
) -> Float[Tensor, "maps places"]:
    """u on the hidden places, with (weight * u - nine of u) = target there.

    weight is the nine of ones, so that the middle, which is no neighbour, falls out of both. A map
    that is solved stands still, so that its company in the batch changes nothing for it; when half
    of them are solved, the others go on alone.
    """
    wanted = (1e-12 if target.dtype == torch.float32 else 1e-20) * _product(target, target)
    result = torch.zeros_like(target)
    who = torch.arange(len(target), device=target.device)
    u, residual, direction = torch.zeros_like(target), target.clone(), target.clone()
    size = _product(residual, residual)
    for step in range(_MOST):
        going = size > wanted
        if step % _LOOK == 0:
            left = int(going.sum())
            if left == 0:
                break
            if 2 * left <= len(who):
                result[who] = u
                who, hidden, u, residual = who[going], hidden[going], u[going], residual[going]
                direction, size, wanted = direction[going], size[going], wanted[going]
                going = going[going]
        image = (weight * direction).sub_(_nine(direction, apart)).mul_(hidden)
        pace = torch.where(going, size / _product(direction, image), 0)[:, None]
        u.addcmul_(pace, direction)
        residual.addcmul_(pace, image, value=-1)
        after = _product(residual, residual)
        turn = torch.where(going, after / size, 0)[:, None]
        direction.mul_(turn).add_(residual)
        size = after
    result[who] = u
    return result


def _product(
    one: Float[Tensor, "maps places"], other: Float[Tensor, "maps places"]
) -> Float[Tensor, " maps"]:
    return torch.linalg.vecdot(one, other)
