"""How alike two explanations of the same input are. Where one says the same of everything: NaN."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unmask.evaluation.association import constant, spearman

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Two explanations of each input -> one number per input, 1 for those that are the same."""


def rank_similarity(
    one: Float[Tensor, "inputs ..."], other: Float[Tensor, "inputs ..."]
) -> Float[Tensor, " inputs"]:
    """Whether they put the parts into the same order: Spearman's correlation.

    >>> rank_similarity(torch.tensor([[4.0, 3, 2, 1]]), torch.tensor([[1.0, 2, 3, 4]]))
    tensor([-1.], dtype=torch.float64)

    Args:
        one: an explanation of each input.
        other: another.
    """
    return spearman(one.flatten(1), other.flatten(1))


def absolute_rank_similarity(
    one: Float[Tensor, "inputs ..."], other: Float[Tensor, "inputs ..."]
) -> Float[Tensor, " inputs"]:
    """The same of sizes, whatever the signs.

    Args:
        one: an explanation of each input.
        other: another.
    """
    return rank_similarity(one.abs(), other.abs())


def structural_similarity(
    one: Float[Tensor, "inputs ..."],
    other: Float[Tensor, "inputs ..."],
    *,
    window: int = 7,
) -> Float[Tensor, " inputs"]:
    r"""Whether they look alike: SSIM [wang2004image] in square windows.

    $$
    \frac{(2 \mu_a \mu_b + c_1)(2 \sigma_{ab} + c_2)}
         {(\mu_a^2 + \mu_b^2 + c_1)(\sigma_a^2 + \sigma_b^2 + c_2)}, \qquad
    c_1 = 0.01^2, \; c_2 = 0.03^2
    $$

    The mean over all windows that lie within the image. What is compared are sizes, summed over
    the channels and stretched to reach from 0 to 1. The papers do not agree on the window.

    Args:
        one: an explanation of each image.
        other: another.
        window: its side.
    """
    flat = torch.full((1, 1, window, window), 1 / window**2, dtype=torch.float64)
    return _ssim(one, other, flat)


def gaussian_structural_similarity(
    one: Float[Tensor, "inputs ..."], other: Float[Tensor, "inputs ..."]
) -> Float[Tensor, " inputs"]:
    """The same in windows of 11 that fade out like a bell with a standard deviation of 1.5.

    Args:
        one: an explanation of each image.
        other: another.
    """
    bell = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    bell /= bell.sum()
    return _ssim(one, other, torch.outer(bell, bell)[None, None])


def _ssim(one: Tensor, other: Tensor, window: Tensor) -> Tensor:
    window = window.to(one.device)
    undefined = constant(_sizes(one).flatten(1)) | constant(_sizes(other).flatten(1))
    a, b = (_stretched(_sizes(maps), window.shape[-1]) for maps in (one, other))

    def mean(planes: Tensor) -> Tensor:
        return functional.conv2d(planes, window)

    seen = window.numel()
    fair = seen / (seen - 1)  # of a sample, as is usual, though the windows may be weighted
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = fair * (mean(a * a) - mean_a**2), fair * (mean(b * b) - mean_b**2)
    cov = fair * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    found = found / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return torch.where(undefined, torch.nan, found.mean((1, 2, 3)))


def _sizes(maps: Tensor) -> Float[Tensor, "inputs 1 height width"]:
    if maps.ndim != 4:
        raise ValueError(
            f"Looks are compared of images, but an explanation has shape {tuple(maps.shape[1:])}. "
            "Give explanations of shape [channels, height, width], or compare ranks."
        )
    return maps.double().abs().sum(1, keepdim=True)


def _stretched(planes: Tensor, window: int) -> Tensor:
    if min(planes.shape[-2:]) < window:
        raise ValueError(
            f"A window of {window} does not fit into an image of {tuple(planes.shape[-2:])}. "
            "Give larger images, a smaller window, or compare ranks."
        )
    low, high = planes.amin((1, 2, 3), keepdim=True), planes.amax((1, 2, 3), keepdim=True)
    return (planes - low) / torch.where(high > low, high - low, 1)
