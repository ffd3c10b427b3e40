"""The values of AND-OR terms on all coalitions at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.lattice import ZETA, indices, transform
from unmask.results import Interactions

_ROUNDING = 1e-12
"""What R2 may be short of by rounding alone."""


def logic_values(
    terms: Interactions, part: Int[Tensor, " terms"] | None = None, parts: int = 1
) -> Float[Tensor, "parts coalitions"]:
    """What each part of the terms adds to the empty coalition's value, in lattice order.

    The same as calling the terms on all masks, but at the price of two transforms: with as many
    terms as coalitions that is n 2^n steps in place of 4^n.

    Args:
        terms: AND and OR terms.
        part: which part each term belongs to; negative for none. By default there is one part.
        parts: how many there are.
    """
    effects = terms.effects.double()
    coalitions = 2 ** len(terms.names)
    place = indices(terms.members)
    if part is not None:
        effects = effects * (part >= 0)
        place = place + part.clamp_min(0) * coalitions
    empty = effects.new_zeros(parts * coalitions)
    ands = empty.index_add(0, place, effects * ~terms.is_or).view(parts, coalitions)
    ors = empty.index_add(0, place, effects * terms.is_or).view(parts, coalitions)
    # An OR is silent where all its players are absent: where it lies in the complement.
    silent = transform(ors, ZETA).flip(-1)
    return transform(ands, ZETA).add_(ors.sum(-1, keepdim=True)).sub_(silent)


def fewest_terms(
    terms: Interactions, values: Float[Tensor, " coalitions"], fidelity: float
) -> int | None:
    r"""How many terms it takes, those of the largest spread first, to explain so much of v.

    $$
    1 - \frac{\sum_S (v(S) - \hat v(S))^2}{\sum_S (v(S) - \bar v)^2} \ge \mathrm{fidelity}
    $$

    Terms that are left out stand in with their mean over all masks. None if all together do not
    reach it. The count is the first that does, found without trying each: a term moves the
    length of the error by its spread times 2^(n/2) at most, so a stretch of terms that cannot
    move it far enough is skipped.

    Args:
        terms: AND and OR terms.
        values: v, of all coalitions.
        fidelity: R2 that is to be reached.
    """
    n = len(terms.names)
    values = values.double()
    # Without any term the mean stands for all, an R2 of 0 that rounding must not take below.
    allowed = (1 - fidelity + _ROUNDING) * (values - values.mean()).square().sum()
    effects, firing, spread = terms.effects.double(), terms.firing.double(), terms.spread.double()
    strongest = spread.argsort(descending=True, stable=True)
    rank = torch.empty_like(strongest)
    rank[strongest] = torch.arange(len(strongest), device=rank.device)
    reach = torch.cat([spread.new_zeros(1), (spread * 2.0 ** (n / 2))[strongest].cumsum(0)])
    means = torch.cat([spread.new_zeros(1), (effects * firing)[strongest].cumsum(0)])

    lattice = torch.arange(2**n, device=values.device)
    place = indices(terms.members)[strongest].tolist()
    is_or = terms.is_or[strongest].tolist()
    change = values - terms.empty - means[-1]
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
            left -= effects[strongest[done]] * fires - (means[done + 1] - means[done])
            done += 1
        else:
            done = ahead
            left = change + means[done] - logic_values(terms, -(rank >= done).long())[0]
