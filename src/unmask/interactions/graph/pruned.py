"""Terms left out one by one, always the one that is missed the least."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.interactions.terms.logic_values import logic_values
from unmask.lattice import ZETA, indices, sizes, transform
from unmask.results import Interactions


@dataclass(frozen=True)
class Pruning:
    """In which order terms are left out, and what is lost.

    Args:
        order: the terms, the first to be left out first.
        error: the squared error on all coalitions when 0, 1, 2, ... and all terms are left out.
        ratio: R then, the share of the strength that is told.
    """

    order: Int[Tensor, " terms"]
    error: Float[Tensor, " counts"]
    ratio: Float[Tensor, " counts"]

    def last(self, count: int) -> Int[Tensor, " kept"]:
        """So many terms that stay the longest, in the order they had."""
        return self.order[len(self.order) - count :].sort().values


def pruning(terms: Interactions, values: Float[Tensor, " coalitions"]) -> Pruning:
    r"""Leave out the term without which the squared error is the least, again and again.

    With the residual r = v - (what the kept terms say), leaving out a term of effect I that fires
    on the coalitions where f is 1 changes the squared error by

    $$
    I^2 \lVert f \rVert^2 + 2 I \langle r, f \rangle
    $$

    For all terms at once $\langle r, f \rangle$ takes two transforms of r. When a term k is left
    out, r becomes r + I_k f_k, so that the others' products change by $I_k \langle f_k, f \rangle$:
    the number of coalitions on which both fire, a power of two or a sum of some. So the table is
    needed once, and each term that is left out costs one pass over the terms.

    Args:
        terms: of a game, or nearly.
        values: v, of all coalitions in lattice order.
    """
    players = len(terms.names)
    size = sizes(players).to(values.device)
    share = 2.0 ** -size.double()  # of all coalitions, those that hold the players; or lack them
    place, effects = indices(terms.members), terms.effects.double()
    is_or = terms.is_or
    residual = values.double() - terms.empty - logic_values(terms)[0]
    count = float(2**players)
    held = transform(residual, ZETA.T)[place]
    missed = transform(residual, ZETA).flip(0)[place]
    along = torch.where(is_or, residual.sum() - missed, held)
    length = count * torch.where(is_or, 1 - share[place], share[place])

    cost = effects.square() * length + 2 * effects * along
    error, errors = residual.square().sum(), []
    strength, ratios = effects.abs().sum(), []
    dropped = torch.zeros_like(strength)
    order = torch.empty_like(place)
    for step in range(len(place)):
        errors.append(error)
        ratios.append(_ratio(strength, dropped))
        least = cost.argmin()
        order[step] = least
        error = error + cost[least]
        strength, dropped = strength - effects[least].abs(), dropped + effects[least]
        both = count * _together(place, is_or, place[least], is_or[least], share)
        cost = cost + 2 * effects * effects[least] * both
        cost[least] = torch.inf
    errors.append(error)
    ratios.append(_ratio(torch.zeros_like(strength), dropped))
    return Pruning(order, torch.stack(errors).clamp_min(0), torch.stack(ratios))


def _together(
    place: Int[Tensor, " terms"],
    is_or: Bool[Tensor, " terms"],
    other: Int[Tensor, ""],
    other_is_or: Bool[Tensor, ""],
    share: Float[Tensor, " coalitions"],
) -> Float[Tensor, " terms"]:
    """The share of coalitions on which each term fires and the other too."""
    own, of_other, of_both = share[place], share[other], share[place | other]
    apart = (place & other) == 0
    # An OR is silent where all its players are absent, and then an AND that shares one is too.
    mixed = torch.where(is_or, of_other, own) - torch.where(apart, own * of_other, 0)
    alike = torch.where(is_or, 1 - own - of_other + of_both, of_both)
    return torch.where(is_or == other_is_or, alike, mixed)


def _ratio(strength: Float[Tensor, ""], dropped: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Where nothing is told and nothing is left out, all there is has been told."""
    strength = strength.clamp_min(0)
    total = strength + dropped.abs()
    return torch.where(total > 0, strength / torch.where(total > 0, total, 1), 1)
