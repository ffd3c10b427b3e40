"""Gradient saliency."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.results import Attribution
from unmask.score import Score


@method("simonyan2014deep", axioms=("dummy", "linearity"))
def gradient(score: Score, x: Float[Tensor, "batch *input"]) -> Attribution:
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

    >>> import torch
    >>> from unmask.score import logit
    >>> gradient(logit(lambda x: x[:, 0] * x[:, 1], 0), torch.tensor([[2.0, 3.0]])).values
    tensor([[3., 2.]])
    """
    admit(score, x)
    _, values = value_and_gradient(score, x)
    return Attribution(values, evaluations=len(x))
