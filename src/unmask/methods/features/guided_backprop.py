"""Guided backpropagation."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.features.rectified import rectified_gradient
from unmask.operations import Operation
from unmask.results import Attribution
from unmask.score import Score


@method("springenberg2015striving", axioms=("dummy",))
def guided_backprop(
    score: Score, x: Float[Tensor, "batch *input"], *, batch_size: int | None = None
) -> Attribution:
    r"""Follow the gradient only where both the unit and what comes from above are positive.

    $$
    s_z = s_a \cdot [z > 0] \cdot [s_a > 0] \qquad \text{at every } a = \mathrm{relu}(z)
    $$

    $s$ is what is handed back in place of the gradient. The pictures are sharp because they show
    what the input holds, such as edges: they hardly change when the upper layers are drawn anew at
    random, so they are no evidence of what the network has learned [adebayo2018sanity].

    Args:
        score: F, of a model whose activations are ReLUs, as modules or functions, in place or not.
        x: the inputs.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> import torch
    >>> from unmask.score import logit
    >>> difference = logit(lambda x: x[:, 0].relu() - x[:, 1].relu(), 0)
    >>> guided_backprop(difference, torch.ones(1, 2)).values
    tensor([[1., 0.]])
    """
    return rectified_gradient(score, x, _guided, batch_size)


def _guided(operation: Operation) -> Tensor:
    a = operation()
    a.register_hook(lambda s: s.clamp_min(0))  # and then the way back of the ReLU itself
    return a
