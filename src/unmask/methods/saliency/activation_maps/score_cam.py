"""Score-CAM."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import refuse_broken
from unmask.masking import cached_rows
from unmask.methods.saliency.activation_maps.layer_maps import (
    Reshape,
    admit_images,
    on_picture,
    run_to_layer,
    stretched,
)
from unmask.results import Attribution
from unmask.score import Score


@method("wang2020score")
def score_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    baseline: Float[Tensor, "*background"] | None = None,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh a layer's maps by the score of what each of them lets through of the image.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \alpha_k A_{ku} \Bigr), \qquad
    \alpha = \mathrm{softmax}_k \bigl( F(x' + H_k \odot (x - x')) \bigr), \qquad
    H_k = \frac{U_k - \min U_k}{\max U_k - \min U_k}
    $$

    where U is A stretched over the image. No gradient is read, at the price of one run per
    channel. What the paper takes off before the softmax, F(x'), changes nothing. A
    channel that is the same everywhere says nothing of place: it is not run and gets no weight.
    The softmax makes the scale of F matter: of log-odds or logits that differ by much, one
    channel takes nearly all the weight. Weights are never negative, so that only a layer
    before its ReLU has anything for `signed` to keep.

    Args:
        score: F, of a model with that layer.
        x: the images.
        layer: whose maps are weighed, as a rule the last convolution with its ReLU.
        baseline: x', what stands where a map lets nothing through; zeros if not given, as in the
            paper. For images that a network standardises itself, zero is black, not grey.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns].
        signed: whether to keep negative values of the map too; else they become zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model; by default by their size.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])
    >>> score_cam(logit(network, 0), image, layer="0").values[0, 0]  # a single channel
    tensor([[1., 2.],
            [0., 0.]])
    """
    admit_images(score, x, batch_size)
    baseline = torch.zeros_like(x[0]) if baseline is None else baseline
    start = admission.one_baseline_for(x[0], baseline)
    size = batch_size or cached_rows(x[0])
    maps, evaluations = [], len(x)
    for rows in torch.arange(len(x), device=x.device).split(size):
        _, activation = run_to_layer("score_cam", score, x[rows], layer, reshape)
        values, runs = _shown(score, x[rows], activation, start, rows, size)
        # Where all channels are constant all values are minus infinity, and there is no weight.
        alpha = torch.where(values.isfinite().any(1, keepdim=True), values.softmax(1), 0)
        maps.append(torch.einsum("bk,bkhw->bhw", alpha, activation))
        evaluations += runs
    together = torch.cat(maps)
    together = together if signed else together.clamp_min(0)
    return on_picture(together, x, upsample=upsample, evaluations=evaluations)


@torch.no_grad()
def _shown(
    score: Score,
    x: Float[Tensor, "batch colours height width"],
    activation: Float[Tensor, "batch channels rows columns"],
    start: Float[Tensor, "colours height width"],
    rows: Tensor,
    size: int,
) -> tuple[Float[Tensor, "batch channels"], int]:
    """The score of each image seen through each channel; minus infinity if that is constant."""
    values = activation.new_full(activation.shape[:2], -torch.inf)
    flat = activation.flatten(2)
    image, channel = (flat.amin(2) < flat.amax(2)).nonzero().unbind(1)
    for some in torch.arange(len(image), device=x.device).split(size) if len(image) else ():
        i, k = image[some], channel[some]
        let = stretched(activation[i, k, None], x)
        low, high = let.amin((2, 3), keepdim=True), let.amax((2, 3), keepdim=True)
        let = torch.where(high > low, (let - low) / (high - low), 0).to(x)
        found = score(start + let * (x[i] - start), rows[i]).to(values)
        refuse_broken(score, found)
        values[i, k] = found
    return values, len(image)
