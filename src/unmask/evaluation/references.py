"""What a method must beat: attributions that no method made and that know nothing of the model."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.results import Attribution

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def reference_attributions(
    x: Shaped[Tensor, "batch *input"],
    baseline: Shaped[Tensor, "*background"],
    *,
    generator: torch.Generator | None = None,
) -> dict[str, Attribution]:
    r"""Attributions that know nothing of the model, to set beside those of a method.

    $$
    a_i \sim U(-1, 1), \qquad a_i = |x_i - b_i|, \qquad
    a_i = \sqrt{(S x)_i^2 + (S^\top x)_i^2}
    $$

    They are `random`, `difference`, and of images `edges`, with Sobel's S. Whatever rates a
    method no better than these has not shown that it explains the model: on many images edges
    alone go a long way.

    >>> sorted(reference_attributions(torch.ones(1, 2, 4, 4), torch.zeros(2, 4, 4)))
    ['difference', 'edges', 'random']

    Args:
        x: the inputs.
        baseline: b; of a set of backgrounds, the mean difference is taken. Of token ids, the
            difference is whether they differ.
        generator: source of the random values.
    """
    admission.finite("The input", x)
    admission.filled(x)
    generator = admission.drawing(generator)
    backgrounds = admission.backgrounds_for(x[0], baseline)
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    drawn = torch.rand(x.shape, generator=generator, device=generator.device).to(wide)
    away = torch.zeros_like(wide)
    for background in backgrounds:
        step = (wide - background.to(wide)).abs() if x.is_floating_point() else x != background
        away += step.to(wide) / len(backgrounds)
    found = {"random": 2 * drawn - 1, "difference": away}
    if x.ndim == 4:
        found["edges"] = _edges(wide)
    dtype = x.dtype if x.is_floating_point() else wide.dtype
    return {name: Attribution(values.to(dtype)) for name, values in found.items()}


def _edges(x: Float[Tensor, "batch channels height width"]) -> Tensor:
    """The size of Sobel's gradient in each channel; the border is continued beyond itself."""
    height, width = x.shape[2:]
    padded = functional.pad(x.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="replicate")
    kernels = torch.stack([_SOBEL, _SOBEL.T])[:, None].to(x)
    return functional.conv2d(padded, kernels).norm(dim=1).view(x.shape)
