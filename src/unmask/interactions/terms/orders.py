"""How strong the terms of each order are, in explanations that are stacked."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.lattice import by_order, sizes


def order_sums(
    stack: Float[Tensor, "*inputs kinds coalitions"],
) -> tuple[Float[Tensor, "*inputs orders"], Float[Tensor, "*inputs orders"]]:
    """The positive effects of each order from 1 to n added up, and the negative ones.

    AND and OR terms are counted together.

    Args:
        stack: effects, as `stacked` gives them.
    """
    players = stack.shape[-1].bit_length() - 1
    order = sizes(players).to(stack.device)
    positive = by_order(stack.clamp(min=0).sum(-2), order, players)
    return positive, by_order(stack.clamp(max=0).sum(-2), order, players)


def order_shares(
    stack: Float[Tensor, "*inputs kinds coalitions"],
) -> Float[Tensor, "*inputs orders"]:
    r"""Which share of an input's strength, $\sum_T |I(T)|$, lies in each order from 1 to n.

    They are NaN for an input that has no term at all.

    Args:
        stack: effects, as `stacked` gives them.
    """
    positive, negative = order_sums(stack)
    strength = positive - negative
    return strength / strength.sum(-1, keepdim=True)


def mean_order(shares: Float[Tensor, "*inputs orders"]) -> Float[Tensor, "*inputs"]:
    """The order that a unit of strength has on average.

    Args:
        shares: of the orders from 1 to n.
    """
    order = torch.arange(1, shares.shape[-1] + 1, dtype=shares.dtype, device=shares.device)
    return shares @ order


def total_variation(
    one: Float[Tensor, "*inputs orders"], other: Float[Tensor, "*others orders"]
) -> Float[Tensor, "*inputs"]:
    """How much of the strength would have to move to other orders: from 0 for none to 1 for all.

    Args:
        one: shares of the orders.
        other: shares to compare them with; one row may stand for all.
    """
    return (one - other).abs().sum(-1) / 2
