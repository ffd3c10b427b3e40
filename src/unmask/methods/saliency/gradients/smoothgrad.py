"""SmoothGrad: attributions averaged over noisy copies of the input, or their squares or spread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.stream import (
    Moments,
    blocks,
    of_rows,
    rows_at_once,
    wide,
)
from unmask.results import Attribution
from unmask.score import Score

Attribute = Callable[[Score, Tensor], Attribution]
"""A method with all but its first two arguments given."""

_FIRST = 8
"""Draws before the standard errors are looked at."""


@method("smilkov2017smoothgrad")
def smoothgrad(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    noise: float = 0.15,
    sigma: float | None = None,
    samples: int = 50,
    error: float | None = None,
    antithetic: bool = True,
    attribute: Attribute | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Average the gradient over noisy copies of the input.

    $$
    A_i(x) = \mathbb E\, \partial_i F(x + \varepsilon), \qquad
    \varepsilon \sim \mathcal N(0, \sigma^2)
    $$

    It is the gradient of F blurred by the noise: smooth in x where F has kinks. The noise is the
    same for all inputs. It comes in pairs of opposite sign, which for nearly quadratic F leaves
    a fraction of the error; a pair counts as two samples. `errors` of the result are standard
    errors of the mean.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        noise: standard deviation as a share of each input's range, from its least to its largest
            number; 0.1 to 0.2 are usual.
        sigma: standard deviation in the units of x, in place of the noise.
        samples: noisy copies per input; with a wanted error the most there may be.
        error: how large the standard errors may be, as a share of the values, both summed over an
            input without their signs. Looked at after 8 draws, 16, 32 and so on.
        antithetic: whether noise comes in pairs of opposite sign.
        attribute: what is averaged, a function of a score and inputs, such as another method with
            its options given; the gradient when nothing is given.
        generator: source of randomness.
        batch_size: copies in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> square = logit(lambda x: x[:, 0] ** 2, 0)
    >>> smoothgrad(square, torch.tensor([[1.0]]), sigma=0.5).values  # linear: pairs are exact
    tensor([[2.]])
    """
    noisy = _Noisy(
        score, x, _sigma(score, x, noise, sigma, batch_size), antithetic, attribute, generator,
        rows_at_once(x, batch_size),
    )  # fmt: skip
    least = 4 if antithetic and error is not None else 1
    found, evaluations = noisy.moments(_whole(samples, least), error, lambda values: values)
    known = found.errors.to(x.dtype) if int(found.count.min()) > 1 else None
    return Attribution(found.mean.to(x.dtype), evaluations=evaluations, errors=known)


@method("hooker2019benchmark")
def smoothgrad_squared(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    noise: float = 0.15,
    sigma: float | None = None,
    samples: int = 50,
    error: float | None = None,
    attribute: Attribute | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Average the squared gradient over noisy copies of the input.

    $$
    A_i(x) = \mathbb E\, \bigl( \partial_i F(x + \varepsilon) \bigr)^2, \qquad
    \varepsilon \sim \mathcal N(0, \sigma^2)
    $$

    The sign is lost, and with it what cancels in the mean: the squared mean and the variance
    (`vargrad`) together. `errors` of the result are standard errors.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        noise: standard deviation as a share of each input's range, from its least to its largest.
        sigma: standard deviation in the units of x, in place of the noise.
        samples: noisy copies per input; with a wanted error the most there may be.
        error: how large the standard errors may be, as a share of the values, both summed over an
            input. Looked at after 8 draws, 16, 32 and so on.
        attribute: what is squared, a function of a score and inputs; the gradient when nothing is
            given.
        generator: source of randomness.
        batch_size: copies in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> found = smoothgrad_squared(logit(lambda x: 3 * x[:, 0], 0), torch.ones(1, 1), sigma=0.5)
    >>> found.values
    tensor([[9.]])
    """
    noisy = _Noisy(
        score, x, _sigma(score, x, noise, sigma, batch_size), False, attribute, generator,
        rows_at_once(x, batch_size),
    )  # fmt: skip
    found, evaluations = noisy.moments(_whole(samples, 1), error, torch.square)
    known = found.errors.to(x.dtype) if int(found.count.min()) > 1 else None
    return Attribution(found.mean.to(x.dtype), evaluations=evaluations, errors=known)


@method("adebayo2018local")
def vargrad(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    noise: float = 0.15,
    sigma: float | None = None,
    samples: int = 50,
    attribute: Attribute | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Ask how much the gradient varies over noisy copies of the input.

    $$
    A_i(x) = \mathrm{Var}\, \partial_i F(x + \varepsilon), \qquad
    \varepsilon \sim \mathcal N(0, \sigma^2)
    $$

    It is zero where F is linear, so it tells of interactions and saturation, not of how strongly
    F depends on a part. The estimate is without bias (divided by samples - 1).

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        noise: standard deviation as a share of each input's range, from its least to its largest.
        sigma: standard deviation in the units of x, in place of the noise.
        samples: noisy copies per input.
        attribute: what varies, a function of a score and inputs; the gradient when nothing is
            given.
        generator: source of randomness.
        batch_size: copies in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> vargrad(logit(lambda x: 3 * x[:, 0], 0), torch.ones(1, 1), sigma=0.5).values
    tensor([[0.]])
    """
    noisy = _Noisy(
        score, x, _sigma(score, x, noise, sigma, batch_size), False, attribute, generator,
        rows_at_once(x, batch_size),
    )  # fmt: skip
    found, evaluations = noisy.moments(_whole(samples, 2), None, lambda values: values)
    return Attribution(found.variance.to(x.dtype), evaluations=evaluations)


@dataclass(frozen=True)
class _Noisy:
    """Attributions of noisy copies of inputs."""

    score: Score
    x: Float[Tensor, "batch *input"]
    sigma: Float[Tensor, " batch"]
    pairs: bool
    attribute: Attribute | None
    generator: torch.Generator | None
    size: int

    def moments(
        self, samples: int, error: float | None, read: Callable[[Tensor], Tensor]
    ) -> tuple[Moments, int]:
        """Mean and spread of what is read from the attributions, and how many were taken."""
        if error is not None and not error > 0:
            raise ValueError(
                f"No mean of draws meets an error of {error}. Give a share above 0, such as 0.05."
            )
        generator = admission.drawing(self.generator)
        found, evaluations = Moments(self.x), 0
        open_ = torch.arange(len(self.x), device=self.x.device)
        draws = -(-samples // 2) if self.pairs else samples
        for more in _rounds(draws, error is not None):
            started, noise = -1, self.x
            for drawn, inputs in blocks(len(open_), more, max(1, self.size // (1 + self.pairs))):
                if drawn.start != started:
                    started, noise = drawn.start, self._noise(drawn.stop - drawn.start, generator)
                values, spent = self._attributed(noise, open_[inputs])
                found.add(read(values), open_[inputs])
                evaluations += spent
            if error is not None:
                size = found.mean[open_].reshape(len(open_), -1).abs().sum(1)
                off = found.errors[open_].reshape(len(open_), -1).sum(1)
                open_ = open_[off > error * size]
            if len(open_) == 0:
                break
        return found, evaluations

    def _noise(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draws *input"]:
        """One after the other, so that the batch does not change what is drawn."""
        kind = {"dtype": wide(self.x.dtype), "device": generator.device}
        one = [torch.randn(self.x.shape[1:], generator=generator, **kind) for _ in range(draws)]
        return torch.stack(one).to(self.x.device)

    def _attributed(
        self, noise: Float[Tensor, "draws *input"], inputs: Int[Tensor, " some"]
    ) -> tuple[Float[Tensor, "draws some *input"], int]:
        sigma = self.sigma[inputs].to(noise).view(-1, *[1] * (self.x.ndim - 1))
        moved = noise[:, None] * sigma
        clean = self.x[inputs].detach().to(noise)
        points = torch.cat([clean + moved, clean - moved]) if self.pairs else clean + moved
        rows = inputs.repeat(len(points))
        parts, evaluations = [], 0
        for some, made in zip(
            points.flatten(0, 1).to(self.x.dtype).split(self.size),
            rows.split(self.size),
            strict=True,
        ):
            if self.attribute is None:
                parts.append(value_and_gradient(self.score, some, made)[1])
                evaluations += len(some)
            else:
                found = self.attribute(of_rows(self.score, made), some)
                parts.append(found.values)
                evaluations += found.evaluations or len(some)
        values = torch.cat(parts).to(noise).unflatten(0, (-1, len(inputs)))
        return ((values[: len(noise)] + values[len(noise) :]) / 2 if self.pairs else values), (
            evaluations
        )


def _rounds(draws: int, watched: bool) -> Iterator[int]:
    """How many draws to take before the errors are looked at: 8, then as many as there are."""
    done = 0
    while done < draws:
        more = min(max(_FIRST, done), draws - done) if watched else draws
        yield more
        done += more


def _sigma(
    score: Score, x: Tensor, noise: float, sigma: float | None, batch_size: int | None
) -> Float[Tensor, " batch"]:
    admit(score, x, batch_size)
    flat = x.detach().reshape(len(x), -1).to(wide(x.dtype))
    if sigma is not None:
        if not sigma >= 0:
            raise ValueError(f"Noise cannot have the size {sigma}. Give 0 or more.")
        return flat.new_full((len(x),), sigma)
    if not noise >= 0:
        raise ValueError(f"Noise cannot have the size {noise}. Give a share such as 0.15.")
    span = flat.amax(1) - flat.amin(1)
    if (span == 0).any():
        raise ValueError(
            f"Input {int((span == 0).nonzero()[0, 0])} holds one number only, so that a share of "
            "its range is no noise. Give sigma, in the units of x."
        )
    return noise * span


def _whole(samples: int, least: int) -> int:
    if samples < least:
        raise ValueError(f"{samples} samples are too few here. Give at least {least}.")
    return samples
