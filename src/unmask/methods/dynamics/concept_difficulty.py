"""The difficulty of concepts: how unstable each order of interaction is under noise."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.bootstrap import Bounds, bootstrap, means
from unmask.card import method
from unmask.internals import admit_any, refuse_broken
from unmask.lattice import MOEBIUS, sizes, transform
from unmask.masking import cached_rows
from unmask.methods.dynamics.tables import hidden_for, tables
from unmask.players import Players
from unmask.results import Measurement
from unmask.score import Score

_ALIKE = 1e-24
"""Squares below this share of the largest are rounding."""
_BOUNDS: Bounds = dict.fromkeys(("noise_ratio", "instability"), (0.0, math.inf))


@method("liu2023towards", "ren2023bayesian")
def concept_difficulty(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    players: Players,
    baseline: Float[Tensor, "*background"],
    noise: float,
    samples: int = 100,
    tau: float | None = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Add small noise to inputs, and see how the effect of each set of players varies with it.

    $$
    a(T \mid x) = \sum_{S \subseteq T} (-1)^{|T|-|S|}\, v(S \mid x), \qquad
    \frac{\mathrm{Var}_\epsilon\, a(T \mid x + \epsilon)}
         {\bigl(\mathrm{E}_\epsilon\, a(T \mid x + \epsilon)\bigr)^2}
    \approx \bigl(1 + (r / \tau)^2\bigr)^{|T|} - 1, \qquad \epsilon \sim N(0, r^2)
    $$

    An effect of several players is to first order a product of one factor each, and a product of
    many noisy factors is noisier: the mean does not depend on the order, the variance grows
    exponentially with it. So complex concepts are harder to learn, and a network whose weights are
    uncertain has fewer of them. The law holds exactly where each player is one number, tau away
    from its baseline, and v is linear in each. Of networks it is an approximation for small noise:
    `law` beside `instability` shows how good, with r/tau fitted to the orders measured.

    The noise is added to what players own; what is never hidden stays, and so does the baseline.

    Curves over `order`: `instability`, the sum of variances over all sets of that order and all
    inputs, divided by the sum of squared means (of which the squared errors of the means are
    taken off), with `instability_low` and `instability_high`; `law`; `signal_to_noise`,
    $1 / \sqrt{\mathrm{instability}}$; `mean`, of |E a| over the sets and inputs, and `deviation`,
    of their standard deviations; `cancellation`, $|\sum \mathrm{E} a| / \sum |\mathrm{E} a|$ over
    the sets of an order, averaged over inputs, 1 if all have one sign. NaN or infinite where an
    order has no effect that noise does not drown.

    Numbers: `noise_ratio`, r/tau as fitted, with `noise_ratio_low` and `noise_ratio_high`;
    `rising`, 1 if every order that has an effect is less stable than the one before; `inputs`
    and `samples`; `evaluations` of the model. All bounds hold the value in 19 of 20 resamplings of
    the inputs; of one input they are NaN.

    Args:
        score: v.
        x: the inputs.
        players: who owns which position.
        baseline: what stands where a player is hidden; with one axis more, a set of them that
            is averaged over.
        noise: r, the standard deviation of what is added to each number.
        samples: draws of the noise per input, two at least.
        tau: how far a hidden number moves towards the baseline at most, so that each input has a
            baseline of its own (see `near_baseline`); without it, all the way.
        batch_size: rows in one call of the model; by default what a processor's cache holds.
        generator: source of the noise and of the resamplings.

    >>> from unmask import features
    >>> product = Score(lambda x: x.prod(1), lambda output, rows: output)
    >>> x = torch.ones(40, 3, dtype=torch.float64)
    >>> found = concept_difficulty(
    ...     product, x, players=features(3), baseline=torch.zeros(3), noise=0.3, samples=2000
    ... )
    >>> round(found.numbers["noise_ratio"], 2)
    0.3
    """
    admit_any(score, x, batch_size)
    players.refuse_other(x.shape[1:])
    generator = admission.drawing(generator)
    _check(noise, samples, tau)
    backgrounds = admission.backgrounds_for(x[0], baseline)
    x = x.detach()
    hidden = hidden_for(x, backgrounds)
    if tau is not None:
        hidden = near_baseline(x[:, None], hidden, tau)

    mean, variance = _dividends(score, x, players, hidden, noise, samples, batch_size, generator)
    size = sizes(len(players.names)).to(x.device)
    found = _of_orders(mean, variance, size, samples, generator)
    rows = len(x) * len(backgrounds) * samples * 2 ** len(players.names)
    numbers = {"inputs": len(x), "samples": samples, "evaluations": rows}
    counts = {name: float(count) for name, count in numbers.items()}
    return replace(found, numbers={**found.numbers, **counts})


def near_baseline(
    x: Float[Tensor, "*input"], baseline: Float[Tensor, "*background"], tau: float
) -> Float[Tensor, "*both"]:
    r"""The input moved towards the baseline by tau in every number, but not beyond it.

    $$
    b_i = x_i + \min(\tau, |c_i - x_i|)\, \mathrm{sign}(c_i - x_i)
    $$

    Args:
        x: inputs.
        baseline: c, such as the mean of the data.
        tau: the largest step.

    >>> near_baseline(torch.tensor([3.0, -0.5]), torch.zeros(2), 1.0)
    tensor([2., 0.])
    """
    return x + (baseline - x).clamp(-tau, tau)


def _dividends(
    score: Score,
    x: Float[Tensor, "inputs *input"],
    players: Players,
    hidden: Float[Tensor, "inputs backgrounds *input"],
    noise: float,
    samples: int,
    batch_size: int | None,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "inputs coalitions"], Float[Tensor, "inputs coalitions"]]:
    """Mean and variance of every dividend over draws of the noise."""
    owned = (players.owner >= 0).to(x.device)
    one = len(x) * hidden.shape[1] * 2 ** len(players.names)
    # Draws go together until they fill a batch. The noise comes draw by draw all the same, as the
    # numbers of a generator depend on how many are asked for at once.
    together = max(1, (batch_size or cached_rows(x[0])) // one)
    mean = torch.zeros(len(x), 2 ** len(players.names), dtype=torch.float64, device=x.device)
    squares = torch.zeros_like(mean)
    done = 0
    while done < samples:
        draws = min(together, samples - done)
        change = torch.stack([_noise(x, generator) for _ in range(draws)])
        points = (x + noise * change * owned).to(x.dtype).flatten(0, 1)
        source = torch.arange(len(x), device=x.device).repeat(draws)

        def read(rows: Tensor, made_from: Tensor, source: Tensor = source) -> Tensor:
            return score(rows, rows=source[made_from])[:, None]

        behind = hidden.expand(draws, *hidden.shape).flatten(0, 1)
        values = tables(read, points, players, behind, batch_size)[0]
        refuse_broken(score, values.flatten())
        dividends = transform(values, MOEBIUS).view(draws, *mean.shape)
        # The sums of two sets of draws, joined: small differences never cancel in them.
        own = dividends.mean(0)
        step = own - mean
        squares += (dividends - own).square().sum(0)
        squares += step.square() * (done * draws / (done + draws))
        mean += step * (draws / (done + draws))
        done += draws
    return mean, squares / (samples - 1)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    drawn = torch.randn(x.shape, generator=generator, device=generator.device, dtype=wide)
    return drawn.to(x.device)


def _of_orders(
    mean: Float[Tensor, "inputs coalitions"],
    variance: Float[Tensor, "inputs coalitions"],
    size: Int[Tensor, " coalitions"],
    samples: int,
    generator: torch.Generator,
) -> Measurement:
    n = int(size[-1])
    of_order = torch.stack([size == k for k in range(1, n + 1)], 1).to(mean)
    share = of_order / of_order.sum(0)
    # A mean of noisy numbers is noisy too, and its square too large by the square of its error.
    power = (mean.square() - variance / samples) @ share
    order = torch.arange(1, n + 1, dtype=mean.dtype, device=mean.device)

    spread = variance @ share

    def statistics(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        instability = _ratio(means(weights, spread), means(weights, power))
        return {"noise_ratio": _fitted(instability, order), "instability": instability}

    found = bootstrap(statistics, len(mean), generator=generator, bounds=_BOUNDS)
    instability = found["instability"]
    total, strength = (mean @ of_order).abs(), mean.abs() @ of_order
    return Measurement(
        {
            **{name: float(value) for name, value in found.items() if value.dim() == 0},
            "rising": float((instability[~instability.isnan()].diff() > 0).all()),
        },
        {
            "order": order,
            **{name: value for name, value in found.items() if value.dim()},
            "law": (1 + found["noise_ratio"].square()) ** order - 1,
            "signal_to_noise": 1 / instability.sqrt(),
            "mean": (mean.abs() @ share).mean(0),
            "deviation": (variance.sqrt() @ share).mean(0),
            "cancellation": (total / strength).nanmean(0),
        },
        {
            "instability": ("order", "instability", "law"),
            "effects under noise": ("order", "mean", "deviation"),
        },
    )


def _ratio(part: Float[Tensor, "draws orders"], whole: Float[Tensor, "draws orders"]) -> Tensor:
    """Infinite where no signal is left, and not defined where nothing ever happens."""
    dust = _ALIKE * (part.abs() + whole.abs()).amax(1, keepdim=True)
    ratio = torch.where(whole > dust, part / whole, math.inf)
    return torch.where((part <= dust) & (whole <= dust), math.nan, ratio)


def _fitted(
    instability: Float[Tensor, "draws orders"], order: Float[Tensor, " orders"]
) -> Float[Tensor, " draws"]:
    r"""r/tau of the law, by least squares of log(1 + instability), which is linear in the order."""
    grown = instability.log1p()
    known = grown.isfinite()
    grown = torch.where(known, grown, 0)
    slope = (grown * order).sum(1) / (known * order.square()).sum(1)
    return slope.expm1().clamp(min=0).sqrt()


def _check(noise: float, samples: int, tau: float | None) -> None:
    if not 0 < noise < math.inf:
        raise ValueError(
            f"Stability is measured under noise, but its standard deviation is {noise}. "
            "Give a small number above 0, such as 0.1 for standardised data."
        )
    if samples < 2:
        raise ValueError(
            f"A variance needs two draws of the noise at least, but samples is {samples}. "
            "Give some dozens."
        )
    if tau is not None and not 0 < tau < math.inf:
        raise ValueError(
            f"tau is how far a hidden number moves from x, but is {tau}. Give a number above 0, "
            "such as 1 for standardised data, or None for the baseline itself."
        )
