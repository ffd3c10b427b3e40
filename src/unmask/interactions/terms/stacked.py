"""Explanations of many inputs as one tensor, so that they can be compared term by term."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.lattice import indices
from unmask.results import Interactions

LARGEST = 16
"""Players up to which all terms that are possible still make a row: 2^17 effects per input."""


def stacked(terms: Sequence[Interactions]) -> Float[Tensor, "inputs kinds coalitions"]:
    """The effects of many explanations, each term at the place of its players in lattice order.

    Of the two kinds the first are the AND terms, the second the OR terms. What is no term is zero,
    and so is the place of the empty coalition. An OR of a single player counts as the AND that it
    is.

    Args:
        terms: of games with equally many players. Their names may differ, as the words of texts do:
            players are then compared by their place.
    """
    if isinstance(terms, Interactions):
        raise TypeError(
            "Explanations of several inputs are compared, but got one, not in a list. "
            "Give a list of them, if need be of this one alone."
        )
    if not terms:
        raise ValueError("There are no explanations. Give the terms of one input at least.")
    players = len(terms[0].names)
    if any(len(one.names) != players for one in terms) or not 1 <= players <= LARGEST:
        counts = sorted({len(one.names) for one in terms})
        raise ValueError(
            f"Explanations are compared term by term where all have equally many players, at most "
            f"{LARGEST}, but these have {', '.join(map(str, counts))}. Explain all inputs with the "
            "same number of players."
        )
    device = terms[0].effects.device
    stack = torch.zeros(len(terms), 2, 2**players, dtype=torch.float64, device=device)
    for row, one in enumerate(terms):
        kind = (one.is_or & (one.order > 1)).long()
        place = kind * 2**players + indices(one.members)
        stack[row].view(-1).index_add_(0, place, one.effects.double())
    stack[..., 0] = 0
    return stack


def salient(
    stack: Float[Tensor, "*inputs kinds coalitions"], tau: float
) -> Bool[Tensor, "*inputs kinds coalitions"]:
    r"""Which terms matter: those with $|I(T)| \ge \tau \max_S |I(S)|$, of either kind.

    Args:
        stack: effects, as `stacked` gives them.
        tau: the least strength, relative to the strongest term of the same input; 0 for all terms
            that are not zero.
    """
    if not 0 <= tau <= 1:
        raise ValueError(
            f"tau is a share of the strongest term, but got {tau}. Give a number from 0 to 1."
        )
    strength = stack.abs()
    return (strength >= tau * strength.amax((-2, -1), keepdim=True)) & (strength > 0)
