"""Whether a noisy course rises, whatever its shape would be if it did not: a test by windows."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.bootstrap import resampled

WIDTH = 3
"""Checkpoints that a window holds at least."""
FEWEST = 5
"""Checkpoints from which noise can be told from a trend at all."""
ENOUGH = 8
"""Points off the line between their neighbours that tell how large noise is."""
DRAWS = 20000
"""Courses of noise that are drawn: of one in a thousand, twenty then look stronger."""
_DUST = 1e-9
"""Of the largest value, what no course is known better than."""


@dataclass(frozen=True)
class Noise:
    """What a mean course over inputs is off by.

    Args:
        deviations: of the inputs from their mean, scaled so that their squares add up to its
            variance: a standard normal per input makes of them a course of noise.
        common: the variance of what all inputs share, anew at every checkpoint.
    """

    deviations: Float[Tensor, "inputs checkpoints"]
    common: float

    def draws(self, count: int, generator: torch.Generator) -> Float[Tensor, "count checkpoints"]:
        """Courses of nothing but noise."""
        inputs, checkpoints = self.deviations.shape
        each = _normal(count, inputs, generator) @ self.deviations
        return each + math.sqrt(self.common) * _normal(count, checkpoints, generator)

    def around(
        self, courses: Float[Tensor, "inputs checkpoints"], count: int, generator: torch.Generator
    ) -> Float[Tensor, "count checkpoints"]:
        """Mean courses as they might have been: of inputs drawn anew, with the noise of training.

        A single input cannot be drawn anew: then the noise of training is all that is known.
        """
        if len(courses) > 1:
            drawn = resampled(len(courses), count, generator) @ courses
        else:
            drawn = courses.expand(count, -1)
        return drawn + math.sqrt(self.common) * _normal(count, courses.shape[1], generator)

    @property
    def variances(self) -> Float[Tensor, " checkpoints"]:
        """Of the mean at each checkpoint."""
        return self.deviations.square().sum(0) + self.common

    @property
    def weights(self) -> Float[Tensor, " checkpoints"]:
        """One over the variances."""
        return inverse(self.variances)


def noise_of(
    times: Float[Tensor, " checkpoints"], courses: Float[Tensor, "inputs checkpoints"]
) -> Noise:
    """Estimate the noise of the mean of some courses.

    Args:
        times: of the checkpoints.
        courses: one per input.
    """
    inputs = len(courses)
    mean = courses.mean(0)
    deviations = (courses - mean) / math.sqrt(inputs * max(1, inputs - 1))
    roughness = _Roughness.of(times, deviations, courses)
    return Noise(deviations, float(roughness(mean[None])))


@dataclass(frozen=True)
class Evidence:
    """How strongly a mean course rises in windows of checkpoints.

    Args:
        first: of each window.
        last: of each window.
        strength: the slope in each window in units of its standard error.
        chance: of the strongest window in each course of nothing but noise.
    """

    first: Int[Tensor, " windows"]
    last: Int[Tensor, " windows"]
    strength: Float[Tensor, " windows"]
    chance: Float[Tensor, " draws"]

    def of_a_rise(self, begin: int = 0) -> float:
        """How often noise would look as strong as the rise in windows from `begin` on.

        The chance is that of all windows, so that `begin` may be chosen after seeing the course.
        """
        return self._chance_of(self.strength[self.first >= begin])

    def of_a_fall(self, end: int) -> float:
        """How often noise would look as strong as the fall in windows up to `end`."""
        return self._chance_of(-self.strength[self.last <= end])

    def _chance_of(self, strength: Tensor) -> float:
        if len(strength) == 0:
            return 1.0
        # Noise falls as often as it rises, so that one set of draws serves both.
        beyond = (self.chance >= strength.max()).sum()
        return float(beyond + 1) / (len(self.chance) + 1)


def rising(
    times: Float[Tensor, " checkpoints"],
    courses: Float[Tensor, "inputs checkpoints"],
    *,
    at_the_end: bool,
    generator: torch.Generator,
    draws: int = DRAWS,
) -> Evidence:
    r"""Test whether the mean of some courses rises anywhere, against all that never rise.

    $$
    T = \max_{[a, b]} \frac{\sum_{a \le t \le b} (s_t - \bar s_{ab})\, \mu_t}{\mathrm{se}_{ab}}
    $$

    In a course that never rises, no window has a rising slope but by noise. So whatever its shape
    (level, falling, falling in a step, falling to a level), T exceeds a bound no more often than in
    a level course, and the bound is found by drawing level courses. Their noise is that of
    averaging over the inputs, with its memory from checkpoint to checkpoint, since the inputs stay
    the same; and that of the training itself, which all inputs share and which is anew at every
    checkpoint. The latter is estimated from how rough the mean course is, in every draw again.

    Args:
        times: of the checkpoints, rising.
        courses: one per input.
        at_the_end: whether only windows up to the last checkpoint count.
        generator: source of the draws.
        draws: level courses that are drawn.
    """
    noise = noise_of(times, courses)
    roughness = _Roughness.of(times, noise.deviations, courses)
    contrasts, first, last = _windows(times, at_the_end)
    known = (noise.deviations @ contrasts.T).square().sum(0)

    def strength(means: Tensor, known: Tensor) -> Tensor:
        variance = known + roughness(means)[:, None]
        return means @ contrasts.T / variance.sqrt()

    found = strength(courses.mean(0)[None], known)[0]
    level = noise.draws(draws, generator)
    spread = _squared(len(courses) - 1, draws, generator)[:, None]
    chance = [
        strength(some, known * factor).amax(1)
        for some, factor in zip(level.split(4096), spread.split(4096), strict=True)
    ]
    return Evidence(first, last, found, torch.cat(chance))


@dataclass(frozen=True)
class _Roughness:
    """Estimates the noise that all inputs share from how far points lie off their neighbours.

    The rougher half of the points is left out, since a course bends sharply where its first phase
    begins, where it turns and where its second phase levels off; of few points only a fifth, since
    what is left must still tell of noise. What that takes off noise is made good by `share`.
    """

    off: Float[Tensor, "inner checkpoints"]
    kept: int
    share: float
    expected: float
    least: float
    """What is taken for noise in any case, so that rounding is not taken for a trend."""

    @classmethod
    def of(cls, times: Tensor, deviations: Tensor, courses: Tensor) -> "_Roughness":
        gaps = times.diff()
        part = gaps[1:] / (gaps[1:] + gaps[:-1])
        inner = torch.arange(len(gaps) - 1)
        off = torch.zeros(len(inner), len(times), dtype=times.dtype)
        off[inner, inner] = -part
        off[inner, inner + 1] = 1.0
        off[inner, inner + 2] = part - 1
        off /= off.norm(dim=1, keepdim=True)
        kept = max(len(inner) // 2, min(ENOUGH, len(inner) - math.ceil(0.2 * len(inner))))
        noise = _normal(2000, len(times), torch.Generator().manual_seed(0)) @ off.T
        share = float(noise.square().topk(kept, dim=1, largest=False).values.mean())
        expected = float((deviations @ off.T).square().sum(0).mean())
        return cls(off, kept, share, expected, (_DUST * float(courses.abs().max())) ** 2)

    def __call__(self, means: Float[Tensor, "rows checkpoints"]) -> Float[Tensor, " rows"]:
        away = (means @ self.off.T).square().topk(self.kept, dim=1, largest=False).values
        return (away.mean(1) / self.share - self.expected).clamp(min=self.least)


def _windows(times: Tensor, at_the_end: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A slope per window, of length 1."""
    count = len(times)
    pairs = [
        (a, b)
        for a in range(count)
        for b in range(a + WIDTH - 1, count)
        if b == count - 1 or not at_the_end
    ]
    first, last = torch.tensor(pairs).T
    place = torch.arange(count)
    inside = ((place >= first[:, None]) & (place <= last[:, None])).to(times.dtype)
    middle = (inside @ times) / inside.sum(1)
    slopes = inside * (times - middle[:, None])
    return slopes / slopes.norm(dim=1, keepdim=True), first, last


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(
        rows, columns, generator=generator, dtype=torch.float64, device=generator.device
    )
    return drawn.cpu()


def _squared(freedom: int, draws: int, generator: torch.Generator) -> Float[Tensor, " draws"]:
    """Chi-squared over its degrees of freedom, after Wilson and Hilferty: few inputs say little
    about their own variance."""
    if freedom < 1:
        return torch.ones(draws, dtype=torch.float64)
    part = 2 / (9 * freedom)
    root = 1 - part + math.sqrt(part) * _normal(draws, 1, generator)[:, 0]
    return root.clamp(min=0).pow(3)


def inverse(variances: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Weights of one over the variances, none a thousand times the usual; without noise, ones."""
    if not variances.max() > 0:
        return torch.ones_like(variances)
    return variances.mean() / variances.clamp(min=1e-3 * float(variances.mean()))


def lowest(course: Float[Tensor, " checkpoints"]) -> int:
    """Where a course is lowest, by the median of each value and its neighbours."""
    padded = torch.cat([course[:1], course, course[-1:]])
    return int(padded.unfold(0, 3, 1).median(1).values.argmin())
