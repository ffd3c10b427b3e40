"""What a layer puts out, the gradient there, and the way from its positions to the picture."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from unmask.internals import admit, edit, frozen, module_of, plain
from unmask.results import Attribution
from unmask.score import Score

Reshape = Callable[[Tensor], Tensor]
"""Lays out what a layer puts out as [batch, channels, rows, columns]."""


@dataclass(frozen=True)
class AtLayer:
    """A layer on a batch of inputs, in float32 at least.

    Args:
        output: A, what the layer puts out.
        gradient: of the score by A.
    """

    output: Float[Tensor, "batch channels rows columns"]
    gradient: Float[Tensor, "batch channels rows columns"]


def at_layer(
    method: str,
    score: Score,
    x: Float[Tensor, "batch colours height width"],
    layer: str,
    reshape: Reshape | None,
    batch_size: int | None,
) -> AtLayer:
    """Run the model once, and back as far as the layer; below it there is no graph.

    Of a layer that is called several times in one run, the last call counts.
    """
    admit_images(score, x, batch_size)
    rows = torch.arange(len(x), device=x.device)
    parts = [
        [laid_out(layer, part, len(some), reshape) for part in _once(method, score, x, some, layer)]
        for some in rows.split(batch_size or len(x))
    ]
    output, gradient = (torch.cat(part) for part in zip(*parts, strict=True))
    return AtLayer(output, gradient)


def _once(
    method: str, score: Score, x: Tensor, rows: Int[Tensor, " some"], layer: str
) -> tuple[Tensor, Tensor]:
    """What the layer puts out on some inputs, and the gradient there."""
    model, kept = module_of(score, method), []

    def leaf(output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_(output.is_floating_point()))
        return kept[-1].clone()  # what comes next may work in place, but not on a leaf

    with torch.inference_mode(False), torch.enable_grad(), frozen(model):
        with edit(model, {layer: leaf}):
            values = score(plain(x)[rows], rows)  # a copy, as the model may begin in place
        gradient = None
        if kept and values.requires_grad:
            (gradient,) = torch.autograd.grad(values.sum(), kept[-1], allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"The {score.name} does not depend on layer {layer!r} by any differentiable path"
            f"{'' if kept else ': the layer is never called'}. Name a layer that the model passes "
            "through on its way to this score."
        )
    if not gradient.isfinite().all():
        raise ValueError(
            f"The gradient of the {score.name} by layer {layer!r} is not finite. Look at what the "
            "model computes there: a root or a logarithm of zero, or a number too large."
        )
    return kept[-1].detach(), gradient


def run_to_layer(
    method: str,
    score: Score,
    x: Float[Tensor, "batch colours height width"],
    layer: str,
    reshape: Reshape | None = None,
    *,
    reshapes: bool = True,
) -> tuple[Tensor, Float[Tensor, "batch channels rows columns"]]:
    """Run the model once without gradients: what it puts out, and what the layer does.

    Args:
        method: who asks.
        score: of the model.
        x: the images.
        layer: a dotted name.
        reshape: lays out what the layer puts out.
        reshapes: whether the method takes a reshape at all, and may advise to give one.
    """
    model, kept = module_of(score, method), []

    def keep(output: Tensor) -> Tensor:
        kept.append(output.clone())  # what comes next may work in place
        return output

    with torch.no_grad(), edit(model, {layer: keep}):
        output = score.output(x.clone())  # the model may begin in place
    if not kept:
        raise ValueError(
            f"Layer {layer!r} is never called on these inputs. Name a layer that the model passes "
            "through on its way to its output."
        )
    return output, laid_out(layer, kept[-1], len(x), reshape, reshapes)


def on_picture(
    maps: Float[Tensor, "batch rows columns"],
    x: Float[Tensor, "batch colours height width"],
    *,
    upsample: bool,
    evaluations: int,
) -> Attribution:
    """Maps as attributions with a single channel, stretched over the picture if that is wanted."""
    values = maps[:, None]
    if upsample:
        values = stretched(values, x)
    return Attribution(values.to(x.dtype), evaluations=evaluations)


def stretched(
    maps: Float[Tensor, "some channels rows columns"],
    x: Float[Tensor, "batch colours height width"],
) -> Float[Tensor, "some channels height width"]:
    """Maps at the size of the inputs, by bilinear interpolation."""
    return functional.interpolate(maps, size=x.shape[-2:], mode="bilinear", align_corners=False)


def admit_images(score: Score, x: Tensor, batch_size: int | None = None) -> None:
    """Refuse what no method of this family can explain."""
    admit(score, x, batch_size)
    if x.ndim != 4:
        raise ValueError(
            f"An activation map is laid over an image, but x has shape {tuple(x.shape)}. Give x as "
            "[batch, channels, height, width]."
        )


def laid_out(
    layer: str, output: Tensor, batch: int, reshape: Reshape | None, reshapes: bool = True
) -> Float[Tensor, "batch channels rows columns"]:
    """What a layer puts out as maps of its channels, in float32 at least."""
    maps = output if reshape is None else reshape(output)
    if maps.ndim != 4 or len(maps) != batch:
        made = "" if reshape is None else f", which reshape made {tuple(maps.shape)}"
        advice = (
            ", or give reshape=, a function that drops a class token and lays out the rest, such "
            "as lambda A: A[:, 1:].unflatten(1, (14, 14)).movedim(-1, 1)"
        )
        raise ValueError(
            f"Layer {layer!r} puts out shape {tuple(output.shape)}{made}; a map needs [batch, "
            f"channels, rows, columns]. Name a convolutional layer{advice if reshapes else ''}."
        )
    return maps.to(torch.promote_types(maps.dtype, torch.float32))
