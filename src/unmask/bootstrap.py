"""How sure a number is that comes from some inputs out of many."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 1000
CONFIDENCE = 0.95

Statistics = Mapping[str, Tensor]
"""Numbers and curves by name, one row for each draw."""
Bounds = Mapping[str, tuple[float, float]]
NO_BOUNDS: Bounds = {}


def bootstrap(
    statistics: Callable[..., Statistics],
    *inputs: int,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
    bounds: Bounds = NO_BOUNDS,
) -> dict[str, Tensor]:
    """What statistics are on the inputs, each followed by the ends of its interval.

    They come as `name`, `name_low` and `name_high`. Statistics of means are one matrix product
    away from all their draws: they get the weights that make a mean of the inputs, a row for each
    draw, for as many groups of inputs as there are, each drawn by itself.

    Args:
        statistics: of the weights of each group.
        inputs: how many there are in each group.
        draws: how often inputs are drawn anew.
        confidence: the share of the draws that an interval holds.
        generator: source of the draws.
        bounds: between which values some statistics lie by their nature, by name.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    found = statistics(*(torch.full((1, n), 1 / n, dtype=torch.float64) for n in inputs))
    drawn = statistics(*(resampled(n, draws, generator) for n in inputs))
    first = {name: value[0] for name, value in found.items()}
    return surrounded(first, drawn, confidence, bounds)


def surrounded(
    found: Statistics, drawn: Statistics, confidence: float, bounds: Bounds = NO_BOUNDS
) -> dict[str, Tensor]:
    """Each statistic, followed by the ends of its interval.

    Args:
        found: the statistics on the inputs themselves.
        drawn: the same on inputs drawn anew, one row for each draw.
        confidence: the share of the draws that an interval holds.
        bounds: between which values some statistics lie by their nature, by name.
    """
    together: dict[str, Tensor] = {}
    for name, value in found.items():
        low, high = interval(value, drawn[name], confidence)
        if name in bounds:
            low, high = low.clamp(*bounds[name]), high.clamp(*bounds[name])
        together |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return together


def resampled(inputs: int, draws: int, generator: torch.Generator) -> Float[Tensor, "draws inputs"]:
    """Inputs drawn anew with replacement, each draw as the weights that make a mean of them.

    A single input tells nothing of its like, so its weights are NaN, and so is every interval
    made of them.

    Args:
        inputs: how many there are.
        draws: how often to draw as many as that.
        generator: source of the draws.
    """
    if inputs < 1 or draws < 2:
        raise ValueError(
            f"Intervals come from inputs that are drawn anew, but got {inputs} inputs and {draws} "
            "draws. Give one input and two draws at least."
        )
    shape = (draws, inputs)
    chosen = torch.randint(inputs, shape, generator=generator, device=generator.device).cpu()
    weights = torch.zeros(draws, inputs, dtype=torch.float64)
    if inputs == 1:
        return weights * torch.nan
    return weights.scatter_add_(1, chosen, torch.ones_like(weights)) / inputs


def interval(
    found: Float[Tensor, "*shape"], draws: Float[Tensor, "draws *shape"], confidence: float
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Between which values a statistic lies, from what it was on inputs drawn anew.

    The draws are moved so that their mean lies at what was found: where inputs repeat, a distance
    looks larger and a similarity smaller, which must not pass for knowledge. What is not a number
    in some draws is left out of them.

    Args:
        found: the statistic on the inputs themselves.
        draws: the same on each draw of `resampled`.
        confidence: the share of the draws that the interval holds.
    """
    return middle(draws + (found - draws.nanmean(0)), confidence)


def middle(
    draws: Float[Tensor, "draws *shape"], confidence: float
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Between which values the middle share of the draws lies.

    Args:
        draws: a statistic on each draw; NaN is left out.
        confidence: the share.
    """
    if not 0 < confidence < 1:
        raise ValueError(
            f"The confidence is a share of the draws, but got {confidence}. "
            "Give a number between 0 and 1."
        )
    tail = (1 - confidence) / 2
    known = draws.cpu()  # on a GPU, torch loses a whole column to its NaN here
    low, high = (known.nanquantile(place, 0).to(draws.device) for place in (tail, 1 - tail))
    return low, high


def means(
    weights: Float[Tensor, "draws inputs"], values: Float[Tensor, "inputs *shape"]
) -> Float[Tensor, "draws *shape"]:
    """The mean of values on each draw. What is not a number is left out of it.

    Args:
        weights: a row for each draw.
        values: of each input.
    """
    weights = weights.to(values)
    known = ~values.isnan()
    rows = torch.where(known, values, 0).reshape(len(values), -1)
    total, share = weights @ rows, weights @ known.to(weights).reshape(len(values), -1)
    return (total / share).reshape(len(weights), *values.shape[1:])
