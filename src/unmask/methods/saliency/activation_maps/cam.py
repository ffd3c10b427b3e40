"""Class activation maps, and the box around what they show."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import ndimage
from torch import Tensor, nn

from unmask.card import method
from unmask.internals import layer as layer_of
from unmask.internals import module_of
from unmask.methods.saliency.activation_maps.layer_maps import (
    admit_images,
    on_picture,
    run_to_layer,
)
from unmask.results import Attribution
from unmask.score import Score


@method("zhou2016learning")
def cam(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    layer: str,
    classifier: str | None = None,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Attribution:
    r"""Read off which places a class was seen in, where the network ends in a mean and a matrix.

    $$
    M_u = \sum_k w_k A_{ku}, \qquad w_k = \sum_c \frac{\partial F}{\partial z_c} W_{ck}, \qquad
    z = W \bar A + b
    $$

    with the mean of A over positions u. Of a logit $w$ is the class's row of W, and the mean of M
    is the logit less its bias: the map is what the network computed, not a guess about it. Of
    another score, such as log-odds, the maps of all classes are weighed by how the score changes
    with each logit. One run forward and no gradient of the network. Both signs are kept.

    Networks that end otherwise are refused: W times the mean of A, plus b, must be the output, for
    every class. Where the layer is summed instead, M is scaled so that its mean is that sum. A
    layer with a channel for each class, which is averaged without a matrix, is its own map.

    Args:
        score: F, of a model that ends in a global mean and at most one linear layer.
        x: the images.
        layer: what the mean is taken of: the last one that has positions.
        classifier: the linear layer or 1 x 1 convolution after it, by its dotted name; needed only
            where several fit.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        batch_size: images in one call of the model, all of them if not given.

    >>> from unmask.score import logit
    >>> network = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    >>> with torch.no_grad():
    ...     _ = network[3].weight.copy_(torch.tensor([[2.0], [-1.0]]))
    >>> image = torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])
    >>> cam(logit(network, 1), image, layer="0").values[0, 0]
    tensor([[-1., -2.],
            [-0., -0.]])
    """
    admit_images(score, x, batch_size)
    parts = [
        run_to_layer("cam", score, some, layer, reshapes=False)
        for some in x.split(batch_size or len(x))
    ]
    output, activation = (torch.cat(part) for part in zip(*parts, strict=True))
    model = module_of(score, "cam")
    logits = output.reshape(len(x), -1).to(activation)
    weight, bias = _matrix(model, activation.shape[1], logits.shape[1], layer, classifier)
    weight, bias = weight.to(activation), bias.to(activation)
    exact = torch.finfo(output.dtype).eps
    scale = _scale(activation, logits, weight, bias, layer, max(1e-4, 8 * exact))

    with torch.inference_mode(False), torch.enable_grad():
        z = output.clone().requires_grad_()
        rows = torch.arange(len(x), device=x.device)
        (slope,) = torch.autograd.grad(score.of(z, rows).sum(), z)
    w = slope.reshape(len(x), -1).to(activation) @ weight
    maps = scale * torch.einsum("bk,bkhw->bhw", w, activation)
    return on_picture(maps, x, upsample=upsample, evaluations=len(x))


def cam_box(
    values: Float[Tensor, "batch 1 height width"], *, share: float = 0.2
) -> Int[Tensor, "batch 4"]:
    """Draw the tightest box around the largest connected part of each map that stands out.

    Connected are positions that touch at a side or a corner. A box is top, left, bottom and
    right, the last two excluded: the part lies in values[i, 0, top:bottom, left:right]. Where a
    map is nowhere above zero the box is empty, four zeros. The method of [zhou2016learning].

    Args:
        values: maps, as the methods of this family make them.
        share: of the map's largest value, above which a position stands out.

    >>> image = torch.zeros(1, 1, 4, 6)
    >>> image[0, 0, 1:3, 2:5], image[0, 0, 3, 0] = 1.0, 1.0
    >>> cam_box(image)
    tensor([[1, 2, 3, 5]])
    """
    if not 0 <= share < 1:
        raise ValueError(
            f"No position stands out above {share} of the largest value. Give a share from 0 to "
            "less than 1, such as 0.2."
        )
    boxes = values.new_zeros(len(values), 4, dtype=torch.long)
    maps = values[:, 0].detach()
    out = (maps > share * maps.amax((1, 2), keepdim=True).clamp_min(0)).cpu().numpy()
    for i, picture in enumerate(out):
        parts = np.empty(picture.shape, np.int32)
        if ndimage.label(picture, np.ones((3, 3)), output=parts):
            largest = int(np.bincount(parts.ravel())[1:].argmax())
            down, across = ndimage.find_objects(parts)[largest]
            boxes[i] = torch.tensor([down.start, across.start, down.stop, across.stop])
    return boxes


def _matrix(
    model: nn.Module, channels: int, classes: int, layer: str, classifier: str | None
) -> tuple[Tensor, Tensor]:
    """The weight and bias between the mean of the layer and the output."""
    if classifier is None:
        fitting = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module.weight.shape == (classes, channels)
        ]
        if len(fitting) > 1:
            raise ValueError(
                f"{len(fitting)} linear layers lead from {channels} channels to {classes} outputs: "
                f"{', '.join(map(repr, fitting))}. Name the one after layer {layer!r} as "
                "classifier=."
            )
        if not fitting and channels == classes:
            one = torch.eye(channels)
            return one, one.new_zeros(channels)
        if not fitting:
            raise ValueError(
                f"No linear layer leads from the {channels} channels of layer {layer!r} to the "
                f"{classes} outputs. Name the layer just before the global mean; for a network "
                "that does not end in a mean and one linear layer use grad_cam."
            )
        classifier = fitting[0]
    found = layer_of(model, classifier)
    weight = getattr(found, "weight", None)
    if not isinstance(found, nn.Linear | nn.Conv2d) or not isinstance(weight, Tensor):
        raise TypeError(
            f"The classifier {classifier!r} is a {type(found).__name__}. Name a linear layer, or a "
            "convolution of 1 x 1."
        )
    if weight.numel() != channels * classes or weight.shape[:2] != (classes, channels):
        raise ValueError(
            f"The classifier {classifier!r} has weights of shape {tuple(weight.shape)}, but leads "
            f"from {channels} channels to {classes} outputs. Name the layer after {layer!r}, or "
            "use grad_cam."
        )
    bias = found.bias
    weight = weight.detach().reshape(classes, channels)
    return weight, weight.new_zeros(classes) if bias is None else bias.detach()


def _scale(
    activation: Tensor, logits: Tensor, weight: Tensor, bias: Tensor, layer: str, room: float
) -> float:
    """1 where the network takes the mean of the layer, the number of positions where it sums."""
    mean = activation.mean((2, 3))
    positions = float(activation[0, 0].numel())
    for scale in (1.0, positions):
        size = scale * activation.abs().mean((2, 3)) @ weight.abs().T + bias.abs()
        if ((scale * mean @ weight.T + bias - logits).abs() <= room * size).all():
            return scale
    gap = float((mean @ weight.T + bias - logits).abs().max())
    raise ValueError(
        f"The outputs are not the mean of layer {layer!r} times one matrix: they are off by up to "
        f"{gap:.3g}. Name the layer just before the global mean; for a network that ends otherwise "
        "use grad_cam."
    )
