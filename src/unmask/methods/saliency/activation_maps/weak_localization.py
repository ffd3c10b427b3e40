"""Localisation from image labels alone."""

import copy
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.internals import edit, plain
from unmask.masking import cached_rows
from unmask.methods.saliency.activation_maps.layer_maps import stretched
from unmask.methods.saliency.descent import descend, seeded
from unmask.results import Surrogate

Labels = (
    Int[Tensor, " batch"]
    | Int[Tensor, "batch classes"]
    | Float[Tensor, "batch classes"]
    | Bool[Tensor, "batch classes"]
)
"""The class of each image; or, for each image and class, 1 where it is in there and -1 or 0 not."""

SCALES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""The paper's, at which its test images are looked at."""


@method("oquab2015object")
def weak_localization(
    model: nn.Module,
    data: Float[Tensor, "batch channels height width"],
    *,
    labels: Labels,
    layer: str,
    steps: int = 300,
    sharpness: float = math.inf,
    tune: bool = False,
    rescale: tuple[float, float] = (1.0, 1.0),
    minibatch: int | None = 32,
    rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> Surrogate:
    r"""Learn where things are from labels that only say what is in an image.

    $$
    L = \frac1N \sum_n \sum_c \log \bigl( 1 + e^{-y_{nc} s_{nc}} \bigr), \qquad
    s_{nc} = \max_u M_{ncu}, \qquad M_{ncu} = \sum_k w_{ck} A_{nku} + b_c
    $$

    A copy of the model is cut behind a layer, and a map per class is put on it. Only the largest
    place of a map is scored, and so to raise the score of an image the network must find the thing.
    (The mean, `sharpness` 0, makes the maps those of `cam`, which spread over context.) Found is
    the most telling part, seldom the whole thing, and of several things one.

    The `model` of the result is a `WeakLocaliser`: called on images it gives their scores,
    `maps` gives M, `pictures` the maps at the images' size and `located` the best place of each
    class. `fidelity` is the share of the labels that the signs of the scores get right, on the
    data that it learnt from.

    Args:
        model: a network that knows how to see; it stays as it is.
        data: the images.
        labels: the class of each image, or y: for each image and class 1 or -1 (or 1 or 0).
        layer: behind which the model is cut; its last one that has positions, A.
        steps: of Adam.
        sharpness: r of a soft maximum, log(mean(exp(r M))) / r, which lets more places learn;
            infinite for the maximum, 0 for the mean.
        tune: whether the copied layers learn too, and not the maps on them alone.
        rescale: each minibatch is resized by a factor from this range; the paper's is 0.7 to 1.4.
        minibatch: images per step; None for all.
        rate: of Adam.
        generator: source of first weights, of the order of images and of their sizes.

    >>> draw = torch.Generator().manual_seed(0)
    >>> images, there = torch.rand(64, 1, 6, 6, generator=draw) / 2, torch.arange(64) % 2
    >>> images[1::2, 0, 1, 4] = 1.0  # every other image has a bright spot
    >>> eye = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(36, 2))
    >>> found = weak_localization(
    ...     eye, images, labels=there[:, None], layer="0", steps=100, rate=0.1
    ... )
    >>> found.model.located(images[1:2])  # a row and a column for each image and class
    tensor([[[1, 4]]])
    """
    admission.differentiable(data)
    y = signs(labels, data)
    generator = admission.drawing(generator)
    low, high = rescale
    if not 0 < low <= high < math.inf:
        raise ValueError(
            f"Images cannot be rescaled by {low} to {high}. Give two factors above 0, the smaller "
            "first, such as (0.7, 1.4)."
        )
    data = plain(data)
    backbone = _UpToLayer(model, layer, data[:1])
    with torch.no_grad():
        channels = backbone(data[:1]).shape[1]
    with torch.inference_mode(False), seeded(generator, data.device):
        network = WeakLocaliser(backbone, channels, y.shape[1], sharpness=sharpness).to(data)
    backbone.requires_grad_(tune)

    def cost(rows: Tensor) -> Tensor:
        images = data[rows]
        if low < high:
            drawn = torch.rand((), generator=generator, device=generator.device)
            images = resized(images, low + (high - low) * float(drawn))
        return network.loss(network(images), y[rows])

    descend(
        network, cost, inputs=len(data), steps=steps, minibatch=minibatch, rate=rate,
        generator=generator,
    )  # fmt: skip
    network.eval()
    with torch.no_grad():
        scores = torch.cat([network(some) for some in data.split(cached_rows(data[0]))])
    return Surrogate(network, float(((scores > 0) == (y > 0)).double().mean()))


class WeakLocaliser(nn.Module):
    """A map per class on the layers of a network, scored by its largest place.

    Args:
        backbone: gives [batch, channels, rows, columns], for images of any size.
        channels: of the backbone.
        classes: how many.
        sharpness: of the soft maximum over places; infinite for the maximum, 0 for the mean.
    """

    def __init__(
        self, backbone: nn.Module, channels: int, classes: int, *, sharpness: float = math.inf
    ) -> None:
        super().__init__()
        if not sharpness >= 0:
            raise ValueError(
                f"A maximum cannot have the sharpness {sharpness}. Give 0 for the mean, infinity "
                "for the maximum, or a number between, such as 10."
            )
        self.backbone, self.sharpness = backbone, sharpness
        self.maps_of = nn.Conv2d(channels, classes, 1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        m = self.maps(x).flatten(2)
        r = self.sharpness
        if r == 0:
            return m.mean(2)
        if math.isinf(r):
            return m.amax(2)
        return ((r * m).logsumexp(2) - math.log(m.shape[2])) / r

    def maps(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """The score of each class at each place."""
        return self.maps_of(self.backbone(x))

    def loss(
        self, scores: Float[Tensor, "batch classes"], labels: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, ""]:
        """The logistic loss, added up over classes, its mean over images.

        Args:
            scores: what the network gives.
            labels: 1 where an image holds the class, -1 where not.
        """
        return functional.softplus(-labels * scores).sum(1).mean()

    @torch.no_grad()
    def pictures(
        self, x: Float[Tensor, "batch channels height width"], *, scales: Sequence[float] = (1.0,)
    ) -> Float[Tensor, "batch classes height width"]:
        """The maps at the size of the images, their mean over scales.

        Args:
            x: the images.
            scales: the factors by which the images are resized, such as `SCALES`.
        """
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(
                f"Images cannot be looked at on the scales {tuple(scales)}. Give factors above 0, "
                "such as (0.7, 1.0, 1.4)."
            )
        total = 0.0
        for scale in scales:
            try:
                total = total + stretched(self.maps(resized(x, scale)), x) / len(scales)
            except RuntimeError as error:
                raise ValueError(
                    f"The network cannot read images of {tuple(x.shape[2:])} at scale {scale} "
                    f"({error}). Leave small scales out, or cut the model at an earlier layer."
                ) from error
        return torch.as_tensor(total)

    def located(
        self, x: Float[Tensor, "batch channels height width"], *, scales: Sequence[float] = (1.0,)
    ) -> Int[Tensor, "batch classes 2"]:
        """The row and the column of each class's best place in each image.

        Args:
            x: the images.
            scales: the factors by which the images are resized.
        """
        place = self.pictures(x, scales=scales).flatten(2).argmax(2)
        across = x.shape[3]
        return torch.stack([place.div(across, rounding_mode="floor"), place % across], 2)


def convolution_of(dense: nn.Linear, *, rows: int, columns: int) -> nn.Conv2d:
    """The convolution that a dense layer is on flattened maps of that size, fit for larger ones.

    So a network that ends in dense layers is asked at every place of a larger image. The later
    dense layers, which read one vector, become convolutions of 1 x 1. From [oquab2015object].

    Args:
        dense: reads flattened [channels, rows, columns].
        rows: of the maps that it reads.
        columns: of these.

    >>> dense, maps = nn.Linear(2 * 3 * 3, 4), torch.ones(1, 2, 3, 3)
    >>> same = convolution_of(dense, rows=3, columns=3)(maps).flatten(1)
    >>> torch.allclose(same, dense(maps.flatten(1)), atol=1e-6)
    True
    """
    channels, rest = divmod(dense.in_features, rows * columns)
    if rest or not channels:
        raise ValueError(
            f"The dense layer reads {dense.in_features} numbers, which are no maps of {rows} x "
            f"{columns}. Give the size of the maps that it was made for."
        )
    weight = dense.weight
    made = nn.Conv2d(channels, dense.out_features, (rows, columns), device="meta")
    # Made without weights of its own, which would be drawn from the global generator.
    made.weight = nn.Parameter(weight.detach().view(-1, channels, rows, columns).clone())
    made.bias = None if dense.bias is None else nn.Parameter(dense.bias.detach().clone())
    return made


def resized(
    x: Float[Tensor, "batch channels height width"], scale: float
) -> Float[Tensor, "batch channels rows columns"]:
    """Images by so much larger or smaller, at least one pixel."""
    if scale == 1:
        return x
    size = [max(1, round(scale * side)) for side in x.shape[2:]]
    return functional.interpolate(x, size, mode="bilinear", antialias=scale < 1)


def signs(labels: Labels, data: Tensor) -> Float[Tensor, "batch classes"]:
    """Labels as 1 and -1 for each image and class."""
    if len(labels) != len(data):
        raise ValueError(
            f"There are {len(labels)} labels for {len(data)} images. Give one row for each."
        )
    if labels.ndim == 1:
        if labels.min() < 0:
            raise ValueError(
                f"A class is counted from 0, but one label is {int(labels.min())}. For images "
                "with or without a single thing give labels of shape [batch, 1]."
            )
        return 2 * functional.one_hot(labels.long()).to(data) - 1
    y = labels.to(data)
    if not ((y == 1) | (y == 0) | (y == -1)).all() or ((y == 0).any() and (y == -1).any()):
        found = ", ".join(f"{value:g}" for value in y.unique()[:5].tolist())
        raise ValueError(
            f"Labels of each image and class are 1 or -1, or 1 or 0, but hold {found}. Convert "
            "them: an image either has the thing or not."
        )
    return torch.where(y == 1, 1, -1).to(data)


class _Reached(Exception):
    """The layer was reached; nothing after it need run, or could on images of another size."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class _UpToLayer(nn.Module):
    """A copy of a model as far as a layer; of several calls of the layer the last one counts."""

    def __init__(self, model: nn.Module, layer: str, x: Tensor) -> None:
        super().__init__()
        self.model, self.layer = copy.deepcopy(model).eval(), layer
        self.model.zero_grad()
        outputs: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            outputs.append(output)
            return output

        with torch.no_grad(), edit(self.model, {layer: keep}):
            self.model(x.clone())  # which may begin in place
        if not outputs or outputs[-1].ndim != 4:
            shape = tuple(outputs[-1].shape) if outputs else None
            raise ValueError(
                f"Layer {layer!r} puts out {f'shape {shape}' if shape else 'nothing'}, but maps "
                "need [batch, channels, rows, columns]. Name a convolutional layer that the model "
                "passes through."
            )
        self.calls = len(outputs)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs rows columns"]:
        calls = iter(range(1, self.calls + 1))

        def stop(output: Tensor) -> Tensor:
            if next(calls) == self.calls:
                raise _Reached(output)
            return output

        try:
            with edit(self.model, {self.layer: stop}):
                self.model(x.clone())
        except _Reached as reached:
            return reached.output
        raise ValueError(
            f"Layer {self.layer!r} was called less often than before. Cut the model at a layer "
            "that it passes through whatever the image."
        )
