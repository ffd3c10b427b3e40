"""Implementation invariance: whether networks that compute the same are explained the same."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import internals
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.masking import cached_rows
from unmask.results import Rating
from unmask.score import Score


@method("sundararajan2017axiomatic")
def implementation_invariance(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    rewritten: Score,
    explain: Explain,
    tolerance: float = 1e-3,
    batch_size: int | None = None,
) -> Rating:
    r"""By how much the explanation changes when the same function is computed in another way.

    $$
    \frac{\max_i |\Phi_i(F, x) - \Phi_i(F', x)|}{\max_i |\Phi_i(F, x)|}
    \qquad \text{where } F = F'
    $$

    As by a network whose batch normalisation is merged into the convolution before it, or one of
    whose linear layers is split in two. Whatever asks the function alone, or its gradient, gives
    0 but for rounding; rules that are applied layer by layer need not. It is NaN where all of
    the explanation is zero.

    >>> from unmask import Attribution, logit
    >>> one, other = logit(lambda x: 2 * x, 0), logit(lambda x: x + x, 0)
    >>> rating = implementation_invariance(
    ...     one, torch.ones(1, 1), rewritten=other,
    ...     explain=lambda score, x: Attribution(score(x)[:, None]),
    ... )
    >>> rating.mean
    0.0

    Args:
        score: F.
        x: the inputs.
        rewritten: F', the same function of x, computed in another way.
        explain: makes the explanation Phi of either.
        tolerance: by what share of the largest score the two may differ and still be the same.
        batch_size: inputs that are explained at a time, by default what a processor's cache holds.
    """
    internals.admit_any(score, x, batch_size)
    internals.one_class_each(rewritten, len(x))
    rows = batch_size or cached_rows(x[0])
    values = []
    for some in torch.arange(len(x), device=x.device).split(rows):
        one, other = score.at(some), rewritten.at(some)
        _refuse_another(one, other, x[some], tolerance)
        here = explained(one, x[some], explain).values.flatten(1)
        there = explained(other, x[some], explain).values.flatten(1)
        if here.shape != there.shape:
            raise ValueError(
                f"The explanation has {here.shape[1]} values, but that of the rewritten score "
                f"{there.shape[1]}. Explain both in the same way."
            )
        most = here.abs().amax(1)
        moved = (here - there).abs().amax(1)
        values.append(torch.where(most > 0, moved / most, torch.nan))
    return Rating(torch.cat(values), higher_is_better=False)


@torch.inference_mode(False)
@torch.no_grad()
def _refuse_another(score: Score, rewritten: Score, x: Tensor, tolerance: float) -> None:
    """Refuse a score that is another function: it must be explained in another way."""
    one, other = score(x.clone()).double(), rewritten(x.clone()).double()
    apart = (one - other).abs()
    # Where rounding is coarse, so is the comparison.
    least = max(tolerance, 4 * torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0)
    if (apart > least * one.abs().amax().clamp(min=1e-6)).any():
        raise ValueError(
            f"The rewritten score is another function: on these inputs it differs by up to "
            f"{float(apart.max()):.3g}, where the score is up to {float(one.abs().max()):.3g}. "
            "Give one that computes the same in another way, in evaluation mode."
        )
