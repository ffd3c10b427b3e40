"""Deconvolution network, with pooling switches."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.features.rectified import rectified_gradient
from unmask.operations import Operation
from unmask.results import Attribution
from unmask.score import Score


@method("zeiler2014visualizing", axioms=("dummy",))
def deconvnet(
    score: Score, x: Float[Tensor, "batch *input"], *, batch_size: int | None = None
) -> Attribution:
    r"""Run the network backwards: rectify what comes from above, whatever the unit said.

    $$
    s_z = s_a \cdot [s_a > 0] \qquad \text{at every } a = \mathrm{relu}(z)
    $$

    $s$ is what is handed back in place of the gradient. Convolutions are handed back transposed
    and maxima to where they were taken (the switches), as by the gradient. Like guided
    backpropagation the pictures say much of the input and little of what the network has learned
    [adebayo2018sanity].

    Args:
        score: F, of a model whose activations are ReLUs, as modules or functions, in place or not.
        x: the inputs.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> total = logit(lambda x: x[:, 0].relu() + x[:, 1].relu(), 0)
    >>> deconvnet(total, torch.tensor([[-1.0, 1.0]])).values
    tensor([[1., 1.]])
    """
    return rectified_gradient(score, x, _deconvolved, batch_size)


class _Deconvolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, in_place: bool) -> Tensor:
        if not in_place:
            return z.relu()
        ctx.mark_dirty(z)
        return z.relu_()

    @staticmethod
    def backward(ctx: Any, *s: Tensor) -> tuple[Tensor, None]:
        return s[0].clamp_min(0), None


def _deconvolved(operation: Operation) -> Tensor:
    found = _Deconvolved.apply(operation.argument(0, "input"), operation.in_place)
    assert isinstance(found, Tensor)
    return found
