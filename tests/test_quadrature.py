import math

import pytest

from unmask.quadrature import gauss_legendre, midpoint


@pytest.mark.parametrize("nodes", [1, 2, 3, 8, 30])
def test_gauss_legendre_integrates_polynomials_exactly(nodes):
    for degree in range(2 * nodes):
        integral = sum(weight * x**degree for x, weight in gauss_legendre(nodes))
        assert integral == pytest.approx(1 / (degree + 1), abs=1e-13)


def test_gauss_legendre_misses_the_next_degree():
    integral = sum(weight * x**4 for x, weight in gauss_legendre(2))
    assert abs(integral - 1 / 5) == pytest.approx(1 / 180, abs=1e-14)


@pytest.mark.parametrize("nodes", [1, 5, 64])
def test_midpoints_are_equal_steps(nodes):
    rule = midpoint(nodes)
    assert sum(weight for _, weight in rule) == pytest.approx(1)
    assert [x for x, _ in rule] == pytest.approx([(2 * i + 1) / (2 * nodes) for i in range(nodes)])
    # For a function with bounded second derivative M the error is at most M / (24 nodes^2).
    integral = sum(weight * math.exp(x) for x, weight in rule)
    assert abs(integral - (math.e - 1)) <= math.e / (24 * nodes**2)


@pytest.mark.parametrize("rule", [gauss_legendre, midpoint])
def test_no_nodes_are_refused(rule):
    with pytest.raises(ValueError, match="got 0"):
        rule(0)
