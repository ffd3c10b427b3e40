from math import log

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad

from strategies import tabled
from unmask.lattice import coalitions
from unmask.methods.saliency import shapley_exact
from unmask.methods.saliency.shapley import odd_process
from unmask.methods.saliency.shapley.odd_process import Parameters, posterior

N = 5
SIGNS = 2 * coalitions(N).double() - 1
KNOWN = Parameters(torch.tensor([0.1, 0.5, 0.9, 0.02, 0.4]).double(), 0.7, 0.3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_covariance(known):
    """Entry by entry, from the formula; a pair's u is the negative of its complement's."""
    b = known.b.tolist()
    k = torch.zeros(2**N, 2**N, dtype=torch.float64)
    for i, one in enumerate(SIGNS.tolist()):
        for j, other in enumerate(SIGNS.tolist()):
            alike = [p * q for p, q in zip(one, other, strict=True)]
            bent = np.sinh(np.dot(alike, b)) / np.sinh(sum(b))
            k[i, j] = odd_process._SUM / N * sum(alike) + known.smooth * bent
            k[i, j] += known.rough * ((i == j) - (i == 2**N - 1 - j))
    return k


def shapley(table):
    return shapley_exact(tabled(table.clone())).values[0]


def of_kernel(signs, known):
    rough = known.rough * odd_process._shapley_weights(signs)
    return odd_process._shapley_of_kernel(signs, known) + rough


def test_shapley_values_of_the_covariance():
    k = slow_covariance(KNOWN)
    each = torch.stack([shapley(row) for row in k])
    upper = SIGNS.sum(1) > -N  # the empty coalition is told by the full one
    assert torch.allclose(each[upper], of_kernel(SIGNS[upper], KNOWN), atol=1e-12)
    both = torch.stack([shapley(each[:, i])[i] for i in range(N)])
    assert torch.allclose(both, odd_process._prior_variance(N, KNOWN), atol=1e-12)


def test_all_pairs_leave_nothing_open_whatever_the_parameters(monkeypatch):
    table = torch.randn(2**N, generator=seeded(), dtype=torch.float64)
    masks = coalitions(N)[1 : 2 ** (N - 1)]
    odd = (tabled(table)(masks) - tabled(table)(~masks)) / 2
    for rough in (0.01, 5.0):
        known = Parameters(KNOWN.b, KNOWN.smooth, rough)
        monkeypatch.setattr(odd_process, "learnt", lambda signs, odd, known=known: known)
        found = posterior(masks, odd, (table[-1] - table[0]) / 2)
        assert torch.allclose(found.values, shapley(table), atol=1e-9)
        assert (found.variance < 1e-10).all()  # rounding of a prior variance of eight


def test_the_posterior_is_the_best_linear_guess(monkeypatch):
    """From some pairs: conditional mean and variance of a normal vector, with plain matrices."""
    monkeypatch.setattr(odd_process, "learnt", lambda signs, odd: KNOWN)
    k = slow_covariance(KNOWN)
    places = [31, 1, 6, 9, 20]
    seen = torch.tensor(places)
    u = torch.randn(5, generator=seeded(4), dtype=torch.float64)
    weights = torch.stack([shapley(row) for row in torch.eye(32).double()])  # of v(S), per player
    cross = weights.T @ k[:, seen]
    inverse = torch.linalg.inv(k[seen][:, seen])
    mean = cross @ inverse @ u
    variance = (weights.T @ k @ weights).diagonal() - (cross @ inverse @ cross.T).diagonal()
    found = posterior(coalitions(N)[places[1:]], u[1:], u[0])
    assert torch.allclose(found.values, mean, atol=1e-10)
    ratio = found.variance / variance
    assert torch.allclose(ratio, ratio[0].expand(N), rtol=1e-9)  # one scale, read off the data
    others = torch.tensor([3, 17, 12])
    smooth = k - KNOWN.rough * (torch.eye(32) - torch.eye(32).flip(1))
    expected = smooth[others][:, seen] @ inverse @ u
    assert torch.allclose(found(coalitions(N)[others]), expected, atol=1e-10)


def test_what_is_learnt_has_the_slope_that_is_told(monkeypatch):
    caught = {}
    monkeypatch.setattr(
        odd_process,
        "minimize",
        lambda f, start, **_: caught.update(f=f, start=start) or type("R", (), {"x": start}),
    )
    signs = SIGNS[16:]
    odd_process.learnt(signs, torch.randn(16, generator=seeded(1), dtype=torch.float64))
    f, start = caught["f"], caught["start"]
    for seed in range(3):
        at = start + 0.5 * np.random.default_rng(seed).normal(size=N + 2)
        # differences of numbers near 40 leave 1e-6 of a slope
        assert check_grad(lambda x: f(x)[0], lambda x: f(x)[1], at, epsilon=1e-6) < 1e-4


def test_players_that_interact_are_told_from_those_that_do_not():
    masks = coalitions(8)
    table = masks.double().sum(1) + 6 * masks[:, :3].all(1).double()
    signs = 2 * masks[128:].double() - 1
    odd = ((table - table.flip(0)) / 2)[128:]
    b = odd_process.learnt(signs.flip(0), odd.flip(0)).b
    assert b[:3].min() > 5 * b[3:].max()


def test_of_nothing_nothing_is_learnt():
    found = odd_process.learnt(SIGNS[16:], torch.zeros(16).double())
    assert found.b.tolist() == pytest.approx([2 / N] * N)
    assert log(found.smooth) == pytest.approx(-2)


def test_large_b_does_not_overflow():
    known = Parameters(torch.full((400,), 2.0).double(), 1.0, 0.1)
    signs = torch.ones(3, 400).double()
    signs[1, :200] = signs[2, 0] = -1
    assert of_kernel(signs, known).isfinite().all()
    assert odd_process._prior_variance(400, known).isfinite().all()
    assert odd_process._smooth(signs, signs, known.b, 1.0).isfinite().all()
