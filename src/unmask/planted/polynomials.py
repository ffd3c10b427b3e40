"""Polynomials, whose Taylor terms are known about every point."""

from collections.abc import Mapping
from math import comb

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.planted.games import terms_of
from unmask.results import Interactions

Terms = Mapping[tuple[int, ...], float]
"""The degree of every column -> the coefficient of that product of powers."""


class Polynomial(nn.Module):
    r"""A sum of products of powers, differentiable as often as one likes, at zero as well.

    $$
    f(x) = \sum_\kappa c_\kappa \prod_i x_i^{\kappa_i}
    $$

    It returns one number per input, computed in the dtype of the input.

    Args:
        terms: c, by the degrees kappa, one whole number of at least 0 per column.

    >>> f = Polynomial({(1, 0): 2.0, (2, 1): 1.0})
    >>> f(torch.tensor([[3.0, 5.0]]))
    tensor([[51.]])
    """

    degrees: Tensor
    coefficients: Tensor

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        widths = {len(kappa) for kappa in terms}
        if len(widths) != 1 or 0 in widths or min(min(kappa) for kappa in terms) < 0:
            raise ValueError(
                f"The terms of a polynomial have the degrees {list(terms)}. "
                "Give at least one term, and for each the same number of degrees of at least 0."
            )
        self.terms = dict(terms)
        self.register_buffer("degrees", torch.tensor(list(terms)))
        coefficients = [float(c) for c in terms.values()]
        self.register_buffer("coefficients", torch.tensor(coefficients, dtype=torch.float64))

    def forward(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch 1"]:
        # Powers by repeated products: of x ** 0 at zero, autograd has no second derivative.
        powers = [torch.ones_like(x)]
        for _ in range(int(self.degrees.max())):
            powers.append(powers[-1] * x)
        table = torch.stack(powers, dim=1)
        products = self.coefficients.to(x).expand(len(x), -1)
        for column in range(self.degrees.shape[1]):
            products = products * table[:, self.degrees[:, column], column]
        return products.sum(1, keepdim=True)


def recentred(polynomial: Polynomial, baseline: Float[Tensor, " columns"]) -> Polynomial:
    r"""The same polynomial, written in the distance from another point.

    $$
    c'_\kappa = \sum_{\mu \ge \kappa} c_\mu \prod_i \binom{\mu_i}{\kappa_i} b_i^{\mu_i - \kappa_i},
    \qquad f(b + d) = \sum_\kappa c'_\kappa \prod_i d_i^{\kappa_i}
    $$

    Args:
        polynomial: f.
        baseline: b.
    """
    b = baseline.tolist()
    found: dict[tuple[int, ...], float] = {}
    for mu, coefficient in polynomial.terms.items():
        parts = {(): coefficient}
        for degree, at in zip(mu, b, strict=True):
            parts = {
                (*kappa, k): c * comb(degree, k) * at ** (degree - k)
                for kappa, c in parts.items()
                for k in range(degree + 1)
            }
        for kappa, c in parts.items():
            found[kappa] = found.get(kappa, 0.0) + c
    return Polynomial(found)


def taylor_terms(
    polynomial: Polynomial, x: Float[Tensor, " columns"], baseline: Float[Tensor, " columns"]
) -> dict[tuple[int, ...], float]:
    r"""What every Taylor term about a baseline adds at an input; the term of degree 0 is f(b).

    $$
    \phi(\kappa) = c'_\kappa \prod_i (x_i - b_i)^{\kappa_i}
    $$

    Args:
        polynomial: f.
        x: one input.
        baseline: b.

    >>> f = Polynomial({(1, 0): 2.0, (2, 1): 1.0})
    >>> taylor_terms(f, torch.tensor([3.0, 5.0]), torch.zeros(2))
    {(1, 0): 6.0, (2, 1): 45.0}
    """
    steps = [float(a) - float(b) for a, b in zip(x, baseline, strict=True)]
    about = recentred(polynomial, baseline).terms
    found: dict[tuple[int, ...], float] = {}
    for kappa, effect in about.items():
        for degree, step in zip(kappa, steps, strict=True):
            effect *= step**degree
        if effect != 0:
            found[kappa] = effect
    return found


def polynomial_terms(
    polynomial: Polynomial, x: Float[Tensor, " columns"], baseline: Float[Tensor, " columns"]
) -> Interactions:
    r"""The AND terms of the game in which columns of an input are hidden by the baseline.

    $$
    a(T) = \sum_{\kappa:\ \kappa_i > 0 \iff i \in T} \phi(\kappa)
    $$

    Args:
        polynomial: f.
        x: one input.
        baseline: b.
    """
    names = tuple(f"feature {i + 1}" for i in range(len(x)))
    effects: dict[tuple[str, ...], float] = {}
    for kappa, effect in taylor_terms(polynomial, x, baseline).items():
        support = tuple(name for name, degree in zip(names, kappa, strict=True) if degree)
        effects[support] = effects.get(support, 0.0) + effect
    empty = effects.pop((), 0.0)
    return terms_of(names, ands=effects, empty=empty)
