"""Ablation-CAM."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.internals import module_of, refuse_broken
from unmask.masking import cached_rows
from unmask.methods.saliency.activation_maps.layer_maps import (
    Reshape,
    admit_images,
    laid_out,
    on_picture,
)
from unmask.methods.saliency.activation_maps.rest_of_model import RestOfModel, rest_of_model
from unmask.results import Attribution
from unmask.score import Score


@method("desai2020ablation")
def ablation_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh a layer's maps by how far the score falls when each is set to zero.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \alpha_k A_{ku} \Bigr), \qquad
    \alpha_k = F(A) - F(A \text{ without channel } k)
    $$

    No gradient is read, so a saturated score or a flat ReLU hides nothing. The paper divides the
    weights by F(A), which changes the map by a factor only, but turns it over where F is
    negative, as log-odds can be; that is left out. Only what follows the layer is run again, once
    per channel that is not zero everywhere, where the model allows it (`rest_of_model`).

    Args:
        score: F, of a model with that layer.
        x: the images.
        layer: whose maps are weighed, as a rule the last convolution with its ReLU.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns], by moving
            numbers only.
        signed: whether to keep what lowers the score too; else it becomes zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images or changed layers in one call of the model; by default by their size.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])
    >>> ablation_cam(logit(network, 0), image, layer="0").values[0, 0]  # the score is 0.75
    tensor([[0.7500, 1.5000],
            [0.0000, 0.0000]])
    """
    admit_images(score, x, batch_size)
    module_of(score, "ablation_cam")
    maps, evaluations = [], 0
    for rows in torch.arange(len(x), device=x.device).split(batch_size or cached_rows(x[0])):
        rest = rest_of_model(score, x[rows], layer, rows)
        activation = laid_out(layer, rest.output, len(rows), reshape)
        size = batch_size or cached_rows(rest.output[0])
        alpha, runs = _falls(rest, activation, reshape, size)
        maps.append(torch.einsum("bk,bkhw->bhw", alpha, activation))
        evaluations += rest.evaluations + runs
    together = torch.cat(maps)
    together = together if signed else together.clamp_min(0)
    return on_picture(together, x, upsample=upsample, evaluations=evaluations)


@torch.no_grad()
def _falls(
    rest: RestOfModel,
    activation: Float[Tensor, "batch channels rows columns"],
    reshape: Reshape | None,
    size: int,
) -> tuple[Float[Tensor, "batch channels"], int]:
    """How far the score falls without each channel; a channel that is zero already: not at all."""
    alpha = torch.zeros_like(activation[:, :, 0, 0])
    image, channel = (activation != 0).flatten(2).any(2).nonzero().unbind(1)
    where = _channel_of(rest.output, activation, reshape)
    for some in torch.arange(len(image), device=image.device).split(size) if len(image) else ():
        i, k = image[some], channel[some]
        gone = where.expand(len(k), *where.shape[1:]) == k.view(-1, *[1] * (where.ndim - 1))
        values = rest(rest.output[i].masked_fill(gone, 0), i)
        refuse_broken(rest.score, values)
        alpha[i, k] = (rest.values[i] - values).to(alpha)
    return alpha, len(image)


def _channel_of(output: Tensor, activation: Tensor, reshape: Reshape | None) -> Tensor:
    """Which channel each number of a layer's output belongs to; -1 where reshape drops it.

    Read off the gradient of the rearrangement, weighed by the number of the channel.
    """
    channels = activation.shape[1]
    if reshape is None:
        return torch.arange(channels, device=output.device).view(1, -1, 1, 1)
    with torch.inference_mode(False), torch.enable_grad():
        probe = output[:1].detach().clone().double().requires_grad_()
        laid = reshape(probe)
        number = torch.arange(1, channels + 1, device=laid.device).to(laid).view(1, -1, 1, 1)
        (found,) = torch.autograd.grad((laid * number).sum(), probe)
    return found.round().long() - 1
