"""Nodes and weights for integrals over [0, 1]."""

import numpy as np


def gauss_legendre(nodes: int) -> list[tuple[float, float]]:
    """Exact for polynomials of degree up to 2 * nodes - 1."""
    _at_least_one(nodes)
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return list(zip(((x + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


def midpoint(nodes: int) -> list[tuple[float, float]]:
    """Equal steps; for integrands with kinks no worse than anything of higher order."""
    _at_least_one(nodes)
    return [((i + 0.5) / nodes, 1 / nodes) for i in range(nodes)]


def _at_least_one(nodes: int) -> None:
    if nodes < 1:
        raise ValueError(f"A quadrature needs nodes, but got {nodes}. Give at least one.")
