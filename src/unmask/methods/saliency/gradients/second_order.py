"""Second-order saliency (CASO), and its first-order kin (CAFO)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.curvature import (
    Curvature,
    FewColumns,
    Products,
    derivatives,
)
from unmask.methods.saliency.gradients.stream import rows_at_once, wide
from unmask.results import Attribution
from unmask.score import Score

_BISECTIONS = 40


@method("singla2019understanding", axioms=("dummy",))
def second_order(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    lambda1: float = 0.0,
    lambda2: float = 4.0,
    nonzero: float | None = None,
    samples: int = 1,
    noise: float = 0.15,
    steps: int = 200,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Find the small change of the input that raises the score most, curvature counted in.

    $$
    A(x) = \arg\max_d \; g^\top d + \tfrac12 d^\top H d - \lambda_1 \lVert d \rVert_1
           - \tfrac12 L \lVert d \rVert^2, \qquad L = \lambda_{\max}(H) + \lambda_2
    $$

    with the gradient g and the second derivative H of F at x. Of the paper's score, the loss of
    the predicted class, it tells which changes would hurt most together: `loss(model,
    predicted(model, x))`. Without lambda_1 the answer is (L I - H)^-1 g; with it, few parts of x
    have a value. L is what makes the problem concave, so that its answer is the only one. (In the
    paper the last term has no factor one half.)

    Where the network is piecewise linear and has at most 100 outputs, H has as few directions as
    outputs and is written out, which is tested on a random vector. Else H is known by its products
    with vectors alone, of which each costs as much as two gradients; its extreme eigenvalues
    are then those that 16 products find. lambda_1 > 0 takes an accelerated proximal gradient method
    whose step is known from those eigenvalues, so that no search along the line is needed.

    Args:
        score: F, twice differentiable in its input where it is not flat.
        x: the inputs.
        lambda1: how much a part of x must gain to have a value.
        lambda2: how strongly large changes are held back.
        nonzero: the share of the parts of x that shall have a value, in place of lambda1.
        samples: copies of the input over which g and H are averaged; more than one are noisy.
        noise: standard deviation of that noise, as a share of each input's range.
        steps: the most iterations, where there is a lambda1 or H is not written out.
        generator: source of randomness.
        batch_size: points in one call of the model, but at least all copies of one input; by
            default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> bowl = logit(lambda x: 2 * x[:, 0] - x[:, 0] ** 2 + x[:, 1] / 2, 0)
    >>> second_order(bowl, torch.zeros(1, 2), lambda2=1.0).values  # H = diag(-2, 0), L = 1
    tensor([[0.6667, 0.5000]])
    """
    admit(score, x, batch_size)
    wish = _Wish(lambda1, lambda2, nonzero, steps)
    copies = _Copies(x, samples, noise, generator)
    size = max(1, rows_at_once(x, batch_size) // samples)
    parts, evaluations = [], 0
    for rows in torch.arange(len(x), device=x.device).split(size):
        points = torch.cat([copies.of(k, rows) for k in range(samples)])
        with derivatives(score, points, rows.repeat(samples), len(rows)) as found:
            curvature = found.few_columns() or Products(found)
            parts.append(_explained(found.gradient, curvature, wish))
            evaluations += found.passes
    return Attribution(torch.cat(parts).view(x.shape).to(x.dtype), evaluations=evaluations)


@method("singla2019understanding", axioms=("dummy",))
def first_order(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    lambda1: float = 0.0,
    lambda2: float = 4.0,
    nonzero: float | None = None,
    samples: int = 1,
    noise: float = 0.15,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Find the small change of the input that raises the score most, as far as its slope tells.

    $$
    A_i(x) = \frac{1}{\lambda_2} \operatorname{sign}(g_i) \max(|g_i| - \lambda_1, 0)
    $$

    It is `second_order` without the second derivative: the gradient, with what is small set to
    zero. Where the predicted class is all but certain both point the same way.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        lambda1: how much a part of x must gain to have a value.
        lambda2: how strongly large changes are held back.
        nonzero: the share of the parts of x that shall have a value, in place of lambda1.
        samples: copies of the input over which g is averaged; more than one are noisy.
        noise: standard deviation of that noise, as a share of each input's range.
        generator: source of randomness.
        batch_size: points in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> plane = logit(lambda x: 3 * x[:, 0] - x[:, 1] / 2, 0)
    >>> first_order(plane, torch.zeros(1, 2), lambda1=1.0, lambda2=1.0).values
    tensor([[2., 0.]])
    """
    admit(score, x, batch_size)
    wish = _Wish(lambda1, lambda2, nonzero, 1)
    copies = _Copies(x, samples, noise, generator)
    parts = []
    for rows in torch.arange(len(x), device=x.device).split(rows_at_once(x, batch_size)):
        each = (value_and_gradient(score, copies.of(k, rows), rows)[1] for k in range(samples))
        g = sum((one.to(copies.noise) for one in each), start=copies.noise.new_zeros(()))
        parts.append(g.reshape(len(rows), -1) / samples)
    g = torch.cat(parts)
    least, count = g.new_full((len(g), 1), lambda1), wish.count(g)
    if count is not None:  # the next after the last that shall have a value
        ordered = torch.nn.functional.pad(g.abs(), (0, 1)).sort(1, descending=True).values
        least = ordered[:, count : count + 1]
    values = _shrunk(g, least) / lambda2
    return Attribution(values.view(x.shape).to(x.dtype), evaluations=samples * len(x))


@dataclass(frozen=True)
class _Wish:
    lambda1: float
    lambda2: float
    nonzero: float | None
    steps: int

    def __post_init__(self) -> None:
        if not self.lambda1 >= 0:
            raise ValueError(f"lambda1 is {self.lambda1}, which rewards size. Give 0 or more.")
        if not self.lambda2 > 0:
            raise ValueError(
                f"lambda2 is {self.lambda2}, and then no change is too large. Give more than 0."
            )
        if self.nonzero is not None and not 0 < self.nonzero <= 1:
            raise ValueError(
                f"A share of {self.nonzero} of the parts cannot have a value. "
                "Give a share above 0, up to 1."
            )
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps lead nowhere. Give at least 1.")

    def count(self, g: Float[Tensor, "batch positions"]) -> int | None:
        """How many parts of each input shall have a value."""
        return None if self.nonzero is None else max(1, round(self.nonzero * g.shape[1]))


class _Copies:
    """Copies of inputs, noisy if there are more than one; the noise is the same for all."""

    def __init__(
        self, x: Tensor, samples: int, noise: float, generator: torch.Generator | None
    ) -> None:
        if samples < 1:
            raise ValueError(f"{samples} samples tell nothing. Give at least 1.")
        if not noise >= 0:
            raise ValueError(f"Noise cannot have the size {noise}. Give a share such as 0.15.")
        self.x = x.detach()
        generator = admission.drawing(generator)
        kind = {"dtype": wide(x.dtype), "device": generator.device}
        drawn = torch.randn(samples, *x.shape[1:], generator=generator, **kind)
        flat = self.x.reshape(len(x), -1)
        self.sigma = (
            noise * (flat.amax(1) - flat.amin(1)) if samples > 1 else flat.new_zeros(len(x))
        )
        self.noise = drawn.to(x.device)

    def of(self, copy: int, rows: Tensor) -> Tensor:
        sigma = self.sigma[rows].to(self.noise).view(-1, *[1] * (self.x.ndim - 1))
        return (self.x[rows].to(self.noise) + sigma * self.noise[copy]).to(self.x.dtype)


def _explained(
    g: Float[Tensor, "batch positions"], curvature: Curvature, wish: _Wish
) -> Float[Tensor, "batch positions"]:
    """The change d that is best for each input."""
    least = g.new_full((len(g), 1), wish.lambda1)
    count = wish.count(g)
    if count is None:
        return _best(g, curvature, least, wish)
    below, above = torch.zeros_like(least), g.abs().amax(1, keepdim=True)
    d = torch.zeros_like(g)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        d = _best(g, curvature, middle, wish, d)
        found = (d != 0).sum(1, keepdim=True)
        below = torch.where(found >= count, middle, below)  # stays where it is, once it is right
        above = torch.where(found <= count, middle, above)
        if (found == count).all() or torch.equal(below, above):
            break
    return d


def _best(
    g: Float[Tensor, "batch positions"],
    curvature: Curvature,
    lambda1: Float[Tensor, "batch 1"],
    wish: _Wish,
    start: Float[Tensor, "batch positions"] | None = None,
) -> Float[Tensor, "batch positions"]:
    """The answer as a formula where there is one; else by Nesterov's accelerated steps."""
    shift = curvature.largest + wish.lambda2
    if isinstance(curvature, FewColumns) and not lambda1.any():
        return curvature.solve(g, shift)
    steepest = (shift - curvature.least)[:, None]
    root = (wish.lambda2 / steepest).sqrt()
    momentum = (1 - root) / (1 + root)
    d = y = torch.zeros_like(g) if start is None else start
    close = 100 * torch.finfo(g.dtype).eps
    for _ in range(wish.steps):
        uphill = g + curvature.times(y) - shift[:, None] * y
        after = _shrunk(y + uphill / steepest, lambda1 / steepest)
        moved = after - d
        d, y = after, after + momentum * moved
        if (moved.abs().amax(1) <= close * d.abs().amax(1)).all():
            break
    return d


def _shrunk(v: Tensor, least: Tensor) -> Tensor:
    """Nearer to zero by as much as least, and zero where that is beyond it."""
    return v - torch.minimum(torch.maximum(v, -least), least)
