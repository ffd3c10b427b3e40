"""The values of AND-OR terms on all coalitions at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.lattice import ZETA, indices, transform
from unmask.results import Interactions


def logic_values(terms: Interactions, kept: Tensor | None = None) -> Float[Tensor, " coalitions"]:
    """What the terms add to the empty coalition's value, on every coalition in lattice order.

    The same as calling the terms on all masks, but at the price of a transform: with as many
    terms as coalitions that is n 2^n steps in place of 4^n.

    Args:
        terms: AND and OR terms.
        kept: which of the terms count, as places or as a bool per term; all by default.
    """
    chosen = slice(None) if kept is None else kept
    effects = terms.effects[chosen].double()
    place = indices(terms.members[chosen])
    is_or = terms.is_or[chosen]

    ands = effects.new_zeros(2 ** len(terms.names)).index_add_(0, place, effects * ~is_or)
    ors = effects.new_zeros(2 ** len(terms.names)).index_add_(0, place, effects * is_or)
    # An OR fires unless all its players are absent, that is unless it lies in the complement.
    return transform(ands, ZETA) + ors.sum() - transform(ors, ZETA).flip(-1)


def fewest_terms(
    terms: Interactions, values: Float[Tensor, " coalitions"], fidelity: float
) -> int | None:
    r"""How many of the strongest terms it takes until they explain that share of the output.

    $$
    1 - \frac{\sum_S (v(S) - \hat v(S))^2}{\sum_S (v(S) - \bar v)^2} \ge \mathrm{fidelity}
    $$

    None if all of them together do not. The count is the first at which the share is reached,
    found without trying each: a term of effect I that fires on m coalitions moves the error's
    length by |I| sqrt(m) at most, so a stretch of terms that cannot move it far enough is skipped.

    Args:
        terms: AND and OR terms.
        values: v, of all coalitions.
        fidelity: R2 that is to be reached.
    """
    n = len(terms.names)
    change = values.double() - terms.empty
    allowed = (1 - fidelity) * (change - change.mean()).square().sum()
    order = terms.order.double()
    firing = torch.where(terms.is_or, 2.0**n - 2.0 ** (n - order), 2.0 ** (n - order))
    strongest = terms.effects.abs().argsort(descending=True, stable=True)
    reach = torch.cat(
        [firing.new_zeros(1), (terms.effects.double().abs() * firing.sqrt())[strongest].cumsum(0)]
    )

    lattice = torch.arange(2**n, device=values.device)
    place = indices(terms.members)[strongest].tolist()
    is_or = terms.is_or[strongest].tolist()
    effects = terms.effects.double()[strongest].tolist()
    left = change.clone()
    done = 0
    while True:
        error = left.square().sum()
        if error <= allowed:
            return done
        missing = (error.sqrt() - allowed.sqrt()) * (1 - 1e-9)
        ahead = int(torch.searchsorted(reach, reach[done] + missing))
        if ahead >= len(reach):
            return None
        if ahead - done <= n:  # a term costs one pass over the table, a jump two transforms
            there = lattice & place[done]
            fires = there != 0 if is_or[done] else there == place[done]
            left -= effects[done] * fires
            done += 1
        else:
            done = ahead
            left = change - logic_values(terms, strongest[:done])
