"""Gradient saliency, alone and times the input."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.stream import rows_at_once
from unmask.results import Attribution
from unmask.score import Score


@method("simonyan2014deep", axioms=("dummy", "linearity"))
def gradient(
    score: Score, x: Float[Tensor, "batch *input"], *, batch_size: int | None = None
) -> Attribution:
    r"""Ask how fast the score changes with each part of the input.

    $$
    A_i(x) = \frac{\partial F}{\partial x_i}(x)
    $$

    The sign is kept. The published picture of an image is the largest |A| over its colour
    channels, `values.abs().amax(1)`. The gradient speaks of small changes only: where the score
    is saturated it is zero, however much the input matters, and it sums to nothing in particular.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        batch_size: inputs in one call of the model, by default what a processor's cache holds.

    >>> import torch
    >>> from unmask.score import logit
    >>> gradient(logit(lambda x: x[:, 0] * x[:, 1], 0), torch.tensor([[2.0, 3.0]])).values
    tensor([[3., 2.]])
    """
    admit(score, x, batch_size)
    rows = torch.arange(len(x), device=x.device)
    parts = [
        value_and_gradient(score, x[some], some)[1]
        for some in rows.split(rows_at_once(x, batch_size))
    ]
    return Attribution(torch.cat(parts), evaluations=len(x))


@method("shrikumar2016not", axioms=("dummy", "linearity"))
def input_x_gradient(
    score: Score, x: Float[Tensor, "batch *input"], *, batch_size: int | None = None
) -> Attribution:
    r"""Multiply each part of the input by how fast the score changes with it.

    $$
    A_i(x) = x_i \frac{\partial F}{\partial x_i}(x)
    $$

    It is what each part adds to the plane that touches F at x. A network of linear layers and
    ReLU without biases is such a plane, and then the values sum to F(x); else they sum to nothing
    in particular. What is zero gets nothing, so it matters what zero means: centre the inputs.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        batch_size: inputs in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> input_x_gradient(logit(lambda x: x[:, 0] ** 2 * x[:, 1], 0), torch.tensor([[2.0, 3.0]]))
    Attribution(values=tensor([[24., 12.]]), gap=None, names=None, evaluations=1, errors=None)
    """
    found = gradient(score, x, batch_size=batch_size)
    return Attribution(x.detach() * found.values, evaluations=found.evaluations)
