"""The linear programme, its bound, and the solvers one by one, against dense matrices."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strategies import tables
from unmask import features, logit, masked
from unmask.interactions.solver.interior_point import interior_point
from unmask.interactions.solver.permutation_basis import InverseOfSum, spin_basis
from unmask.interactions.solver.programme import DISJOINT, SIGNED, Best, Programme, programme
from unmask.interactions.solver.settling import settle
from unmask.interactions.solver.sparsest import sparsest
from unmask.interactions.solver.splitting import least_squares, splitting
from unmask.interactions.solver.tolerant_splitting import tolerant_splitting
from unmask.planted import relu_network


def random_tables(batch: int, players: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(batch, 2**players, generator=generator).double()
    return table - table[:, :1]


def plain(values: Tensor, tolerance: float = 0.0) -> Programme:
    players = values.shape[1].bit_length() - 1
    weights = torch.ones(players + 1).double()
    return programme(values, weights, tolerance * values[:, -1].abs())


def and_or_effects(problem: Programme, y: Tensor, q: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Effects of the AND and the OR terms, by coalition."""
    x = problem.and_terms(y, q)
    sign = torch.tensor([(-1.0) ** bin(i).count("1") for i in range(x.shape[1])]).double()
    return x * sign, y.flip(1)


def synthesis(ands: Tensor, ors: Tensor) -> Tensor:
    """The values of AND and OR effects, by their definition."""
    size = ands.shape[1]
    out = torch.zeros_like(ands)
    for there in range(size):
        for term in range(1, size):
            if term & there == term:
                out[:, there] += ands[:, term]
            if term & there:
                out[:, there] += ors[:, term]
    return out


@given(tables(1, 4), st.integers(0, 1000))
def test_whatever_y_and_q_the_terms_reproduce_the_game(table, seed):
    values = (table - table[0])[None]
    generator = torch.Generator().manual_seed(seed)
    y, q = torch.randn(2, 1, len(table), generator=generator).double()
    y[:, -1] = 0
    q[:, 0] = 0
    problem = plain(values, 0.1)
    close = {"rtol": 0, "atol": 1e-11 * max(1.0, float(table.abs().max()))}
    torch.testing.assert_close(synthesis(*and_or_effects(problem, y)), values, **close)
    torch.testing.assert_close(synthesis(*and_or_effects(problem, y, q)), values + q, **close)
    ands, ors = and_or_effects(problem, problem.merged(y), q)
    torch.testing.assert_close(synthesis(ands, ors), values + q, **close)
    assert float(ors[0, [2**i for i in range(problem.players)]].abs().max()) == 0
    expected = float(ands.abs().sum() + ors.abs().sum())
    assert float(problem.cost(y, q)[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
@pytest.mark.parametrize("players", [2, 4, 6])
@pytest.mark.parametrize("precision", [1e-1, 1e-2, 1e-8])
def test_the_certificate_proves_the_bound(players, tolerance, precision):
    """Every AND-OR sum of this game costs at least `lower`: checked column by column."""
    values = random_tables(3, players)
    best = sparsest(
        values,
        weights=torch.ones(players + 1).double(),
        noise=tolerance * values[:, -1].abs(),
        precision=precision,
        steps=5000,
    )
    assert bool((best.gap <= precision).all())
    size = values.shape[1]
    for row in range(3):
        # The prices u of the coalitions' values: V^T lambda, written out.
        price = [
            (-1) ** bin(there).count("1")
            * sum(float(best.dual[row, above]) for above in range(size) if above & there == there)
            for there in range(size)
        ]
        for term in range(1, size):
            inside = sum(price[t] for t in range(size) if t & term == term)
            touching = sum(price[t] for t in range(size) if t & term)
            assert abs(inside) <= 1 + 1e-9
            assert abs(touching) <= 1 + 1e-9
        worth = sum(a * float(b) for a, b in zip(price, values[row], strict=True))
        box = tolerance * abs(float(values[row, -1]))
        proven = worth - box * sum(abs(a) for a in price[1:])
        assert float(best.lower[row]) == pytest.approx(proven, rel=1e-9, abs=1e-9)
        assert float(best.lower[row]) <= float(best.upper[row]) * (1 + 1e-12)


@pytest.mark.parametrize("players", [1, 3, 7, 8, 9])
def test_spins_are_an_orthogonal_basis_that_makes_blocks(players):
    basis, layout = spin_basis(players)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2**players), atol=1e-12)
    matrix = np.array([[2.0, 1.0], [1.0, 1.0]])
    power = np.ones((1, 1))
    for _ in range(players):
        power = np.kron(power, matrix)
    turned = basis @ power @ basis.T
    expected = np.zeros_like(turned)
    for first, copies, width in layout:
        block = turned[first : first + width, first : first + width]
        for copy in range(copies):
            at = slice(first + copy * width, first + (copy + 1) * width)
            expected[at, at] = block
    np.testing.assert_allclose(turned, expected, atol=1e-9 * np.abs(turned).max())


@pytest.mark.parametrize("players", [1, 2, 6, 8])
def test_the_inverse_of_the_sum_is_that_of_dense_matrices(players):
    a, b = DISJOINT @ DISJOINT.T, SIGNED @ SIGNED.T
    powers = [np.ones((1, 1)), np.ones((1, 1))]
    for _ in range(players):
        powers = [np.kron(powers[0], a), np.kron(powers[1], b)]
    right = random_tables(2, players)
    beta = torch.tensor([0.3, 7.0]).double()[:, None, None]
    found = InverseOfSum(a, b, players, right)(right, beta)
    for row in range(2):
        whole = np.eye(2**players) + powers[0] + float(beta[row]) * powers[1]
        np.testing.assert_allclose(
            found[row].numpy(), np.linalg.solve(whole, right[row].numpy()), atol=1e-9
        )


@pytest.mark.parametrize("players", [2, 3, 6])
def test_least_squares_terms_are_those_of_the_dense_pseudo_inverse(players):
    values = random_tables(2, players)
    size = 2**players
    atoms = np.zeros((size, 2 * (size - 1)))
    for there in range(size):
        for term in range(1, size):
            atoms[there, term - 1] = term & there == term
            atoms[there, size - 2 + term] = bool(term & there)
    wanted = np.linalg.pinv(atoms) @ values.numpy().T
    problem = plain(values)
    x, y = least_squares(problem)
    ands, ors = and_or_effects(problem, y)
    np.testing.assert_allclose(ands[:, 1:].numpy(), wanted[: size - 1].T, atol=1e-9)
    np.testing.assert_allclose(ors[:, 1:].numpy(), wanted[size - 1 :].T, atol=1e-9)
    torch.testing.assert_close(x.abs(), ands.abs())


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
@pytest.mark.parametrize("players", [3, 7])
def test_both_kinds_of_solver_meet(players, tolerance):
    problem = plain(random_tables(3, players), tolerance)
    inner, outer = Best(problem), Best(problem)
    interior_point(problem, inner, precision=1e-9)
    method = tolerant_splitting if tolerance else splitting
    method(problem, outer, precision=1e-3, steps=20000)
    assert float(inner.gap.max()) <= 1e-8
    assert float(outer.gap.max()) <= 1e-3
    torch.testing.assert_close(inner.upper, outer.upper, rtol=1e-3, atol=0)
    assert bool((outer.lower <= inner.upper * (1 + 1e-12)).all())
    assert bool((inner.lower <= outer.upper * (1 + 1e-12)).all())


@pytest.mark.parametrize(("tolerance", "gap"), [(0.0, 1e-3), (0.04, 1.25e-3)])
def test_the_mean_of_the_dual_vectors_proves_what_splitting_has_reached(tolerance, gap):
    """A sum in place of half of the mean proves nothing: gaps of 1.4e-3 and 1.8e-3 were left."""
    tables = []
    for seed in range(4):
        network = relu_network(8, torch.Generator().manual_seed(seed))
        x = torch.randn(8, generator=torch.Generator().manual_seed(seed + 9)).double()
        game = masked(logit(network, 0), x, features(8), torch.zeros(8).double())
        tables.append(game.table() - game.table()[0])
    problem = plain(torch.stack(tables), tolerance)
    best = Best(problem)
    method = tolerant_splitting if tolerance else splitting
    method(problem, best, precision=0.0, steps=500 if tolerance else 400)
    assert float(best.gap.max()) < gap


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_settled_terms_are_as_sparse_as_a_corner_allows(tolerance):
    players = 6
    problem = plain(random_tables(4, players), tolerance)
    best = Best(problem)
    interior_point(problem, best, precision=1e-9)
    before = best.upper.clone()
    settle(best, 1e-6)
    torch.testing.assert_close(best.upper, before, rtol=1e-8, atol=0)
    terms = (best.and_terms() != 0).sum(1) + (best.y != 0).sum(1)
    free = torch.zeros(4, dtype=torch.long)
    if best.q is not None:
        free = (best.q[:, 1:].abs() < problem.noise[:, None] * (1 - 1e-6)).sum(1)
    # A corner of the programme has no more free numbers than there are equations.
    assert bool((terms + free <= 2**players - 1).all())
    values = synthesis(*and_or_effects(problem, best.y, best.q))
    kept = best.and_terms()
    torch.testing.assert_close(kept, problem.and_terms(best.y, best.q), rtol=0, atol=1e-12)
    assert values.isfinite().all()


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_splitting_goes_on_where_the_interior_point_stops_short(monkeypatch, tolerance):
    monkeypatch.setattr(sys.modules["unmask.interactions.solver.sparsest"], "MOST", 4)
    values = random_tables(3, 5)
    best = sparsest(
        values,
        weights=torch.ones(6).double(),
        noise=tolerance * values[:, -1].abs(),
        precision=5e-4,
        steps=5000,
    )
    assert float(best.gap.max()) <= 5e-4
    x = best.and_terms()
    torch.testing.assert_close(x, best.problem.and_terms(best.y, best.q), rtol=0, atol=1e-12)
    cost = x.abs().sum(1) + best.y.abs().sum(1)
    torch.testing.assert_close(cost, best.upper, rtol=1e-10, atol=0)


def test_bound_of_any_dual_stays_below_any_cost():
    problem = plain(random_tables(5, 5))
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        dual = torch.randn(5, 32, generator=generator).double()
        y = torch.randn(5, 32, generator=generator).double()
        bound = problem.bound(problem.certificate(dual))
        assert bool((bound >= 0).all())
        assert bool((bound <= problem.cost(y)).all())
