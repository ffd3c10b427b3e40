"""Sparsity: how few interactions matter, and whether the conditions that promise it hold."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.interactions.and_or import given_or_found
from unmask.interactions.sparsity_bound import exponents, growth
from unmask.interactions.terms.logic_values import fewest_terms, logic_values
from unmask.lattice import MOEBIUS, by_order, sizes, transform
from unmask.results import Interactions, Measurement

_ALIKE = 1e-9
"""Differences smaller than this share of the largest output are rounding."""


@method("ren2024where", "li2023does")
def sparsity(
    game: Game,
    *,
    terms: Interactions | None = None,
    tau: float = 0.05,
    order: int | None = None,
) -> Measurement:
    r"""Count the terms that matter, and test the three conditions that promise few.

    A term is salient if $|I(T)| \ge \tau \max_S |I(S)|$. The conditions speak of the dividends
    a(T) and of $\bar u(m)$, the mean of v(S) - v(empty) over all coalitions of m players:

    $$
    a(T) = 0 \text{ for } |T| > M, \qquad
    \bar u(m') \le \bar u(m), \qquad
    \bar u(m') \ge (m'/m)^p\, \bar u(m) \quad \text{for all } m' \le m
    $$

    Then the number of salient dividends of order k is bounded, and over all k the bound grows as
    $n^{p + \delta} / \tau$ rather than 2^n:

    $$
    R(k) \le \frac{1}{\tau \max_S |a(S)|\, |\eta(k)|}
            \Bigl| \sum_{|T| = k} a(T) \Bigr|, \qquad
    \eta(k) = \frac{\sum_{|T| = k} a(T)}{\sum_{|T| = k} |a(T)|}
    $$

    Of a game that falls when all players join, the negative is tested; its dividends have the same
    sizes. For the conditions on OR terms, give the mirrored game. All numbers are read off the
    table of v, none is estimated.

    Numbers, on the terms: `salient`; `share`, of the 2^(n+1) - n - 2 that are possible; `terms_95`
    and `terms_99`, how many it takes to reach an R2 of 0.95 and 0.99 over all coalitions, those
    of the largest spread first and the others standing in with their mean; `mass`, the salient
    ones' share of all |I|; `fidelity`, their R2; `unexplained`, their squared error relative to
    that of v(empty). On the conditions: `salient_dividends` and their `bound`; `order`, M;
    `mass_above` and `largest_above`, what share of all |a| and of the largest |a| lies above M;
    `monotone`; `p`, the least for m' = 1, and `p_all`, the least for all pairs, infinite where
    there is none; `delta` and `delta_limit`, what it can be at most if all three conditions hold.
    NaN where something is not defined.

    Curves over `order` 1 to n: `count` of salient terms, `positive` and `negative` sums of their
    effects; `salient_dividends`, `bound`, `eta`; `mean`, which is the mean change of v.

    Args:
        game: v.
        terms: an explanation of v whose terms are counted; by default `and_or(game)`.
        tau: the least strength of a salient term, relative to the strongest.
        order: M; by default the highest order of a salient dividend.

    >>> import torch
    >>> squares = Game(lambda masks: masks.sum(1).double() ** 2, ("a", "b", "c"))
    >>> found = sparsity(squares)
    >>> found.numbers["salient"], round(found.numbers["p"], 6)
    (6.0, 2.0)
    """
    n = len(game.names)
    _check(tau, order, n)
    v, terms = given_or_found(game, terms)
    of_terms, of_dividends = _terms(terms, v, tau), _conditions(v - v[0], tau, order)
    return Measurement(
        {**of_terms.numbers, **of_dividends.numbers},
        {**of_terms.curves, **of_dividends.curves},
        {"salient dividends": ("order", "salient_dividends", "bound")},
    )


def strengths(terms: Interactions) -> Measurement:
    r"""The sizes of the effects from the strongest to the weakest, relative to the strongest.

    Curves: `rank`; `strength`, which is $|I| / \max |I|$; `mass`, the share of all |I| in the
    terms up to that rank.

    Args:
        terms: an explanation.

    >>> from unmask.interactions import and_interaction
    >>> game = Game(lambda masks: masks.double() @ torch.tensor([1.0, 3.0]).double(), ("a", "b"))
    >>> strengths(and_interaction(game)).curves["mass"]
    tensor([0.7500, 1.0000, 1.0000], dtype=torch.float64)
    """
    sizes_ = terms.effects.double().abs().sort(descending=True).values
    unit = sizes_[:1].clamp(min=torch.finfo(torch.float64).tiny)
    return Measurement(
        curves={
            "rank": torch.arange(1, len(sizes_) + 1, dtype=torch.float64),
            "strength": sizes_ / unit,
            "mass": sizes_.cumsum(0) / sizes_.sum().clamp(min=torch.finfo(torch.float64).tiny),
        }
    )


def _terms(terms: Interactions, v: Float[Tensor, " coalitions"], tau: float) -> Measurement:
    """How many terms matter, and how much of the game they explain."""
    n = len(terms.names)
    effects = terms.effects.double()
    strength = effects.abs()
    salient = _salient(strength, tau)
    error = (v - terms.empty - logic_values(terms, salient.long() - 1)[0]).square().sum()
    return Measurement(
        {
            "salient": float(salient.sum()),
            "share": float(salient.sum()) / max(1, 2 ** (n + 1) - n - 2),
            "terms_95": _count(fewest_terms(terms, v, 0.95)),
            "terms_99": _count(fewest_terms(terms, v, 0.99)),
            "mass": _ratio((strength * salient).sum(), strength.sum()),
            "fidelity": 1 - _ratio(error, (v - v.mean()).square().sum()),
            "unexplained": _ratio(error, (v - v[0]).square().sum()),
        },
        {
            "order": torch.arange(1, n + 1, dtype=torch.float64, device=v.device),
            "count": by_order(salient.double(), terms.order, n),
            "positive": by_order((effects * salient).clamp(min=0), terms.order, n),
            "negative": by_order((effects * salient).clamp(max=0), terms.order, n),
        },
    )


def _conditions(change: Float[Tensor, " coalitions"], tau: float, order: int | None) -> Measurement:
    """What the theorem says of the dividends, and whether it may."""
    size = sizes(change.shape[-1].bit_length() - 1).to(change.device)
    n = int(size[-1])
    mean = by_order(change, size, n) / by_order(torch.ones_like(change), size, n)
    rising = -1.0 if change[-1] < 0 else 1.0

    dividends = transform(change, MOEBIUS)
    strength = dividends.abs()
    salient = _salient(strength, tau)
    if order is None:
        order = int(size[salient].max()) if salient.any() else 0
    total, mass = by_order(dividends, size, n), by_order(strength, size, n)
    # |total / eta| is the mass, also where all effects cancel and eta is 0.
    bound = mass / (tau * strength.max()) if salient.any() else torch.zeros_like(mass)
    from_one, from_any = growth(rising * mean)
    constants = exponents(rising * total, rising * mean, from_one, order)
    steps = torch.diff(rising * mean, prepend=mean.new_zeros(1))
    above = strength * (size > order)
    return Measurement(
        {
            "salient_dividends": float(salient.sum()),
            "bound": float(bound.sum()),
            "order": float(order),
            "mass_above": _ratio(above.sum(), strength.sum()),
            "largest_above": _ratio(above.max(), strength.max()),
            "monotone": float((steps >= -_ALIKE * change.abs().max()).all()),
            "p": from_one,
            "p_all": from_any,
            "delta": constants.delta,
            "delta_limit": constants.limit,
        },
        {
            "salient_dividends": by_order(salient.double(), size, n),
            "bound": bound,
            "eta": total / mass.clamp(min=torch.finfo(torch.float64).tiny),
            "mean": mean,
        },
    )


def _salient(strength: Float[Tensor, " terms"], tau: float) -> Tensor:
    if strength.numel() == 0:
        return strength > 0
    return (strength >= tau * strength.max()) & (strength > 0)


def _ratio(part: Tensor, whole: Tensor) -> float:
    """A share; of nothing, nothing."""
    return float(part / whole) if whole > 0 else 0.0


def _count(terms: int | None) -> float:
    return math.nan if terms is None else float(terms)


def _check(tau: float, order: int | None, n: int) -> None:
    if not 0 < tau <= 1:
        raise ValueError(
            f"tau is a share of the strongest term, but got {tau}. Give a number above 0, up to 1."
        )
    if order is not None and not 1 <= order <= n:
        raise ValueError(
            f"The highest order of interactions among {n} players is from 1 to {n}, but got "
            f"{order}. Leave it out to take that of the salient ones."
        )
