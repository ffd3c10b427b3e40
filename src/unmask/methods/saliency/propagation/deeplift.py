"""DeepLIFT."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.propagation.differences import contributions
from unmask.results import Attribution
from unmask.score import Score


@method("shrikumar2017learning", axioms=("completeness", "dummy", "symmetry", "linearity"))
def deeplift(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand back the difference from a baseline, each kink by the slope of its chord (Rescale).

    $$
    A_i(x) = m_i\,(x_i - x'_i), \qquad
    m = \prod_{\text{operations}} \frac{f(a) - f(a')}{a - a'}
    $$

    The chain rule with chords in place of derivatives: a ReLU that is shut at x but open at x'
    still hands something back. The attributions sum to F(x) - F(x'), and `gap` is what rounding
    and quadrature leave of that. Linear operations are handed back as by the gradient, products by
    the mean of the other factor, a maximum over a window by the winner at x and the winner at x'
    in proportion to how far each has moved. Whatever else autograd can differentiate (softmax,
    attention, normalisation, recurrent layers) is handed back by its mean derivative between the
    two inputs, taken with 16 nodes.

    The rules speak of operations, so it matters how a network is written: two networks that
    compute the same may get different attributions.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing"; with one axis more, a set of them that
            is averaged over.
        batch_size: inputs in one call of the model, by default as many as there are.

    >>> import torch
    >>> from torch import nn
    >>> from unmask.score import logit
    >>> hinge = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> _ = nn.init.ones_(hinge[0].weight), nn.init.constant_(hinge[0].bias, -1.0)
    >>> deeplift(logit(hinge, 0), torch.ones(1, 2), baseline=torch.zeros(2)).values
    tensor([[0.5000, 0.5000]])
    """
    return contributions(score, x, baseline, batch_size, cancelling=False)


@method("shrikumar2017learning", axioms=("completeness", "dummy", "symmetry", "linearity"))
def deeplift_reveal_cancel(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    batch_size: int | None = None,
) -> Attribution:
    r"""Hand back the difference from a baseline, raising and lowering parts apart (RevealCancel).

    $$
    \Delta y^{\pm} = \tfrac12 \bigl[ f(z' + \Delta z^{\pm}) - f(z') \bigr]
        + \tfrac12 \bigl[ f(z' + \Delta z) - f(z' + \Delta z^{\mp}) \bigr], \qquad
    m^{\pm} = \frac{\Delta y^{\pm}}{\Delta z^{\pm}}
    $$

    What a dense layer adds up, $\Delta z = \Delta z^+ + \Delta z^-$, is kept apart by its sign when
    the bend behind it is handed back, so that two large parts that cancel are both seen: of
    min(x_1, x_2) both inputs get their share, where Rescale gives all to one. Only a bend that
    stands directly behind a dense layer is treated so; convolutions and everything else follow
    Rescale, as in the paper. The attributions sum to F(x) - F(x'), but for `gap`.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing"; with one axis more, a set of them that
            is averaged over.
        batch_size: inputs in one call of the model, by default as many as there are.

    >>> import torch
    >>> from torch import nn
    >>> from unmask.score import logit
    >>> least = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> least[0].weight.data = torch.tensor([[1.0, -1.0], [1.0, 0.0]])
    >>> least[2].weight.data = torch.tensor([[-1.0, 1.0]])
    >>> x = torch.tensor([[3.0, 1.0]])
    >>> deeplift_reveal_cancel(logit(least, 0), x, baseline=torch.zeros(2)).values
    tensor([[0.5000, 0.5000]])
    """
    return contributions(score, x, baseline, batch_size, cancelling=True)
