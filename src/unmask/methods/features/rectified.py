"""Gradients with another way back through every ReLU."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.internals import admit, value_and_gradient
from unmask.operations import Operation, Replaced, UnsupportedLayer, place
from unmask.results import Attribution
from unmask.score import Score


def rectified_gradient(
    score: Score,
    x: Float[Tensor, "batch *input"],
    way_back: Callable[[Operation], Tensor],
    batch_size: int | None,
) -> Attribution:
    """The gradient of the score, each ReLU being handed back by a rule of its own.

    Args:
        score: F.
        x: the inputs.
        way_back: runs a ReLU, in place where the model does, with another backward pass.
        batch_size: inputs in one call of the model, all of them if not given.
    """
    admit(score, x, batch_size)
    met = 0

    def rectify(operation: Operation) -> Any:
        nonlocal met
        if not operation.differentiable:
            return operation()
        if operation.name != "relu":
            raise _unsupported(operation, score)
        met += 1
        return way_back(operation)

    def smooth(operation: Operation) -> Any:
        # A curve may also be part of a norm, or of the number that is read in the end.
        if operation.differentiable and operation.name in _ACTIVATIONS:
            raise _unsupported(operation, score)
        return operation()

    with Replaced({"relu": rectify, "curve": smooth}, as_called=frozenset({"relu"})):
        parts = [
            value_and_gradient(score, x[rows], rows)[1]
            for rows in torch.arange(len(x), device=x.device).split(batch_size or len(x))
        ]
    if not met:
        warnings.warn(
            "The model has no ReLU on the way from x to the score, so this is its gradient. "
            "Use gradient, or a model with ReLUs.",
            stacklevel=3,
        )
    return Attribution(torch.cat(parts), evaluations=len(x))


_ACTIVATIONS = ("gelu", "silu", "tanh", "sigmoid", "elu", "celu", "selu", "softplus", "mish",
                "hardswish", "hardsigmoid", "logsigmoid", "softsign", "tanhshrink")  # fmt: skip


def _unsupported(operation: Operation, score: Score) -> UnsupportedLayer:
    return UnsupportedLayer(
        f"This way back is defined for ReLU alone, but the model runs {operation.name!r} in "
        f"{place(score.model)!r}. Use gradient, or a rule of lrp, which knows other activations."
    )
