"""Attribution by an information bottleneck."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.internals import frozen, plain
from unmask.masking import cached_rows
from unmask.methods.saliency.activation_maps.layer_maps import admit_images, run_to_layer
from unmask.methods.saliency.activation_maps.rest_of_model import RestOfModel, rest_of_model
from unmask.results import Attribution
from unmask.score import Score

_OPEN, _LEFT = 5.0, 1e-6
"""Where alpha starts, and the least share of noise: of none the capacity is infinite."""

_LEAST, _SELDOM = 0.01, 0.01
"""The smallest deviation of a unit, and the share of the data below which it counts as dead."""


@dataclass(frozen=True)
class Units:
    """The units of a layer over the data.

    Args:
        mean: of each.
        deviation: of each, no smaller than 0.01.
        alive: 1 where a unit is not zero on at least a hundredth of the data, else 0.
    """

    mean: Float[Tensor, "channels rows columns"]
    deviation: Float[Tensor, "channels rows columns"]
    alive: Float[Tensor, "channels rows columns"]


@method("schulz2020restricting")
def information_bottleneck(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    data: Float[Tensor, "examples *image"],
    layer: str,
    beta: float = 10.0,
    steps: int = 10,
    samples: int = 10,
    rate: float = 1.0,
    blur: float = 1.0,
    upsample: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Put noise in place of a layer wherever the score can spare it; what is left, in bits, tells.

    $$
    \min_\lambda \; \mathbb{E}_\varepsilon \bigl[ -\log \sigma(F(z)) \bigr]
        + \frac{\beta}{K} \sum_{k=1}^K D_k, \qquad
    z = \lambda R + (1 - \lambda) \varepsilon, \quad \varepsilon \sim N(\mu, s^2)
    $$

    $$
    D = -\tfrac12 \bigl( 1 + \log (1 - \lambda)^2 - (\lambda R')^2 - (1 - \lambda)^2 \bigr),
    \qquad R' = \frac{R - \mu}{s}
    $$

    R is what the layer puts out, K its units, mu and s their mean and deviation over the data. D
    bounds the information that a unit of the noisy layer still holds about R, as if units were
    independent, so that it errs upwards. The result is D / log 2 summed over channels: an area
    of 0 bits was not needed. Stretched over the image the bits are shared among its pixels, so that
    they still add up to those of the layer, but for the border.

    With F the log-odds of a class the first term is the paper's cross-entropy; another score is
    treated as log-odds. Lambda is the sigmoid of a parameter per unit, blurred over positions;
    ten steps of Adam are the paper's, not a minimum. All inputs descend together, each by
    itself and all under the same noise. What lies below the layer is run once. Take at least a
    thousand images as data: each unit's statistics rest on them alone, and a unit that is zero on
    99 of 100 is shut off.

    Args:
        score: F, the log-odds of a class by a network with that layer.
        x: the images.
        data: images like those the network was made for.
        layer: where the noise enters: a convolution in the middle of the network, or later.
        beta: what a nat per unit costs; more leaves fewer bits. The paper's beta is this over K.
        steps: of Adam.
        samples: draws of the noise per step.
        rate: of Adam.
        blur: deviation of the Gaussian that smooths lambda, in positions; 0 for none.
        upsample: whether to stretch the map over the image; else it has the size of the layer.
        generator: source of the noise; the same numbers at every call if not given.
        batch_size: images or noisy layers in one call of the model; by default by their size.

    >>> from torch import nn
    >>> from unmask.score import log_odds
    >>> left = nn.Conv2d(1, 1, 1, bias=False)  # a network that reads the left pixel alone
    >>> head = nn.Linear(2, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = left.weight.fill_(1.0), head.weight.copy_(torch.tensor([[4.0, 0.0]]))
    >>> network = nn.Sequential(left, nn.Flatten(2), nn.Flatten(), head)
    >>> data = torch.randn(100, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    >>> found = information_bottleneck(
    ...     log_odds(network, 1), torch.ones(1, 1, 1, 2), data=data, layer="0", beta=0.1, blur=0.0
    ... )
    >>> found.values[0, 0, 0, 0] > 100 * found.values[0, 0, 0, 1]
    tensor(True)
    """
    _admit(score, x, data, batch_size)
    _check(beta, steps, samples, rate, blur)
    # What the layer puts out takes part in gradients, which nothing made in inference mode can.
    with torch.inference_mode(False):
        x = plain(x)
        units = _units(score, data, layer, batch_size or cached_rows(x[0]))
        source = admission.drawing(generator)
        seeds = torch.randint(
            2**62, (steps, samples), generator=source, device=source.device
        ).tolist()

        maps, evaluations = [], len(data)
        for rows in torch.arange(len(x), device=x.device).split(batch_size or cached_rows(x[0])):
            rest = rest_of_model(score, x[rows], layer, rows)
            size = batch_size or cached_rows(rest.output[0])
            descent = _Descent(rest, units, beta, _blurs(units.mean, blur), source.device, size)
            maps.append(descent.capacity(descent.alpha(seeds, rate))[0].sum(1) / log(2))
            evaluations += rest.evaluations + steps * samples * len(rows)
        values = torch.cat(maps)[:, None]
    if upsample:
        share = values[0, 0].numel() / x[0, 0].numel()
        values = share * functional.interpolate(
            values, size=x.shape[-2:], mode="bilinear", align_corners=False
        )
    return Attribution(values.to(x.dtype), evaluations=evaluations)


@dataclass(frozen=True)
class _Descent:
    """What is minimised, for some inputs at once.

    Args:
        rest: the model from the layer on.
        units: of the layer.
        beta: what a nat per unit costs.
        blurs: matrices that smooth lambda along rows and along columns.
        source: the device that draws the noise.
        size: noisy layers in one call of the model.
    """

    rest: RestOfModel
    units: Units
    beta: float
    blurs: tuple[Float[Tensor, "rows rows"], Float[Tensor, "columns columns"]]
    source: torch.device
    size: int

    def capacity(
        self, alpha: Float[Tensor, "batch channels rows columns"]
    ) -> tuple[Float[Tensor, "batch channels rows columns"], Tensor]:
        """The nats of each unit, and lambda."""
        down, across = self.blurs
        part = down @ alpha.sigmoid() @ across.T
        units, left = self.units, 1 - part
        r = (self.rest.output.to(alpha) - units.mean) / units.deviation
        spread = left.clamp_min(_LEFT).log()
        nats = -0.5 * (1 + 2 * spread - (part * r).square() - left.square())
        return nats * units.alive, part

    def alpha(
        self, seeds: Sequence[Sequence[int]], rate: float
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The parameter of each unit after its steps."""
        start = torch.full_like(self.rest.output, _OPEN, dtype=self.units.mean.dtype)
        with torch.inference_mode(False), torch.enable_grad(), frozen(self.rest.score.model):
            alpha = start.clone().requires_grad_()
            optimiser = torch.optim.Adam([alpha], lr=rate, foreach=True)
            for of_step in seeds:
                nats, part = self.capacity(alpha)
                cost = self.beta * nats.flatten(1).mean(1).sum()
                slope = self.slope(part.detach(), of_step)
                (alpha.grad,) = torch.autograd.grad((cost + (part * slope).sum()), alpha)
                optimiser.step()
        return alpha.detach()

    def slope(
        self, part: Float[Tensor, "batch channels rows columns"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch channels rows columns"]:
        """The slope of the mean cross-entropy by lambda, a few noisy layers at a time."""
        units, r = self.units, self.rest.output.to(part)
        total = torch.zeros_like(part)
        which = torch.arange(len(seeds) * len(part), device=part.device)
        for some in which.split(self.size):
            copy, i = some.div(len(part), rounding_mode="floor"), some % len(part)
            first = int(copy[0])
            drawn = [self.noise(seed) for seed in seeds[first : int(copy[-1]) + 1]]
            noise = torch.stack(drawn)[copy - first]
            z = (part[i] * r[i] + (1 - part[i]) * noise) * units.alive
            gradient = self.gradient(z.to(self.rest.output), i)
            total.index_add_(0, i, gradient.to(part) * units.alive * (r[i] - noise))
        return total / len(seeds)

    def gradient(self, z: Tensor, which: Int[Tensor, " points"]) -> Tensor:
        """The gradient of each noisy layer's cross-entropy."""
        z.requires_grad_()
        loss = functional.softplus(-self.rest(z, which))
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), z, allow_unused=True)
        if gradient is None:
            raise ValueError(
                f"The {self.rest.score.name} does not depend on layer {self.rest.layer!r} by any "
                "differentiable path. Name a layer that the model passes through on its way to "
                "this score."
            )
        if not (loss.isfinite().all() and gradient.isfinite().all()):
            raise ValueError(
                f"The {self.rest.score.name} of a noisy layer, or its gradient, is not finite. "
                "Look at what the model computes there: a root or a logarithm of what noise may "
                "make negative, or a number too large for its type."
            )
        return gradient

    def noise(self, seed: int) -> Float[Tensor, "channels rows columns"]:
        """One draw of the layer's noise, the same for all inputs and batches."""
        source = torch.Generator(self.source).manual_seed(seed)
        mean = self.units.mean
        drawn = torch.randn(mean.shape, generator=source, device=self.source, dtype=mean.dtype)
        return mean + self.units.deviation * drawn.to(mean)


def _units(score: Score, data: Tensor, layer: str, size: int) -> Units:
    """Mean and deviation of the layer's units, gathered batch by batch."""
    nothing = torch.zeros((), dtype=torch.float64, device=data.device)
    count, mean, squares, active = 0, nothing, nothing, nothing
    for some in data.split(size):
        _, output = run_to_layer("information_bottleneck", score, some, layer, reshapes=False)
        r = output.double()
        change, total = r.mean(0) - mean, count + len(r)
        squares = squares + (r - r.mean(0)).square().sum(0)
        squares = squares + change.square() * (count * len(r) / total)
        mean = mean + change * (len(r) / total)
        active = active + (r != 0).sum(0)
        count = total
    wide = torch.promote_types(data.dtype, torch.float32)
    deviation = (squares / (count - 1)).sqrt().clamp_min(_LEAST)
    alive = active >= _SELDOM * count
    return Units(mean.to(wide), deviation.to(wide), alive.to(wide))


def _blurs(mean: Float[Tensor, "channels rows columns"], blur: float) -> tuple[Tensor, Tensor]:
    """Matrices that average rows and columns by a Gaussian; the border's value goes on outside."""
    reach = round(2 * blur)
    offset = torch.arange(-reach, reach + 1, device=mean.device)
    weight = torch.exp(-0.5 * (offset.to(mean) / (blur or 1.0)).square())
    weight = weight / weight.sum()
    down, across = (
        mean.new_zeros(n, n).scatter_add_(
            1,
            (torch.arange(n, device=mean.device)[:, None] + offset).clamp(0, n - 1),
            weight.expand(n, -1),
        )
        for n in mean.shape[1:]
    )
    return down, across


def _admit(score: Score, x: Tensor, data: Tensor, batch_size: int | None) -> None:
    admit_images(score, x, batch_size)
    admission.finite("The data", data)
    if data.shape[1:] != x.shape[1:] or len(data) < 2:
        raise ValueError(
            f"The data have shape {tuple(data.shape)}, the inputs {tuple(x.shape)}. Give at least "
            "two images of the same size, as a rule a thousand, to learn the layer's mean from."
        )


def _check(beta: float, steps: int, samples: int, rate: float, blur: float) -> None:
    if not (beta >= 0 and steps >= 1 and samples >= 1 and rate > 0 and blur >= 0):
        raise ValueError(
            f"No bottleneck comes of beta {beta}, {steps} steps at a rate of {rate}, {samples} "
            f"draws and a blur of {blur}. Give at least 1 step and 1 draw, a rate above 0, and no "
            "negative beta or blur."
        )
