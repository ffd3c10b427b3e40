"""Models that take batches of certain sizes only."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_fitting_batches(
    call: Callable[[Tensor], Tensor], x: Tensor, smallest: int, largest: int | None
) -> Tensor:
    """Run a model on any number of rows, though it takes only `smallest` to `largest` at a time.

    A batch that is too small is filled up with copies of its last row, whose outputs are dropped.

    Args:
        call: the model.
        x: the rows.
        smallest: rows that a call needs at least.
        largest: rows that a call takes at most; None for any number.
    """
    outputs = []
    for part in x.split(largest or max(1, len(x))):
        lacking = smallest - len(part)
        if lacking > 0:
            filler = part[-1:].expand(lacking, *part.shape[1:])
            outputs.append(call(torch.cat([part, filler]))[: len(part)])
        else:
            outputs.append(call(part))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
