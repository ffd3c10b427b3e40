"""The joint programme, its norm and its bound, against definitions and plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from strategies import tensors
from unmask.interactions.solver.joint_programme import (
    JointBest,
    JointProgramme,
    dual_norm,
    norm,
    shrunk,
)
from unmask.interactions.solver.joint_settling import joint_settle
from unmask.interactions.solver.joint_splitting import joint_splitting
from unmask.interactions.solver.programme import programme

ALPHAS = [0.0, 0.1, 0.5, 1.0]


def problem_of(v: Tensor, alpha: float, tolerance: float = 0.0) -> JointProgramme:
    v = v - v[..., :1]
    noise = tolerance * v[..., -1].abs()
    weights = torch.ones(v.shape[-1].bit_length()).double()
    single = programme(v.flatten(0, 1), weights, noise.flatten())
    return JointProgramme(single.w.view_as(v), alpha, noise)


def random_games(inputs: int, networks: int, players: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(inputs, 1, 2**players, generator=generator)
    return (common + 0.5 * torch.randn(inputs, networks, 2**players, generator=generator)).double()


def plain_norm(row: list[float], alpha: float) -> float:
    return (1 - alpha) * max(map(abs, row)) + alpha * sum(map(abs, row))


@given(tensors(3, 4), st.sampled_from(ALPHAS))
def test_the_norm_is_its_definition(z, alpha):
    wanted = [plain_norm(z[:, j].tolist(), alpha) for j in range(4)]
    assert norm(z, alpha).tolist() == pytest.approx(wanted)


@given(tensors(3), st.sampled_from(ALPHAS))
def test_the_dual_norm_is_the_largest_product_over_the_unit_ball(g, alpha):
    """By linear programming over z = a - b with N(z) at most one."""
    m = len(g)
    cost = np.concatenate([-g.numpy(), g.numpy(), [0.0]])
    rows = [np.concatenate([np.full(2 * m, alpha), [1 - alpha]])]
    for i in range(m):
        row = np.zeros(2 * m + 1)
        row[i] = row[m + i] = 1
        row[-1] = -1
        rows.append(row)
    found = linprog(cost, np.array(rows), [1.0] + [0.0] * m, bounds=[(0, None)] * (2 * m + 1))
    value = float(dual_norm(g[:, None], alpha))
    assert value == pytest.approx(-found.fun, abs=1e-9, rel=1e-7)
    over = (g.abs() - alpha * value).clamp_min(0).sum()  # the other way to say it
    assert float(over) == pytest.approx((1 - alpha) * value if alpha < 1 else 0, abs=1e-9, rel=1e-9)


@given(tensors(3), tensors(3), st.sampled_from(ALPHAS), st.sampled_from([0.0, 0.3, 2.0]))
def test_shrinking_finds_the_least_of_its_sum(z, other, alpha, tau):
    def value(u: Tensor) -> float:
        return tau * plain_norm(u.tolist(), alpha) + 0.5 * float((u - z).square().sum())

    u = shrunk(z[:, None], torch.tensor([[tau]], dtype=torch.float64), alpha)[:, 0]
    least = value(u)
    for share in (1.0, 0.1, 1e-3):
        assert least <= value(u + share * (other - u)) + 1e-12 * (1 + least)
    # What it takes off lies in tau times the dual ball and is aligned with u: the exact condition.
    off = z - u
    assert float(dual_norm(off[:, None], alpha)) <= tau * (1 + 1e-9) + 1e-12
    assert float(off @ u) == pytest.approx(tau * plain_norm(u.tolist(), alpha), abs=1e-9, rel=1e-9)


@given(tensors(1, 5), st.sampled_from(ALPHAS))
def test_one_network_is_shrunk_softly(z, alpha):
    tau = torch.full((1, 5), 0.7, dtype=torch.float64)
    wanted = [max(abs(a) - 0.7, 0.0) * (1 if a > 0 else -1) for a in z[0].tolist()]
    assert shrunk(z, tau, alpha)[0].tolist() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_the_bound_is_proven_column_by_column(alpha, tolerance):
    """Prices u of the values of all coalitions, from the dual; no atom may be worth its price."""
    players, networks = 3, 3
    games = random_games(2, networks, players)
    games = games - games[..., :1]
    problem = problem_of(games, alpha, tolerance)
    generator = torch.Generator().manual_seed(5)
    size = 2**players
    for _ in range(5):
        dual = torch.randn(2, networks, size, generator=generator).double()
        certificate = problem.certificate(dual)
        bound = problem.bound(certificate)
        for row in range(2):
            price = [
                [
                    (-1) ** bin(t).count("1")
                    * sum(float(certificate[row, i, s]) for s in range(size) if s & t == t)
                    for t in range(size)
                ]
                for i in range(networks)
            ]
            for term in range(1, size):
                for fires in (
                    [t & term == term for t in range(size)],
                    [t & term > 0 for t in range(size)],
                ):
                    g = [sum(p for p, f in zip(u, fires, strict=True) if f) for u in price]
                    over = sum(max(abs(a) - alpha, 0.0) for a in g)
                    assert over <= 1 - alpha + 1e-9
                    assert max(map(abs, g)) <= 1 + 1e-9
            worth = sum(
                a * float(b)
                for u, v in zip(price, games[row], strict=True)
                for a, b in zip(u, v, strict=True)
            )
            spent = sum(
                tolerance * abs(float(games[row, i, -1])) * sum(map(abs, price[i][1:]))
                for i in range(networks)
            )
            assert float(bound[row]) == pytest.approx(max(worth - spent, 0), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_any_bound_stays_below_any_cost(tolerance):
    problem = problem_of(random_games(4, 2, 4), 0.1, tolerance)
    generator = torch.Generator().manual_seed(1)
    box = problem.noise[..., None]
    for _ in range(20):
        dual, y, q = torch.randn(3, 4, 2, 16, generator=generator).double()
        q = q.clamp(-box, box)
        q[..., 0] = 0
        bound = problem.bound(problem.certificate(dual))
        assert bool((bound >= 0).all())
        assert bool((bound <= problem.cost(y, q)).all())


@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_inputs_are_solved_alone_as_together(tolerance):
    games = random_games(3, 2, 4)
    together = JointBest(problem_of(games, 0.1, tolerance))
    joint_splitting(together.problem, together, precision=1e-2, steps=500)
    assert bool((together.gap <= 1e-2).all())
    for row in range(3):
        alone = JointBest(problem_of(games[row : row + 1], 0.1, tolerance))
        joint_splitting(alone.problem, alone, precision=1e-2, steps=500)
        torch.testing.assert_close(alone.y[0], together.y[row], rtol=0, atol=1e-9)
        torch.testing.assert_close(alone.lower[0], together.lower[row])


@pytest.mark.parametrize("seed", [0, 1, 4])  # which terms vanish is known early in these
def test_settling_keeps_the_gap_and_every_value(seed):
    games = random_games(2, 2, 5, seed)
    best = JointBest(problem_of(games, 0.1))
    joint_splitting(best.problem, best, precision=1e-4, steps=2000)
    before = best.gap.clone()
    joint_settle(best, 1e-4)
    assert bool(
        (
            best.gap <= torch.maximum(before, torch.tensor(1e-4, dtype=torch.float64)) * (1 + 1e-9)
        ).all()
    )
    torch.testing.assert_close(best.and_terms(), best.problem.and_terms(best.y), rtol=0, atol=1e-12)
    assert bool(best.silent.any())


def test_settling_leaves_alone_what_it_cannot_prove():
    """Zeros in the wrong places: no logic has them, and what was found stays."""
    games = random_games(1, 2, 4)
    best = JointBest(problem_of(games, 0.1))
    joint_splitting(best.problem, best, precision=1e-3, steps=1000)
    y, upper = best.y.clone(), best.upper.clone()
    best.short = torch.zeros_like(best.short)
    joint_settle(best, 1e-3)
    assert torch.equal(best.y, y)
    assert torch.equal(best.upper, upper)
    assert not best.silent.any()
