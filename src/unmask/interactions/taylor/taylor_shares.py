"""How fourteen attribution methods share out the terms of a Taylor expansion."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.interactions.taylor.taylor_effects import TaylorEffects
from unmask.results import Attribution, Measurement

Shares = Float[Tensor, "batch terms columns"]
"""w, the share of each term that each column is given, at each input."""

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(kappa of each term, z of each column, patch of each column) -> their shares."""


def _by_degree(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    r"""$\kappa_i$: a term is handed out once for every factor."""
    return kappa.expand(len(z), -1, -1)


def _by_degree_shared(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    r"""$\kappa_i / |\kappa|$: in proportion to the degrees."""
    return _ratio(kappa, kappa.sum(1, keepdim=True)).expand(len(z), -1, -1)


def _to_each(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    """1 for every column of the term: whole to each of them."""
    return (kappa > 0).to(kappa).expand(len(z), -1, -1)


def _to_patch(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    """1 for every column of a patch that the term has a column in."""
    same = (patch[:, None] == patch).to(kappa)
    return ((kappa > 0).to(kappa) @ same > 0).to(kappa).expand(len(z), -1, -1)


def _evenly(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    """The same to each column of the term."""
    members = (kappa > 0).to(kappa)
    return _ratio(members, members.sum(1, keepdim=True)).expand(len(z), -1, -1)


def _with_constant(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    """As by degree, and the constant too, in proportion to z."""
    shares = _by_degree_shared(kappa, z, patch)
    constant = (kappa.sum(1) == 0).to(kappa)[None, :, None]
    return shares + constant * _ratio(z, z.sum(1, keepdim=True))[:, None, :]


def _by_sign(alpha: float, beta: float) -> Rule:
    """Everything, the constant too, by z alone: alpha times to what is positive."""

    def shares(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
        above, below = z.clamp(min=0), z.clamp(max=0)
        parts = alpha * _ratio(above, above.sum(1, keepdim=True))
        parts = parts - beta * _ratio(below, below.sum(1, keepdim=True))
        return parts[:, None, :].expand(-1, len(kappa), -1)

    return shares


def _cancelling(kappa: Tensor, z: Tensor, patch: Tensor) -> Tensor:
    """By degree within a sign; a term of both signs is first halved between them."""
    total = 0
    above, below = (z > 0).to(kappa)[:, None, :], (z < 0).to(kappa)[:, None, :]
    for own, other in ((above, below), (below, above)):
        degree = (kappa * own).sum(2, keepdim=True)
        mixed = (degree > 0) & ((kappa * other).sum(2, keepdim=True) > 0)
        total = total + _ratio(kappa * own, degree) * torch.where(mixed, 0.5, 1.0)
    assert isinstance(total, Tensor)
    return total


ALLOCATIONS: Mapping[str, Rule] = {
    "gradient_x_input": _by_degree,
    "occlusion": _to_each,
    "occlusion_patch": _to_patch,
    "prediction_difference": _to_each,
    "grad_cam": _by_degree,
    "lrp_epsilon": _with_constant,
    "lrp_alpha_beta": _by_sign(2.0, 1.0),
    "deep_taylor": _by_sign(1.0, 0.0),
    "deeplift_rescale": _by_degree_shared,
    "deeplift_reveal_cancel": _cancelling,
    "deep_shap": _evenly,
    "integrated_gradients": _by_degree_shared,
    "expected_gradients": _by_degree_shared,
    "shapley": _evenly,
}
"""The fourteen methods, each by how it shares out a Taylor term about the baseline.

Of the whole network speak gradient_x_input (of x - b), occlusion, occlusion_patch,
integrated_gradients and shapley; prediction_difference and expected_gradients are means of that
over baselines. The others speak of one module y = sigma(c + sum of z), expanded in z about 0, and a
network's attribution is composed of those of its modules: the LRP rules (epsilon near 0, biases
getting nothing; alpha 2, beta 1; z+ as in deep Taylor), DeepLIFT's two, and DeepSHAP. In grad_cam z
are the feature maps, each averaged over its positions; what a map is given goes to positions in
proportion to the map.
"""


def shared_out(
    effects: TaylorEffects, rule: Rule, *, patches: Int[Tensor, " columns"] | None = None
) -> Attribution:
    r"""The attribution that a method makes of Taylor effects.

    $$
    A_i = \sum_\kappa w_i(\kappa)\, \phi(\kappa)
    $$

    `gap` is f(x) - f(b) less the sum.

    Args:
        effects: phi, with the constant.
        rule: w, of `ALLOCATIONS` or one's own.
        patches: which patch each column belongs to; each is its own if not given.

    >>> from unmask.interactions.taylor.taylor_effects import taylor_effects
    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] ** 2 * x[:, 1], 0)
    >>> effects = taylor_effects(
    ...     product, torch.tensor([[2.0, 3.0]]), baseline=torch.zeros(2), degree=3
    ... )
    >>> shared_out(effects, ALLOCATIONS["integrated_gradients"]).values
    tensor([[8., 4.]], dtype=torch.float64)
    """
    shares = _shares(effects, rule, patches)
    values = (shares * effects.effects[:, :, None]).sum(1)
    constant = effects.degrees.sum(1) == 0
    change = effects.left + effects.effects[:, ~constant].sum(1)
    return Attribution(values, gap=change - values.sum(1))


def principles(
    effects: TaylorEffects, rule: Rule, *, patches: Int[Tensor, " columns"] | None = None
) -> Measurement:
    r"""How far a method keeps the three principles of a fair allocation.

    $$
    \frac{|f(x) - \sum_{\kappa\ \mathrm{used}} \phi(\kappa)|}{\sum_\kappa |\phi(\kappa)|}, \qquad
    \frac{\sum_\kappa |\phi(\kappa)| \sum_{i:\, \kappa_i = 0} |w_i(\kappa)|}
         {\sum_\kappa |\phi(\kappa)|}, \qquad
    \frac{\sum_\kappa |\phi(\kappa)|\, |\sum_i w_i(\kappa) - [\kappa \ne 0]|}
         {\sum_\kappa |\phi(\kappa)|}
    $$

    The numbers, means over the inputs: `unexplained`, what the terms that the method uses miss of
    f(x) - f(b); `unrelated`, what it hands to columns that are not in the term; `incomplete`, by
    how much it hands out more or less than the term. Each is 0 where the principle is kept. The
    constant f(b) is no column's: whoever hands it out breaks the last two. The sums in the
    denominators leave it out. The names of the principles and these sizes are ours; the paper
    says only whether each is kept.

    Args:
        effects: phi, with the constant.
        rule: w, of `ALLOCATIONS` or one's own.
        patches: which patch each column belongs to; each is its own if not given.
    """
    shares = _shares(effects, rule, patches)
    constant = effects.degrees.sum(1) == 0
    size = effects.effects.abs()
    mass = size[:, ~constant].sum(1)
    used = (shares != 0).any(2) & ~constant
    change = effects.left + effects.effects[:, ~constant].sum(1)
    unexplained = (change - (effects.effects * used).sum(1)).abs()
    outside = shares.abs() * (effects.degrees == 0).to(shares)
    amiss = (shares.sum(2) - (~constant).to(shares)).abs()
    parts = {
        "unexplained": unexplained,
        "unrelated": (size * outside.sum(2)).sum(1),
        "incomplete": (size * amiss).sum(1),
    }
    return Measurement({name: float(_ratio(part, mass).mean()) for name, part in parts.items()})


def _shares(effects: TaylorEffects, rule: Rule, patches: Tensor | None) -> Tensor:
    columns = effects.degrees.shape[1]
    if patches is None:
        patches = torch.arange(columns, device=effects.degrees.device)
    if patches.shape != (columns,):
        raise ValueError(
            f"There are {columns} columns, but patches has the shape {tuple(patches.shape)}. "
            "Give the number of its patch for each column."
        )
    return rule(effects.degrees.to(effects.effects), effects.step, patches)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """A share; of nothing, nothing."""
    some = whole != 0
    return torch.where(some, part / torch.where(some, whole, 1), 0)
