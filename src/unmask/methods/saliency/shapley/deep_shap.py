"""DeepSHAP."""

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.propagation.differences import contributions
from unmask.results import Attribution
from unmask.score import Score


@method("lundberg2017unified", axioms=("completeness", "dummy", "symmetry", "linearity"))
def deep_shap(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    batch_size: int | None = None,
) -> Attribution:
    r"""Approximate Shapley values by DeepLIFT, averaged over a sample of backgrounds.

    $$
    A_i(x) = \frac1K \sum_{k=1}^K m_i(x, b_k)\,(x_i - b_{k,i})
    $$

    m being DeepLIFT's multipliers (the chords of the Rescale rule, from operation to operation).
    The attributions sum to F(x) less the mean of F(b_k), and `gap` is what rounding leaves of that.
    They are the Shapley values of the game that replaces hidden inputs by those of a background
    where the network is linear between the two; elsewhere an approximation whose error the sum
    does not show.

    The model runs on the inputs once and on each background once; only the way back is taken for
    each pair.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: b, a set of backgrounds; a single one gives DeepLIFT.
        batch_size: rows in one call of the model, by default as many as there are inputs.

    >>> import torch
    >>> from torch import nn
    >>> from unmask.score import logit
    >>> hinge = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    >>> _ = nn.init.ones_(hinge[0].weight), nn.init.constant_(hinge[0].bias, -1.0)
    >>> backgrounds = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> deep_shap(logit(hinge, 0), torch.ones(1, 2), baseline=backgrounds).values
    tensor([[0.2500, 0.7500]])
    """
    return contributions(score, x, baseline, batch_size, cancelling=False)
