"""Run-to-run similarity: how much of an explanation is chance."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import internals
from unmask.card import method
from unmask.evaluation.association import constant, ranks
from unmask.evaluation.explained import Explain, explained
from unmask.masking import cached_rows
from unmask.results import Rating
from unmask.score import Score


@method("visani2022statistical")
def run_to_run(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    runs: Sequence[Explain],
    batch_size: int | None = None,
) -> Rating:
    r"""How alike explanations are that differ in their random draws alone.

    $$
    \frac{2}{R (R - 1)} \sum_{q < r} \rho\bigl(\Phi_q(x), \Phi_r(x)\bigr)
    $$

    rho is the rank correlation. An explanation without chance has 1. Give each run draws of its
    own, as `[partial(rise, generator=torch.Generator().manual_seed(i)) for i in range(5)]`: what is
    given no generator here draws the same at every call, and would seem sure of itself. It is NaN
    where a run says the same of all parts.

    >>> from unmask import Attribution, logit
    >>> runs = [lambda score, x: Attribution(x), lambda score, x: Attribution(-x)]
    >>> run_to_run(logit(lambda x: x, 0), torch.tensor([[1.0, 3.0, 2.0]]), runs=runs).mean
    -1.0

    Args:
        score: what is explained.
        x: the inputs.
        runs: makers of the explanation Phi, alike but for their generators.
        batch_size: inputs that are explained at a time, by default what a processor's cache holds.
    """
    internals.admit_any(score, x, batch_size)
    if len(runs) < 2:
        raise ValueError(
            f"Runs are compared with each other, but there are {len(runs)}. "
            "Give two at least, each with a generator of its own."
        )
    count = len(runs)
    values = []
    for some in torch.arange(len(x), device=x.device).split(batch_size or cached_rows(x[0])):
        # The square of a sum of unit vectors holds all their products: no run is kept.
        total: Tensor = torch.zeros(1, dtype=torch.float64, device=x.device)
        for explain in runs:
            made = explained(score.at(some), x[some], explain).values.flatten(1)
            if total.ndim == 2 and total.shape != made.shape:
                raise ValueError(
                    f"Runs are compared number by number, but one has {made.shape[1]} values per "
                    f"input and another {total.shape[1]}. Give runs that differ by chance alone."
                )
            total = total + _unit(made)
        values.append((total.square().sum(1) - count) / (count * (count - 1)))
    found = torch.cat(values).clamp(-1, 1)
    return Rating(found, higher_is_better=True)


def _unit(values: Tensor) -> Float[Tensor, "batch numbers"]:
    """The ranks about their mean, of length 1, so that products of them are correlations."""
    places = ranks(values)
    places = places - places.mean(1, keepdim=True)
    unit = places / places.norm(dim=1, keepdim=True)
    return torch.where(constant(values)[:, None], torch.nan, unit)
