"""Integrated gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit
from unmask.methods.saliency.gradients.adaptive_line import KEPT, Wish, to_precision
from unmask.methods.saliency.gradients.line_integral import Integral, Lines, by_gauss
from unmask.methods.saliency.gradients.stream import rows_at_once, wide
from unmask.results import Attribution
from unmask.score import Score

_STEPS, _MOST = 64, 513
"""Nodes of the fixed rule, and the most that are spent on a wanted precision."""
_ENOUGH = 25
"""Nodes at which the values are as precise as a wanted gap alone can ask for."""
_AT_HAND = 2**25
"""Bytes of gradients that may be kept beside a batch."""


@method("sundararajan2017axiomatic", axioms=("completeness", "dummy", "symmetry", "linearity"))
def integrated_gradients(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    steps: int | None = None,
    gap: float | None = None,
    error: float | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Add up the gradient along the straight line from the baseline to the input.

    $$
    A_i(x) = (x_i - x'_i) \int_0^1 \partial_i F\bigl(x' + \alpha (x - x')\bigr)\, d\alpha
    $$

    The attributions sum to F(x) - F(x') but for what the quadrature misses of that sum, which is
    `gap` of the result. Without a wish the integral is taken by Gauss-Legendre quadrature: best
    where F is smooth, exact for polynomials.

    With a wanted `gap` or `error` it is taken by trapezoids, and for each input more nodes are
    placed where the gradient changes: better for networks with kinks, such as ReLU. How much it
    changes from node to node tells how far off each value may be, its standard error (`errors`
    of the result); what the nodes miss of F(x) - F(x') is known, and is shared out among the
    values by how they changed along with the score. Nodes may run out before the wish is met: gap
    and errors tell.

    A small gap is no sign of precision, as errors of single values cancel in the sum, and since a
    miss that is shared out is gone. The error falls as one over the nodes where there are many
    kinks, whatever the rule. In the median over images, 50 nodes of Gauss were off by 1.2 % of the
    L1 norm for a LeNet and by 2.8 % for a ResNet-20 (of whose score they missed 2.6 %); 25 nodes
    of a wanted gap were off by 1.5 % and 4.3 %, as their standard errors said.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing"; with one axis more, a set of them that
            is averaged over.
        steps: nodes per input, 64 by default; with a wish the most there may be, 513.
        gap: what may be missed of F(x) - F(x'), as a share of it, such as 0.01. Without a wanted
            error, nodes are added until the values are as precise, but no more than 25 for that.
        error: how far off the values may be expected to be, as a share of their L1 norm; without
            a wanted gap, that is as small.
        batch_size: points in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] ** 2 * x[:, 1], 0)
    >>> x = torch.tensor([[2.0, 3.0]])
    >>> integrated_gradients(product, x, baseline=torch.zeros(2), steps=2).values
    tensor([[8.0000, 4.0000]])
    """
    admit(score, x, batch_size)
    _check(steps, gap, error)
    backgrounds = admission.backgrounds_for(x[0], baseline)
    x = x.detach()
    size = rows_at_once(x, batch_size)
    wish = None
    if gap is not None or error is not None:
        most = steps or _MOST
        wish = Wish(gap or error or 0, error or gap or 0, most, _ENOUGH if error is None else most)

    values, squares, change, evaluations = x.new_zeros(()), x.new_zeros(()), 0.0, 0
    for background in backgrounds:
        lines = Lines(score, background.expand_as(x), x, size)
        found = by_gauss(lines, steps or _STEPS) if wish is None else _to(wish, lines)
        values = values + found.values / len(backgrounds)
        change = change + found.change / len(backgrounds)
        evaluations += found.points
        if found.errors is not None:
            squares = squares + (found.errors / len(backgrounds)).square()
    values = values.to(x.dtype)
    left = change - values.double().reshape(len(x), -1).sum(1)
    errors = None if wish is None else squares.sqrt().to(x.dtype)
    return Attribution(values, gap=left, evaluations=evaluations, errors=errors)


def _to(wish: Wish, lines: Lines) -> Integral:
    """All lines, as many at a time as there is room for their gradients."""
    one = lines.end[0].numel() * wide(lines.end.dtype).itemsize * KEPT
    rows = torch.arange(len(lines.end), device=lines.end.device)
    parts = [to_precision(lines, some, wish) for some in rows.split(max(1, _AT_HAND // one))]
    errors = [part.errors for part in parts if part.errors is not None]
    return Integral(
        torch.cat([part.values for part in parts]),
        torch.cat([part.change for part in parts]),
        sum(part.points for part in parts),
        torch.cat(errors),
    )


def _check(steps: int | None, gap: float | None, error: float | None) -> None:
    for name, wanted in (("gap", gap), ("error", error)):
        if wanted is not None and not wanted > 0:
            raise ValueError(
                f"No quadrature meets a wanted {name} of {wanted}. "
                "Give a share above 0, such as 0.01."
            )
    least = 1 if gap is None and error is None else 2
    if steps is not None and steps < least:
        raise ValueError(f"{steps} nodes are too few for an integral. Give at least {least}.")
