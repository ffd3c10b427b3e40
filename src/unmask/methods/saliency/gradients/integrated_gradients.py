"""Integrated gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit
from unmask.methods.saliency.gradients.line_integral import Lines, by_gauss, to_gap
from unmask.results import Attribution
from unmask.score import Score

_STEPS, _MOST = 64, 512
"""Nodes of the fixed rule, and the most that are spent on a wanted gap."""


@method("sundararajan2017axiomatic", axioms=("completeness", "dummy", "symmetry", "linearity"))
def integrated_gradients(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    steps: int | None = None,
    gap: float | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Add up the gradient along the straight line from the baseline to the input.

    $$
    A_i(x) = (x_i - x'_i) \int_0^1 \partial_i F\bigl(x' + \alpha (x - x')\bigr)\, d\alpha
    $$

    The attributions sum to F(x) - F(x') but for what the quadrature misses of that sum, which is
    `gap` of the result. Without a wanted gap the integral is taken by Gauss-Legendre quadrature:
    best where F is smooth, exact for polynomials. With one it is taken by trapezoids, and for each
    input more nodes are placed where the line bends, until they miss no more than that share of
    |F(x) - F(x')|: better for networks with kinks, such as ReLU. Nodes may run out first, and where
    F(x) is almost F(x') they will; the gap of the result tells.

    A small gap is necessary, not sufficient, as errors of single parts cancel in the sum. On ReLU
    networks from a small perceptron to SqueezeNet, with a wanted gap of 0.01, the attributions
    were off by 0.01 to 0.08 of their L1 norm, and with 50 fixed nodes by 0.002 to 0.03.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing"; with one axis more, a set of them that
            is averaged over.
        steps: nodes per input, 64 by default; with a wanted gap the most there may be, 512.
        gap: what may be missed of F(x) - F(x'), as a share of it, such as 0.01.
        batch_size: points in one call of the model, by default as many as inputs. With a wanted
            gap it is also the number of inputs whose gradients, one per node, are in memory.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] ** 2 * x[:, 1], 0)
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> integrated_gradients(product, x, baseline=torch.zeros(2), steps=2).values
    tensor([[8.0000, 4.0000]])
    """
    admit(score, x)
    _check(score, x, steps, gap, batch_size)
    backgrounds = admission.baseline_for(x[0], baseline)
    if backgrounds.ndim < x.ndim:
        backgrounds = backgrounds[None]
    x = x.detach()
    rows = torch.arange(len(x), device=x.device)
    size = batch_size or len(x)

    values, change, evaluations = torch.zeros_like(x), 0.0, 0
    for background in backgrounds:
        lines = Lines(score, background.expand_as(x), x, size)
        if gap is None:
            means = [by_gauss(lines, steps or _STEPS)]
        else:
            means = [to_gap(lines, some, gap, steps or _MOST) for some in rows.split(size)]
        mean = torch.cat([part.gradient for part in means])
        values = values + (x - background) * mean / len(backgrounds)
        change = change + torch.cat([part.change for part in means]) / len(backgrounds)
        evaluations += sum(part.points for part in means)
    values = values.to(x.dtype)
    left = change - values.double().reshape(len(x), -1).sum(1)
    return Attribution(values, gap=left, evaluations=evaluations)


def _check(
    score: Score, x: Tensor, steps: int | None, gap: float | None, batch_size: int | None
) -> None:
    if score.targets not in (None, len(x)):
        raise ValueError(
            f"The {score.name} is of {score.targets} inputs, but x holds {len(x)}. "
            "Give one class, or one class per input."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"A batch of {batch_size} inputs is too small. Give at least 1.")
    if gap is not None and not gap > 0:
        raise ValueError(f"No quadrature meets a gap of {gap}. Give a share above 0, such as 0.01.")
    least = 1 if gap is None else 2
    if steps is not None and steps < least:
        raise ValueError(f"{steps} nodes are too few for an integral. Give at least {least}.")
