"""Grad-CAM and its kin: maps of a layer, weighed by gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.activation_maps.layer_maps import (
    AtLayer,
    Reshape,
    at_layer,
    on_picture,
)
from unmask.results import Attribution
from unmask.score import Score


@method("selvaraju2017grad")
def grad_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Ask where a layer holds what raises the score: its maps, weighed by their mean gradient.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \alpha_k A_{ku} \Bigr), \qquad
    \alpha_k = \frac{1}{Z} \sum_u \frac{\partial F}{\partial A_{ku}}
    $$

    over the Z positions u and the channels k of the layer. One run forward, and one backward that
    ends at the layer. Where a global mean and a linear layer follow, the map is that of `cam`
    over Z. Elsewhere the mean over positions is a guess: the network may use a channel in one
    place and not in another, and `hires_cam` keeps that apart. The map is as coarse as the layer;
    what lies between its positions is interpolated. It sums to nothing in particular. The papers
    read a logit; log-odds also see what speaks for other classes. To see what lowers the score,
    keep both signs with `signed`.

    Args:
        score: F, of a model with that layer.
        x: the images.
        layer: whose maps are weighed, as a rule the last convolution with its ReLU.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns], where it is
            not so already; of a transformer it drops the class token.
        signed: whether to keep what lowers the score too; else it becomes zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])
    >>> grad_cam(logit(network, 0), image, layer="0").values[0, 0]
    tensor([[0.2500, 0.5000],
            [0.0000, 0.0000]])
    """
    found = at_layer("grad_cam", score, x, layer, reshape, batch_size)
    return _weighed(found, found.gradient.mean((2, 3)), x, signed, upsample)


@method("chattopadhay2018gradcam")
def grad_cam_plus_plus(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh a layer's maps by gradients that raise the score, small maps no less than large ones.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \alpha_k A_{ku} \Bigr), \qquad
    \alpha_k = \sum_u \frac{\mathrm{ReLU}(g_{ku})}{2 + g_{ku} \sum_{u'} A_{ku'}}, \qquad
    g_{ku} = \frac{\partial F}{\partial A_{ku}}
    $$

    It is meant for several things of one class in an image, of which Grad-CAM shows the larger.
    The published weight $g^2 / (2 g^2 + g^3 \sum A)$ is the same without its division by zero. It
    is derived for the exponential of the score and for A that is not negative; where
    negative A makes the weight's denominator negative the formula means nothing, and is refused.

    Args:
        score: F, of a model with that layer; the papers read a logit.
        x: the images.
        layer: whose maps are weighed, after its ReLU.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns].
        signed: whether to keep negative values of the map too; else they become zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])
    >>> grad_cam_plus_plus(logit(network, 0), image, layer="0").values[0, 0]
    tensor([[0.3636, 0.7273],
            [0.0000, 0.0000]])
    """
    found = at_layer("grad_cam_plus_plus", score, x, layer, reshape, batch_size)
    g = found.gradient
    denominator = 2 + g * found.output.sum((2, 3), keepdim=True)
    broken = (g > 0) & (denominator <= 0)
    if broken.any():
        place, channel = broken.nonzero()[0, :2].tolist()
        raise ValueError(
            f"Grad-CAM++ weighs activations that are not negative, but channel {channel} of layer "
            f"{layer!r} sums to {float(found.output[place, channel].sum()):.4g} on input {place}. "
            "Name a layer after its ReLU, or use grad_cam or layer_cam."
        )
    alpha = torch.where(g > 0, g / denominator, 0)
    return _weighed(found, alpha.sum((2, 3)), x, signed, upsample)


@method("jiang2021layercam")
def layer_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh every position of a layer's maps by its own gradient, where that raises the score.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \mathrm{ReLU}\Bigl( \frac{\partial F}{\partial A_{ku}} \Bigr)
          A_{ku} \Bigr)
    $$

    With a weight for each position it can be asked at early layers as well, where the maps are
    fine and Grad-CAM's one weight per channel no longer says where.

    Args:
        score: F, of a model with that layer; the papers read a logit.
        x: the images.
        layer: whose maps are weighed, after its ReLU.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns].
        signed: whether to keep negative values of the map too; else they become zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = network[2].weight.copy_(torch.tensor([[1.0, -1.0, 2.0, 2.0]]))
    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, -3.0]]]])
    >>> layer_cam(logit(network, 0), image, layer="0").values[0, 0]
    tensor([[1., 0.],
            [6., 0.]])
    """
    found = at_layer("layer_cam", score, x, layer, reshape, batch_size)
    maps = (found.gradient.clamp_min(0) * found.output).sum(1)
    return _finished(maps, x, signed, upsample)


@method("fu2020axiom")
def x_grad_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh a layer's maps by their gradient, averaged where the map itself is large.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \alpha_k A_{ku} \Bigr), \qquad
    \alpha_k = \sum_u \frac{A_{ku}}{\sum_{u'} A_{ku'}} \frac{\partial F}{\partial A_{ku}}
    $$

    The weights are chosen so that the map before its ReLU sums to $\sum_{k,u} A_{ku} \partial F /
    \partial A_{ku}$, which in a network of ReLUs without biases above the layer is F itself. A
    channel that sums to nearly zero would get any weight: below 1e-7 of its absolute sum it gets
    the plain mean gradient, as in Grad-CAM.

    Args:
        score: F, of a model with that layer; the papers read a logit.
        x: the images.
        layer: whose maps are weighed, after its ReLU.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns].
        signed: whether to keep negative values of the map too; else they become zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = network[2].weight.copy_(torch.tensor([[1.0, -1.0, 2.0, 2.0]]))
    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, -3.0]]]])
    >>> x_grad_cam(logit(network, 0), image, layer="0").values.sum()  # 1 - 2 + 6
    tensor(5.)
    """
    found = at_layer("x_grad_cam", score, x, layer, reshape, batch_size)
    total = found.output.sum((2, 3))
    whole = total.abs() > 1e-7 * found.output.abs().sum((2, 3))
    product = (found.gradient * found.output).sum((2, 3))
    alpha = torch.where(whole, product / total, found.gradient.mean((2, 3)))
    return _weighed(found, alpha, x, signed, upsample)


@method("draelos2020use")
def hires_cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    reshape: Reshape | None = None,
    signed: bool = False,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Multiply a layer's maps by their gradients position by position, both signs kept.

    $$
    M_u = \mathrm{ReLU}\Bigl( \sum_k \frac{\partial F}{\partial A_{ku}} A_{ku} \Bigr)
    $$

    Where the score is linear in the layer, as with one linear layer after it, `signed` values of
    the layer's size sum to the score but for its bias: the map shows no place that the network
    did not use, which Grad-CAM's mean over positions can.

    Args:
        score: F, of a model with that layer; the papers read a logit.
        x: the images.
        layer: whose maps are weighed.
        reshape: lays out what the layer puts out as [batch, channels, rows, columns].
        signed: whether to keep what lowers the score too; else it becomes zero.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from torch import nn
    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = network[2].weight.copy_(torch.tensor([[1.0, -1.0, 2.0, 2.0]]))
    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, -3.0]]]])
    >>> hires_cam(logit(network, 0), image, layer="0", signed=True).values[0, 0]
    tensor([[ 1., -2.],
            [ 6.,  0.]])
    """
    found = at_layer("hires_cam", score, x, layer, reshape, batch_size)
    return _finished((found.gradient * found.output).sum(1), x, signed, upsample)


def _weighed(
    found: AtLayer,
    alpha: Float[Tensor, "batch channels"],
    x: Tensor,
    signed: bool,
    upsample: bool,
) -> Attribution:
    return _finished(torch.einsum("bk,bkhw->bhw", alpha, found.output), x, signed, upsample)


def _finished(maps: Tensor, x: Tensor, signed: bool, upsample: bool) -> Attribution:
    maps = maps if signed else maps.clamp_min(0)
    return on_picture(maps, x, upsample=upsample, evaluations=len(x))
