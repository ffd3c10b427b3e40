"""What proves that terms are the sparsest: limits, duality, and the derivative by the values."""

import itertools

import pytest
import torch

from logics import network_table, subsets
from unmask.interactions.solver.dual import of_ands, of_sparsest


def tables(n, count=2):
    return torch.stack([network_table(n, seed) for seed in range(count)])


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("proven", [of_sparsest, of_ands])
def test_weights_of_values_add_up_to_the_norm(n, proven):
    v = tables(n)
    found = proven(v)
    proved = (found.weight * v).sum(1)
    # The interior point stops at a gap of 1e-9 or earlier where the numbers have no more to give.
    assert torch.allclose(proved, found.l1, rtol=2e-8)
    assert found.weight.sum(1).abs().max() < 1e-9  # a constant is no term


def test_weights_keep_the_limits_of_every_term():
    """A single term of effect 1 has the norm 1, and u must not prove more."""
    n = 5
    for u in of_sparsest(tables(n)).weight.tolist():
        for term in subsets(n)[1:]:
            by_and = sum(weight for s, weight in zip(subsets(n), u, strict=True) if term <= s)
            by_or = sum(weight for s, weight in zip(subsets(n), u, strict=True) if term & s)
            assert abs(by_and) <= 1 + 1e-9
            assert abs(by_or) <= 1 + 1e-9


def test_ands_alone_are_weighted_by_their_signs():
    v = tables(3, 1)
    found = of_ands(v)
    parts = subsets(3)
    dividends = [
        sum((-1) ** (len(t) - len(s)) * float(v[0, j]) for j, s in enumerate(parts) if s <= t)
        for t in parts
    ]
    assert float(found.l1) == pytest.approx(sum(map(abs, dividends[1:])))
    for j, s in enumerate(parts):
        expected = sum(
            (1 if a > 0 else -1) * (-1) ** (len(t) - len(s))
            for t, a in zip(parts, dividends, strict=True)
            if t and s <= t
        )
        assert float(found.weight[0, j]) == pytest.approx(expected)


@pytest.mark.parametrize("proven", [of_sparsest, of_ands])
def test_the_weights_are_the_derivative_of_the_norm(proven):
    # Of eight players, as in the specification: with steps of 1e-4 a difference crosses kinks.
    v = tables(8, 1)
    direction = torch.randn(v.shape, generator=torch.Generator().manual_seed(1)).double()
    h = 1e-5
    slope = float((proven(v).weight * direction).sum())
    higher, lower = proven(v + h * direction).l1, proven(v - h * direction).l1
    assert slope == pytest.approx(float(higher - lower) / (2 * h), rel=1e-3)


def test_the_weights_of_one_game_bound_the_norm_of_any_other():
    v = tables(4, 5)
    found = of_sparsest(v)
    for one, other in itertools.product(range(5), repeat=2):
        assert float(found.weight[one] @ v[other]) <= float(found.l1[other]) * (1 + 1e-9)


def test_a_coarse_proof_says_how_coarse_it_is():
    v = tables(6)
    found, best = of_sparsest(v, precision=1e-2), of_sparsest(v)
    proved = (found.weight * v).sum(1)
    assert (proved <= best.l1 * (1 + 1e-9)).all()
    assert (found.l1 >= best.l1 * (1 - 1e-9)).all()
    assert ((found.l1 - proved) / found.l1 <= 1e-2).all()


def test_a_game_without_terms_has_no_weights():
    found = of_sparsest(torch.full((2, 8), 3.0))
    assert found.l1.tolist() == [0, 0]
    assert not found.weight.any()
