"""The leaves of a tree of players: all coalitions, in the order in which a walk reaches them."""

import torch
from jaxtyping import Int
from torch import Tensor


def in_turn(order: tuple[int, ...], rows: int) -> Int[Tensor, " coalitions"]:
    """The place in lattice order of each leaf, as they are reached.

    Args:
        order: the players, as they come.
        rows: states at a time.
    """
    n = len(order)
    whole = min(n, rows.bit_length() - 1)
    # Of the players taken one by one, the last to come turns over most often.
    reached = (*order[:whole], *reversed(order[whole:]))
    numbers = torch.arange(2**n)
    places = torch.zeros_like(numbers)
    for bit, player in enumerate(reached):
        places += (numbers >> bit & 1) << player
    return places
