"""Blur integrated gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.baselines import blur
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.stream import rows_at_once, wide
from unmask.results import Attribution
from unmask.score import Score


@method("xu2020attribution")
def blur_integrated_gradients(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    steps: int = 100,
    radius: float = 50.0,
    batch_size: int | None = None,
) -> Attribution:
    r"""Add up the gradient on the way from a blurred image to the sharp one.

    $$
    A_i(x) = \int_r^0 \partial_i F\bigl(L(x, \sigma)\bigr)\,
             \frac{\partial L_i(x, \sigma)}{\partial \sigma}\, d\sigma
    $$

    L is the image blurred by a Gaussian of standard deviation sigma. No baseline is asked for, and
    no colour stands for "nothing": what is missing at the start is detail. The values sum to
    F(x) - F(L(x, r)) but for the `gap`, which more steps make smaller.

    Steps are short where the image is sharp, as sigma falls with the square of the way, and the
    gradient between them is taken as the mean of both ends, along the straight line.

    Args:
        score: F, differentiable in its input.
        x: the images.
        steps: of the way.
        radius: r, the largest standard deviation, in pixels.
        batch_size: images in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> x = torch.zeros(1, 1, 3, 3)
    >>> x[0, 0, 1, 1] = 9.0  # a point of light, of which a wide blur leaves nothing
    >>> middle = logit(lambda x: x[:, 0, 1, 1], 0)
    >>> blur_integrated_gradients(middle, x, steps=8).values[0, 0, 1].round(decimals=1)
    tensor([0., 9., 0.])
    """
    admit(score, x, batch_size)
    if x.ndim != 4:
        raise ValueError(
            f"A blur is of images, but x has shape {tuple(x.shape)}. "
            "Give [batch, channels, height, width]."
        )
    if steps < 1:
        raise ValueError(f"{steps} steps lead nowhere. Give at least 1.")
    if not radius > 0:
        raise ValueError(f"A blur needs a positive radius, but got {radius}. Give it in pixels.")
    x = x.detach()
    size = rows_at_once(x, batch_size)
    parts = [
        _sharpened(score, x[some], some, steps, radius, max(1, size // len(some)))
        for some in torch.arange(len(x), device=x.device).split(size)
    ]
    values = torch.cat([part for part, _ in parts]).to(x.dtype)
    left = torch.cat([change for _, change in parts]) - values.double().flatten(1).sum(1)
    return Attribution(values, gap=left, evaluations=(steps + 1) * len(x))


def _sharpened(
    score: Score, x: Tensor, rows: Tensor, steps: int, radius: float, several: int
) -> tuple[Float[Tensor, "batch *input"], Float[Tensor, " batch"]]:
    """Values along the way, several places of it at a time, and the change of the score."""
    image = x.to(wide(x.dtype))
    values = torch.zeros_like(image)
    place = slope = image[None, :0]
    heights = []
    for first in range(0, steps + 1, several):
        last = min(steps + 1, first + several)
        sigmas = [radius * (1 - k / steps) ** 2 for k in range(first, last)]
        blurred = [blur(image.flatten(0, 1), s).view_as(x) if s > 0 else image for s in sigmas]
        points = torch.stack(blurred)
        made_from = rows.repeat(len(sigmas))
        found, gradient = value_and_gradient(score, points.flatten(0, 1).to(x.dtype), made_from)
        gradient = gradient.to(image).unflatten(0, points.shape[:2])
        ends = found.double().unflatten(0, points.shape[:2])
        heights = [heights[0] if heights else ends[0], ends[-1]]
        if first > 0:
            points, gradient = torch.cat([place, points]), torch.cat([slope, gradient])
        values += (points.diff(dim=0) * (gradient[1:] + gradient[:-1]) / 2).sum(0)
        place, slope = points[-1:], gradient[-1:]
    return values, heights[1] - heights[0]
