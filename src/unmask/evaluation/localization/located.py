"""An explanation beside the region where the evidence is known to lie, position by position."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmask import admission
from unmask.results import Attribution


def located(
    attribution: Attribution, region: Shaped[Tensor, "batch *input"]
) -> tuple[Float[Tensor, "inputs *positions"], Bool[Tensor, "inputs *positions"]]:
    """What is said of each position, and whether it lies inside, both of the region's shape.

    A region of a single channel, or of none, is that of an image: the channels of the explanation
    are added up first.

    Args:
        attribution: of the inputs.
        region: True inside.
    """
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"A metric rates an Attribution, but got a {type(attribution).__name__}. "
            "Wrap the values: Attribution(values)."
        )
    admission.tensor("The region", region)
    if region.dtype != torch.bool:
        raise TypeError(
            f"A region is True where the evidence lies, but it holds {region.dtype}. "
            "Compare it with something, such as labels == 3."
        )
    values = attribution.values.detach()
    admission.finite("The attribution", values)
    admission.filled(values)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    inside = region.to(values.device)
    if values.ndim == 4 and region.shape == (len(values), *values.shape[2:]):
        inside = inside[:, None]
    if values.ndim == inside.ndim == 4 and inside.shape[1] == 1:
        values = values.sum(1, keepdim=True)
    if values.shape != inside.shape or values.ndim < 2:
        raise ValueError(
            f"The region has shape {tuple(region.shape)}, but the attribution "
            f"{tuple(attribution.values.shape)}. Give True or False for each position of each "
            "input; of an image, for each pixel."
        )
    return values, inside


def undefined_where(
    inside: Bool[Tensor, "inputs *positions"], values: Shaped[Tensor, " inputs"]
) -> Float[Tensor, " inputs"]:
    """The ratings, NaN where the region is empty: nothing can point at what is not there.

    Args:
        inside: the region.
        values: of each input.
    """
    return torch.where(inside.flatten(1).any(1), values, torch.nan)
