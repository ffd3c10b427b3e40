"""Taylor decomposition: simple, from a root of the score, and deep, layer by layer."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.propagation.relevance import relevance
from unmask.methods.saliency.propagation.rules import DEEP_TAYLOR, Bound, deep_taylor_box
from unmask.results import Attribution
from unmask.score import Score

_HALVINGS = 60
"""Of the stretch on which the score is known to change its sign."""
_BACK = 1e-3
"""How far towards x the slope is taken, where it vanishes at the root itself."""


@method("montavon2017explaining", "bach2015pixel")
def taylor_decomposition(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    root: Float[Tensor, "*background"] | None = None,
    low: Bound | None = None,
    high: Bound | None = None,
    steps: int = 50,
    batch_size: int | None = None,
) -> Attribution:
    r"""Expand the score to first order around a nearby input where it is zero.

    $$
    R_i = \frac{\partial F}{\partial x_i}(r) \, (x_i - r_i), \qquad F(r) = 0
    $$

    A root r is looked for by Newton's steps from x, each to where the score would be zero if it
    were linear; once two points have scores of opposite sign, the stretch between them is halved
    until the root is found. It is the nearest root where the score is linear between, and a near
    one else. A score that is zero at x has nothing to share out. Where the slope vanishes at the
    root, as at the kink of a ReLU, it is taken a little nearer to x.

    `gap` is what the first order misses of F(x); on a network of many layers that can be nearly
    all of it, which is what `deep_taylor` is for.

    Args:
        score: F, differentiable in its input, and zero somewhere.
        x: the inputs.
        root: r, shaped like the inputs or like one of them; looked for if not given.
        low: the lowest that a root may be.
        high: the highest.
        steps: Newton's steps at most.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> from unmask.score import logit
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> taylor_decomposition(logit(lambda x: 3 * x[:, :1] - x[:, 1:], 0), x).values
    tensor([[0.9000, 0.1000]])
    """
    admit(score, x, batch_size)
    if steps < 1:
        raise ValueError(f"{steps} steps find no root. Give at least 1.")
    lowest, highest = _within(x, low, high)
    if root is not None:
        admission.finite("The root", root)
        if root.shape not in (x.shape, x.shape[1:]):
            raise ValueError(
                f"The root has shape {tuple(root.shape)}, the inputs {tuple(x.shape)}. Give a root "
                "shaped like one input, or one for each."
            )
        root = root.detach().expand_as(x).to(x)
    x = x.detach()
    values, gaps, evaluations = [], [], 0
    for rows in torch.arange(len(x), device=x.device).split(batch_size or len(x)):
        if root is None:
            found, points = _root(score, x[rows], rows, lowest[rows], highest[rows], steps)
        else:
            found, points = root[rows], 0
        share = _slope(score, found, x[rows], rows) * (x[rows] - found)
        with torch.no_grad():
            value = score(x[rows], rows).double()
        values.append(share.to(x.dtype))
        gaps.append(value - share.double().reshape(len(rows), -1).sum(1))
        evaluations += points + 3 * len(rows)
    return Attribution(torch.cat(values), gap=torch.cat(gaps), evaluations=evaluations)


@method("montavon2017explaining", axioms=("dummy", "symmetry"))
def deep_taylor(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    low: Bound | None = None,
    high: Bound | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Expand each neuron to first order around a root of its own, from the score down.

    $$
    R_j = \sum_k \frac{a_j w_{jk}^+}{\sum_i a_i w_{ik}^+} R_k, \qquad
    R_i = \sum_j \frac{x_i w_{ij} - l_i w_{ij}^+ - h_i w_{ij}^-}
                      {\sum_i x_i w_{ij} - l_i w_{ij}^+ - h_i w_{ij}^-} R_j
    $$

    in hidden layers, and at inputs that lie between l and h; at inputs without bounds they share
    by the squares of the weights. It is a choice of rules for `lrp`: what is said there of
    operations between the layers holds here too. All is positive where the score is, if hidden
    activations are. Biases above zero count as contributions, and what they take is part of `gap`.

    Args:
        score: what is handed back; the logit of a class is the custom.
        x: the inputs.
        low: l, the lowest that an input can be.
        high: h, the highest.
        batch_size: inputs in one call of the model, all of them if not given.

    >>> from unmask.score import logit
    >>> neuron = torch.nn.Linear(2, 1, bias=False)
    >>> neuron.weight.data = torch.tensor([[3.0, -1.0]])
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> deep_taylor(logit(neuron, 0), x).values.round(decimals=3)
    tensor([[0.9000, 0.1000]])
    >>> deep_taylor(logit(neuron, 0), x, low=0.0, high=3.0).values.round(decimals=3)
    tensor([[0.7500, 0.2500]])
    """
    if low is None and high is None:
        return relevance(score, x, DEEP_TAYLOR, batch_size=batch_size)
    if low is None or high is None:
        raise ValueError(
            f"Only the {'highest' if low is None else 'lowest'} value of an input was given. "
            "Give both low and high, or neither."
        )
    return relevance(score, x, deep_taylor_box(low, high), batch_size=batch_size)


def _slope(score: Score, root: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """The gradient at the root; where that is nothing, a little nearer to x."""
    _, gradient = value_and_gradient(score, root, rows)
    _, nearer = value_and_gradient(score, torch.lerp(root, x, _BACK), rows)
    flat = (gradient == 0).reshape(len(x), -1).all(1)
    return torch.where(flat.view(-1, *[1] * (x.ndim - 1)), nearer, gradient)


def _root(
    score: Score, x: Tensor, rows: Tensor, low: Tensor, high: Tensor, steps: int
) -> tuple[Tensor, int]:
    """A root near each input, and how many inputs the model was run on to find them."""
    wide = torch.promote_types(x.dtype, torch.float32)
    # Of the sign of the score at x, and where Newton is.
    near, far = x.to(wide, copy=True), x.to(wide, copy=True)
    crossed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    first = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    open_, points = torch.arange(len(x), device=x.device), 0
    for step in range(steps + 1):
        value, gradient = value_and_gradient(score, far[open_].to(x.dtype), rows[open_])
        value, gradient = value.double(), gradient.to(wide)
        points += len(open_)
        if step == 0:
            first = value
        down = value.view(-1, *[1] * (x.ndim - 1)) * gradient > 0
        stuck = torch.where(down, far[open_] <= low[open_], far[open_] >= high[open_])
        gradient = gradient.masked_fill(stuck, 0)  # along the bounds, not against them
        size = gradient.reshape(len(open_), -1).square().sum(1)
        found = value.abs() <= torch.finfo(x.dtype).eps ** 0.75 * first[open_].abs()
        near[open_[found]] = far[open_[found]]
        crossed[open_] = ~found & (value * first[open_] < 0)
        go = ~found & ~crossed[open_] & (size > 0)
        lost = open_[~found & ~crossed[open_] & (size == 0)] if step < steps else open_[go]
        if len(lost):
            raise ValueError(
                f"No root of the {score.name} was found from input {int(rows[lost[0]])}: on the "
                "way it kept its sign, or its slope vanished. Explain a score that can be zero, "
                "such as a log-odds, widen the bounds, or give the root."
            )
        open_, value, gradient, size = open_[go], value[go], gradient[go], size[go]
        if not len(open_):
            break
        near[open_] = far[open_]
        length = (value / size).to(wide).view(-1, *[1] * (x.ndim - 1))
        far[open_] = (far[open_] - length * gradient).clamp(low[open_], high[open_])
    open_ = crossed.nonzero()[:, 0]
    for _ in range(_HALVINGS if len(open_) else 0):
        middle = (near[open_] + far[open_]) / 2
        with torch.no_grad():
            value = score(middle.to(x.dtype), rows[open_]).double()
        points += len(open_)
        same = value * first[open_] > 0
        near[open_[same]], far[open_[~same]] = middle[same], middle[~same]
    return near.to(x.dtype), points


def _within(x: Tensor, low: Bound | None, high: Bound | None) -> tuple[Tensor, Tensor]:
    """The bounds of a root, which must be in order."""
    wide = torch.promote_types(x.dtype, torch.float32)
    lowest = torch.as_tensor(-torch.inf if low is None else low).to(x.device, wide).expand_as(x)
    highest = torch.as_tensor(torch.inf if high is None else high).to(x.device, wide).expand_as(x)
    if (lowest > highest).any():
        raise ValueError(
            f"A root cannot lie between {low} and {high}. Give the lowest value first."
        )
    return lowest, highest
