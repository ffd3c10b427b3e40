"""Interaction indices: Shapley, Banzhaf and their kin, each a weighting of dividends."""

import difflib

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.interactions.index_kernels import CONTEXTS, DIVIDENDS
from unmask.lattice import MOEBIUS, ZETA, coalitions, sizes, transform
from unmask.results import Interactions

_OF_SINGLES = ("SV", "BV")


@method(
    "grabisch1999axiomatic",
    "shapley1953value",
    "banzhaf1965weighted",
    "marichal1999chaining",
    "fujimoto2006axiomatic",
    "sundararajan2020shapley",
    "bordt2023shapley",
    "tsai2023faith",
    "pelegrina2023kadditive",
    "marichal2007axiomatic",
    "harris2022joint",
    axioms=("symmetry", "linearity"),
)
def interaction_indices(game: Game, *, index: str = "k-SII", order: int = 2) -> Interactions:
    r"""Share out the dividends of a game among its smaller sets of players.

    $$
    I(S) = \sum_{T \supseteq S} \kappa(|T|, |S|)\, a(T), \qquad
    a(T) = \sum_{L \subseteq T} (-1)^{|T|-|L|}\, v(L)
    $$

    The weight of a dividend a of t players for a set of s players, where k is the order:

    | index | weight | what it is |
    |---|---|---|
    | SV, BV | 1/t, 1/2^(t-1) | values of Shapley and Banzhaf; single players only |
    | SII, BII, CHII | 1/(t-s+1), 1/2^(t-s), s/t | Shapley, Banzhaf, chaining interaction |
    | Moebius, Co-Moebius | 1 if t = s, 1 | effect in no context, effect among all others |
    | k-SII | SII gathered by Bernoulli's numbers | the n-Shapley values of order n = k |
    | STII | 1 if t = s; 1/C(t, k) if t > k = s | Shapley-Taylor |
    | FSII, FBII | of the nearest game of order k | faithful, in Shapley's and Banzhaf's weights |
    | kADD-SHAP | SII of the game that FSII makes | k-additive Shapley |

    The generalised values SGV, BGV, CHGV, IGV, EGV and the joint Shapley values JointSV weigh
    instead what S adds as one to its contexts:

    $$
    I(S) = \sum_{R \subseteq N \setminus S} p(|R|, |S|)\, \bigl( v(R \cup S) - v(R) \bigr)
    $$

    The effects of SV, k-SII, STII, FSII and JointSV sum to v(N) - v(empty). `empty` is v(empty),
    but for FBII the constant of its fit. Called as a game, the terms of FSII and FBII come near
    to v, those of Moebius are v up to order k; of the other indices the sum means nothing.

    Args:
        game: v.
        index: one of the names above, which are those of shapiq.
        order: k, the largest set that is explained.

    >>> import torch
    >>> three = Game(lambda masks: 6.0 * masks.all(1).double(), ("a", "b", "c"))
    >>> interaction_indices(three, index="SV").effects
    tensor([2., 2., 2.], dtype=torch.float64)
    >>> interaction_indices(three, index="STII").effects
    tensor([0., 0., 0., 2., 2., 2.], dtype=torch.float64)
    """
    _check(index, order)
    if index in _OF_SINGLES:
        order = 1
    v = game.table().detach().double()
    n = len(game.names)
    size = sizes(n).to(v.device)
    lattice = coalitions(n).to(v.device)
    shares = _of_dividends if index in DIVIDENDS else _of_contributions

    levels = range(1, min(order, n) + 1)
    members = torch.cat([lattice[:0], *(lattice[size == s] for s in levels)])
    effects = [shares(v - v[0], size, index, s, order)[size == s] for s in levels]
    constant = v[0]
    if index == "FBII":
        constant = constant + _of_dividends(v - v[0], size, index, 0, order)[0]
    return Interactions(
        members=members,
        is_or=members.new_zeros(len(members)),
        effects=torch.cat([v[:0], *effects]),
        empty=float(constant),
        names=game.names,
        evaluations=len(v),
    )


def _of_dividends(
    change: Float[Tensor, " coalitions"],
    size: Int[Tensor, " coalitions"],
    index: str,
    s: int,
    order: int,
) -> Float[Tensor, " coalitions"]:
    """The index of every set of s players; at sets of other sizes the numbers mean nothing.

    As the weight depends on the dividend's size alone once s is fixed, one superset sum does it.
    """
    n = int(size[-1])
    kernel = [DIVIDENDS[index](t, s, order) if t >= s else 0 for t in range(n + 1)]
    weights = change.new_tensor([float(weight) for weight in kernel])
    return transform(weights[size] * transform(change, MOEBIUS), ZETA.T)


def _of_contributions(
    change: Float[Tensor, " coalitions"],
    size: Int[Tensor, " coalitions"],
    index: str,
    s: int,
    order: int,
) -> Float[Tensor, " coalitions"]:
    """The generalised value of every set of s players; at other sizes it means nothing.

    The outputs with S, over all contexts R, are a superset sum at S; those without S are a subset
    sum at its complement.
    """
    n = int(size[-1])
    context = [float(CONTEXTS[index](r, s, n, order)) for r in range(n - s + 1)]
    alone = change.new_tensor(context + [0.0] * s)
    joined = change.new_tensor([0.0] * s + context)
    return transform(joined[size] * change, ZETA.T) - transform(alone[size] * change, ZETA).flip(-1)


def _check(index: str, order: int) -> None:
    known = [*DIVIDENDS, *CONTEXTS]
    if index not in known:
        lower = {name.lower(): name for name in known}
        near = difflib.get_close_matches(str(index).lower(), lower, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{index!r} is not an interaction index. The nearest is {lower[near]!r}. "
            f"Choose from {', '.join(known)}."
        )
    if order < 1:
        raise ValueError(
            f"The order is the size of the largest set that is explained, but got {order}. "
            "Give at least 1."
        )
