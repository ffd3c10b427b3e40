"""Baselines: the input that stands for "nothing".

A baseline is shaped like one input. With one axis more in front it is a set of backgrounds, and
a game averages over them.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional


def constant(x: Shaped[Tensor, "*input"], value: float = 0.0) -> Shaped[Tensor, "*input"]:
    """The same number everywhere.

    Args:
        x: one input, for shape, dtype and device.
        value: the number.
    """
    return torch.full_like(x, value)


def mean(data: Float[Tensor, "batch *input"]) -> Float[Tensor, "*input"]:
    """The mean of a batch of inputs, position by position."""
    return data.mean(0)


def blur(x: Float[Tensor, "channels height width"], radius: float = 10.0) -> Tensor:
    """The image itself, without its detail.

    Args:
        x: one image.
        radius: standard deviation of the Gaussian, in pixels.
    """
    if radius <= 0:
        raise ValueError(f"A blur needs a positive radius, but got {radius}. Give it in pixels.")
    if not x.is_floating_point():
        raise TypeError(
            f"A blur averages real numbers, but the image holds {x.dtype}. "
            "Give the image as the model takes it, in floating point."
        )
    for axis in (-2, -1):
        x = _blurred(x, radius, axis)
    return x


def background(
    data: Shaped[Tensor, "batch *input"],
    samples: int,
    *,
    generator: torch.Generator | None = None,
) -> Shaped[Tensor, "samples *input"]:
    """Inputs drawn from data without replacement, to be averaged over.

    Args:
        data: inputs to draw from.
        samples: how many.
        generator: source of randomness; without one the first inputs are taken.
    """
    if not 1 <= samples <= len(data):
        raise ValueError(
            f"{samples} backgrounds cannot be drawn from {len(data)} inputs. "
            f"Give a number from 1 to {len(data)}."
        )
    if generator is None:
        return data[:samples]
    chosen = torch.randperm(len(data), generator=generator, device=generator.device)[:samples]
    return data[chosen.to(data.device)]


def token(ids: Int[Tensor, " tokens"], replacement: int) -> Int[Tensor, " tokens"]:
    """The same token everywhere, such as a mask or padding token."""
    return torch.full_like(ids, replacement)


def _blurred(x: Tensor, radius: float, axis: int) -> Tensor:
    """Gaussian along one axis; beyond the border the edge goes on, so that no dark rim appears."""
    reach = max(1, round(3 * radius))
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (offsets / radius) ** 2).exp()
    weights /= weights.sum()
    rows = x.movedim(axis, -1)
    padded = functional.pad(rows.reshape(-1, 1, rows.shape[-1]), (reach, reach), mode="replicate")
    return functional.conv1d(padded, weights[None, None]).view(rows.shape).movedim(-1, axis)
