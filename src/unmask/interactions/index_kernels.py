"""How each interaction index weighs the dividends, or the joint contributions, of a game.

The weights are exact fractions: some of their sums alternate, and every table is tiny.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import comb

DividendKernel = Callable[[int, int, int], Fraction]
"""(size t of the dividend's set, size s of the explained set, order k) -> its weight."""

ContextWeight = Callable[[int, int, int, int], Fraction]
"""(size r of the context, size s of the joining set, players n, order k) -> its weight."""


def _whole(_t: int, _s: int, _k: int) -> Fraction:
    return Fraction(1)


def _same(t: int, s: int, _k: int) -> Fraction:
    return Fraction(t == s)


def _shapley(t: int, s: int, _k: int) -> Fraction:
    return Fraction(1, t - s + 1)


def _banzhaf(t: int, s: int, _k: int) -> Fraction:
    return Fraction(1, 2 ** (t - s))


def _chaining(t: int, s: int, _k: int) -> Fraction:
    return Fraction(s, t)


def _k_shapley(t: int, s: int, k: int) -> Fraction:
    """The Shapley interactions of orders s to k, gathered with Bernoulli's numbers."""
    return sum(
        (comb(t - s, i) * _bernoulli(i) * _shapley(t - i, s, k) for i in range(min(k, t) - s + 1)),
        Fraction(0),
    )


def _shapley_taylor(t: int, s: int, k: int) -> Fraction:
    if t <= k:
        return Fraction(t == s)
    return Fraction(s == k, comb(t, k))


def _faithful_shapley(t: int, s: int, k: int) -> Fraction:
    if t <= k:
        return Fraction(t == s)
    size = Fraction(s * comb(k, s) * comb(t - 1, k), (k + s) * comb(t + k - 1, k + s))
    return (-1) ** (k - s) * size


def _faithful_banzhaf(t: int, s: int, k: int) -> Fraction:
    if t <= k:
        return Fraction(t == s)
    return (-1) ** (k - s) * Fraction(comb(t - s - 1, k - s), 2 ** (t - s))


def _additive_shapley(t: int, s: int, k: int) -> Fraction:
    """The Shapley interactions of the k-additive game that Faith-Shap fits."""
    return sum(
        (
            comb(t - s, j - s) * _faithful_shapley(t, j, k) * _shapley(j, s, k)
            for j in range(s, min(k, t) + 1)
        ),
        Fraction(0),
    )


def _after_all_orders(r: int, s: int, n: int, _k: int) -> Fraction:
    return Fraction(1, (n - s + 1) * comb(n - s, r))


def _after_any_context(_r: int, s: int, n: int, _k: int) -> Fraction:
    return Fraction(1, 2 ** (n - s))


def _after_a_chain(r: int, s: int, n: int, _k: int) -> Fraction:
    return Fraction(s, (s + r) * comb(n, s + r))


def _first(r: int, _s: int, _n: int, _k: int) -> Fraction:
    return Fraction(r == 0)


def _last(r: int, s: int, n: int, _k: int) -> Fraction:
    return Fraction(r == n - s)


@cache
def _joint(r: int, s: int, n: int, k: int) -> Fraction:
    """Sets of up to k players arrive in random order; the same weight for every s."""
    if r == 0:
        return Fraction(1, sum(comb(n, i) for i in range(1, min(k, n) + 1)))
    arrived = sum((comb(r, i) * _joint(i, s, n, k) for i in range(max(0, r - k), r)), Fraction(0))
    return arrived * Fraction(1, sum(comb(n - r, i) for i in range(1, min(k, n - r) + 1)))


@cache
def _bernoulli(i: int) -> Fraction:
    """With B_1 = -1/2."""
    if i == 0:
        return Fraction(1)
    return -sum((comb(i + 1, j) * _bernoulli(j) for j in range(i)), Fraction(0)) / (i + 1)


DIVIDENDS: dict[str, DividendKernel] = {
    "Moebius": _same,
    "Co-Moebius": _whole,
    "SV": _shapley,
    "BV": _banzhaf,
    "SII": _shapley,
    "BII": _banzhaf,
    "CHII": _chaining,
    "k-SII": _k_shapley,
    "STII": _shapley_taylor,
    "FSII": _faithful_shapley,
    "FBII": _faithful_banzhaf,
    "kADD-SHAP": _additive_shapley,
}
"""Indices I(S) = sum of kernel(|T|, |S|) a(T) over all T that hold S."""

CONTEXTS: dict[str, ContextWeight] = {
    "SGV": _after_all_orders,
    "BGV": _after_any_context,
    "CHGV": _after_a_chain,
    "IGV": _first,
    "EGV": _last,
    "JointSV": _joint,
}
"""Values I(S) = sum of weight(|R|) (v(R and S) - v(R)) over all R without S."""
