"""What noise on the parameters leaves of interactions: the closed form."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from unmask.lattice import MIRROR, MOEBIUS, ZETA, sizes, transform

_TRIGGERS = np.array([[2.0, 1.0], [1.0, 1.0]])
"""J^T J of one player: on how many of its two masks both triggers are pulled."""
_PENALTY = np.diag([1.0, 2.0])
"""Each further player of a term doubles the variance of its trigger."""
_ROOTS, _BASIS = eigh(_TRIGGERS, _PENALTY)
_BACK = np.linalg.inv(_BASIS)


def shrunken(
    effects: Float[Tensor, "*batch coalitions"], noise: float
) -> Float[Tensor, "*batch coalitions"]:
    r"""The effects that regression finds if the triggers of the terms are noisy.

    $$
    \hat w = (J^\top J + 2^n \mathrm{diag}(c))^{-1} J^\top J\, w = \hat M w, \qquad
    c_S = 2^{|S|} \sigma^2
    $$

    J says which terms a mask pulls, J(T, S) = 1 where S lies inside T. Both squares are Kronecker
    powers of 2 x 2 matrices and share one basis, in which each coordinate is multiplied by
    l / (l + 2^n sigma^2), l being a product of 2.281 for some players and 0.219 for the others.
    So any n that has a table takes two transforms, and no matrix is inverted.

    Args:
        effects: w, of AND terms in lattice order, or of OR terms, which are the ANDs of the
            complemented game.
        noise: sigma^2, the variance of the triggers' noise.
    """
    return from_coordinates(coordinates(effects), noise)


def dividends(
    stack: Float[Tensor, "inputs kinds coalitions"],
) -> Float[Tensor, "inputs kinds coalitions"]:
    """The same games written as AND terms alone, with no OR left.

    Args:
        stack: effects, as `stacked` gives them.
    """
    ands = stack[:, 0] - transform(stack[:, 1], MOEBIUS @ MIRROR @ ZETA)
    ands[:, 0] = 0
    return torch.stack([ands, torch.zeros_like(ands)], 1)


def order_ratio(players: int, noise: float) -> Float[Tensor, " orders"]:
    r"""How much stronger an order is than the next, for orders from 1 to n - 1.

    $$
    r^{(k)} = \lVert m_S \rVert_2 / \lVert m_{S'} \rVert_2, \qquad |S| = k,\ |S'| = k + 1
    $$

    m_S are rows of $\hat M$, whose lengths depend on the order alone. The ratios fall as the noise
    does. That is a statement about the operator: for given effects w the ratio of two orders of
    $\hat w$ may well rise.

    Args:
        players: n.
        noise: sigma^2.
    """
    if players < 2:
        raise ValueError(f"{players} players have no two orders to compare. Give two at least.")
    rows = torch.zeros(players, 2**players, dtype=torch.float64)
    first = 2 ** torch.arange(1, players + 1) - 1
    rows[torch.arange(players), first] = 1
    rows = transform(transform(rows, _BASIS.T) * kept(rows, noise), _BACK.T)
    length = torch.linalg.vector_norm(rows, dim=-1)
    return length[:-1] / length[1:]


def coordinates(
    effects: Float[Tensor, "*batch coalitions"],
) -> Float[Tensor, "*batch coalitions"]:
    """The effects in the basis where noise only shortens them.

    Args:
        effects: in lattice order.
    """
    return transform(effects.double(), _BACK)


def from_coordinates(
    coordinates: Float[Tensor, "*batch coalitions"], noise: float
) -> Float[Tensor, "*batch coalitions"]:
    """What noise leaves of effects.

    Args:
        coordinates: of the effects, as the function of that name gives them.
        noise: sigma^2.
    """
    return transform(coordinates * kept(coordinates, noise), _BASIS)


def kept(like: Float[Tensor, "*batch coalitions"], noise: float) -> Float[Tensor, " coalitions"]:
    """The share of each coordinate that is left.

    Args:
        like: functions on the coalitions in question.
        noise: sigma^2.
    """
    if not 0 <= noise < torch.inf:
        raise ValueError(
            f"The noise is a variance, but got {noise}. Give a number that is not negative."
        )
    coalitions = like.shape[-1]
    players = coalitions.bit_length() - 1
    order = sizes(players).double()
    roots = _ROOTS[1] ** order * _ROOTS[0] ** (players - order)
    return (roots / (roots + coalitions * noise)).to(like)


def least_root(players: int) -> float:
    """The coordinate that noise reaches first: at l / 2^n it has lost half.

    Args:
        players: n.
    """
    return float(_ROOTS[0] ** players)
