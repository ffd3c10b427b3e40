"""Input invariance: does a shift of the input that the model undoes leave an explanation alone?"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.evaluation.randomization.weights import copied
from unmask.internals import admit_any
from unmask.results import Rating
from unmask.score import Score


@method("kindermans2019unreliability")
def input_invariance(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    shift: float | Float[Tensor, "*shift"] = 1.0,
    explain_shifted: Explain | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Shift the inputs, let the model undo it, and see whether the explanation stays.

    $$
    \frac{\sum_i |A_i(F, x) - A_i(F', x + s)|}{\sum_i |A_i(F, x)|}, \qquad F'(x) = F(x - s)
    $$

    F' says of the shifted inputs what F says of the inputs, so that what they owe to each part
    is the same: lower is better, and 0 is right. A gradient passes; what multiplies by the input
    does not. Where an explanation starts from a baseline, that is an input too: let it move along,
    and integrated gradients pass as well. An explanation of zeros has no size, and NaN for its
    rating.

    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> model = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> x = torch.tensor([[1.0, 3.0]])
    >>> times_input = lambda score, x: Attribution(x * model.weight.detach())
    >>> input_invariance(logit(model, 0), x, explain=times_input).values.tolist()
    [0.5]

    Args:
        score: F.
        x: the inputs.
        explain: A.
        shift: s, of every number or of each by itself.
        explain_shifted: A of F' and shifted inputs, where it differs, such as by its baseline.
        batch_size: inputs that are explained at a time.
    """
    admit_any(score, x, batch_size)
    s = torch.as_tensor(shift, dtype=x.dtype, device=x.device)
    admission.finite("The shift", s)
    if s.ndim > 0 and s.shape != x.shape[1:]:
        raise ValueError(
            f"The shift has shape {tuple(s.shape)}, but one input {tuple(x.shape[1:])}. "
            "Give one number, or one for each place of an input."
        )
    if not s.any():
        raise ValueError("A shift of zero changes nothing. Give another, such as 1.0.")
    counted = Counted(explain)
    here = explained(score, x, counted, batch_size=batch_size).values
    moved = Counted(explain_shifted or explain)
    there = explained(_undone(score, s), x + s, moved, batch_size=batch_size).values
    if there.shape != here.shape:
        raise ValueError(
            f"The explanation of the shifted inputs has shape {tuple(there.shape)}, that of the "
            f"inputs {tuple(here.shape)}. Explain both in the same way."
        )
    size = here.double().abs().flatten(1).sum(1)
    change = (here.double() - there.double()).abs().flatten(1).sum(1)
    spent, more = counted.evaluations, moved.evaluations
    return Rating(
        torch.where(size > 0, change / size, torch.nan),
        False,
        evaluations=None if spent is None or more is None else spent + more,
    )


def _undone(score: Score, shift: Tensor) -> Score:
    """The score of the model that takes a shift off its input first."""
    model = score.model
    if not isinstance(model, nn.Module):
        return replace(score, model=lambda x: model(x - shift))
    # Within a copy, not around it, so that its layers keep their names.
    other = copied(model)
    other.register_forward_pre_hook(
        lambda _, inputs: (inputs[0] - shift, *inputs[1:]), prepend=True
    )
    return replace(score, model=other)
