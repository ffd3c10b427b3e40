"""Explanations that a metric must make anew: of other inputs, or of another model."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.results import Attribution
from unmask.score import Score

Explain = Callable[[Score, Tensor], Attribution]
"""What makes an explanation of each of a batch of inputs, such as `integrated_gradients` with its
baseline filled in."""


def explained(
    score: Score,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    *,
    rows: Int[Tensor, " batch"] | None = None,
    batch_size: int | None = None,
) -> Attribution:
    """What an explanation says of a batch, in float32 at least, checked; its names stay.

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanation.
        rows: the input whose class is meant, where those of x are made from others.
        batch_size: inputs that are explained at a time; by default all of them.
    """
    admission.batched(batch_size)
    if rows is None:
        rows = torch.arange(len(x), device=x.device)
    parts = []
    names: set[tuple[str, ...] | None] = set()
    for some in torch.arange(len(x), device=x.device).split(batch_size or max(1, len(x))):
        made = explain(score.at(rows[some]), x[some])
        if not isinstance(made, Attribution):
            raise TypeError(
                f"The explanation is a {type(made).__name__}. Give a function of a score and "
                "inputs that returns an Attribution."
            )
        values = made.values.detach()
        if len(values) != len(some):
            raise ValueError(
                f"The explanation has shape {tuple(values.shape)} for {len(some)} inputs. "
                "Return one row of values per input."
            )
        admission.finite("The explanation", values)
        parts.append(values.to(torch.promote_types(values.dtype, torch.float32)))
        names.add(made.names)
    if len(names) > 1:
        raise ValueError(
            f"The columns of the explanation are called {' and '.join(map(str, names))} in turn. "
            "Return the same names, in the same order, for all inputs."
        )
    return Attribution(torch.cat(parts), names=names.pop())
