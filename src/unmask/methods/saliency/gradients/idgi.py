"""IDGI: the change of the score, shared out along the gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.line_integral import between
from unmask.methods.saliency.gradients.stream import blocks, rows_at_once, rows_of, wide
from unmask.results import Attribution
from unmask.score import Score


@method("yang2023idgi", axioms=("completeness", "dummy", "symmetry"))
def idgi(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    steps: int = 64,
    batch_size: int | None = None,
) -> Attribution:
    r"""Share out every change of the score on the way to the input by the squared gradient there.

    $$
    A_i(x) = \sum_{j=0}^{n-1} \bigl( F(x_{j+1}) - F(x_j) \bigr)
             \frac{ g_i(x_j)^2 }{ \sum_k g_k(x_j)^2 }, \qquad
    x_j = x' + \tfrac jn (x - x'), \quad g = \nabla F
    $$

    The values sum to F(x) - F(x') whatever the number of steps, but for steps that begin where
    the gradient is zero: what those change is left out, and is the `gap` of the result.

    It was made to leave noise out of integrated gradients: only the part of each step that runs
    along the gradient changes F, and that part alone is shared out. The price is that x - x'
    appears no more: a part of the input that is equal to the baseline gets a value too.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing".
        steps: n, gradients per input.
        batch_size: points in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> plane = logit(lambda x: 3 * x[:, 0] + 4 * x[:, 1], 0)
    >>> idgi(plane, torch.tensor([[5.0, 0.0]]), baseline=torch.zeros(2), steps=4).values
    tensor([[5.4000, 9.6000]])
    """
    admit(score, x, batch_size)
    if steps < 1:
        raise ValueError(f"{steps} steps lead nowhere. Give at least 1.")
    x = x.detach()
    start = admission.one_baseline_for(x[0], baseline).expand_as(x)
    size = rows_at_once(x, batch_size)
    # The last place asks for no gradient, but a score alone; it is met at the end.
    alpha = torch.arange(steps, dtype=torch.float64, device=x.device) / steps
    values = torch.zeros_like(x, dtype=wide(x.dtype))
    share, height = torch.zeros_like(values), values.new_zeros(len(x), dtype=torch.float64)
    first = height.clone()
    for draws, inputs in blocks(len(x), steps, size):
        points = between(start[inputs], x[inputs], alpha[draws, None])
        rows = rows_of(inputs, len(points), x.device)
        found, gradient = value_and_gradient(score, points.flatten(0, 1), rows)
        heights = found.double().unflatten(0, points.shape[:2])
        shares = _shares(gradient.to(values)).unflatten(0, points.shape[:2])
        if draws.start == 0:
            first[inputs] = heights[0]
        else:
            heights = torch.cat([height[None, inputs], heights])
            shares = torch.cat([share[None, inputs], shares])
        values[inputs] += torch.einsum(
            "nb,nb...->b...", heights.diff(dim=0).to(values), shares[:-1]
        )
        share[inputs], height[inputs] = shares[-1], heights[-1]
    with torch.no_grad():
        everyone = torch.arange(len(x), device=x.device)
        last = torch.cat([score(x[some], some).double() for some in everyone.split(size)])
    values += (last - height).to(values).view(-1, *[1] * (x.ndim - 1)) * share
    values = values.to(x.dtype)
    left = last - first - values.double().reshape(len(x), -1).sum(1)
    return Attribution(values, gap=left, evaluations=(steps + 1) * len(x))


def _shares(gradient: Float[Tensor, "points *input"]) -> Float[Tensor, "points *input"]:
    """The squares of each gradient as shares of their sum; none where all are zero."""
    flat = gradient.reshape(len(gradient), -1)
    largest = flat.abs().amax(1, keepdim=True)
    squares = (flat / torch.where(largest > 0, largest, 1)).square()  # which cannot underflow
    total = squares.sum(1, keepdim=True)
    return (squares / torch.where(total > 0, total, 1)).view_as(gradient)
