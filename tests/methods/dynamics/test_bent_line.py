"""Lines with one bend: against bounded least squares, place by place."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from unmask.methods.dynamics.bent_line import any_bend, hinge, shoulders, straight, valley

S = torch.tensor([0.0, 0.7, 1.9, 2.4, 3.3, 4.1, 5.0, 6.2], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.7, 1.5], dtype=torch.float64)


def rows(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, len(S), generator=generator, dtype=torch.float64).cumsum(1)


def places():
    between = np.linspace(float(S[0]), float(S[-1]), 200)
    return np.unique(np.concatenate([S.numpy(), between]))


def bounded(y, columns, low, high):
    """The weighted error of least squares whose coefficients are kept within bounds."""
    root = np.sqrt(WEIGHTS.numpy())
    fit = lsq_linear(columns * root[:, None], y * root, (low, high), method="bvls")
    return 2 * fit.cost


@pytest.mark.parametrize("seed", range(4))
def test_a_valley_is_the_best_of_bounded_least_squares(seed):
    y = rows(1, seed)
    found = valley(S, y, WEIGHTS)
    s, best = S.numpy(), (math.inf, 0.0)
    for c in places():
        before, after = np.minimum(s - c, 0), np.maximum(s - c, 0)
        inner = s[1] <= c <= s[-2]
        kinds = [(before, after)] if inner else []
        kinds += [(before, 0 * s)] * int(c > s[0]) + [(0 * s, after)] * int(c < s[-1])
        for left, right in kinds:
            columns = np.stack([np.ones_like(s), left, right], 1)
            error = bounded(y[0].numpy(), columns, [-np.inf, -np.inf, 0], [np.inf, 0, np.inf])
            best = min(best, (error, c))
    assert float(found.error) == pytest.approx(best[0], rel=1e-9)
    assert float(found.place) == pytest.approx(best[1], abs=1e-9)
    left = ((y - found.fitted).square() * WEIGHTS).sum()
    assert float(left) == pytest.approx(best[0], rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_hinge_is_the_best_of_bounded_least_squares(seed):
    y = rows(1, seed)
    found = hinge(S, y, WEIGHTS)
    s = S.numpy()
    errors = []
    for c in places():
        columns = np.stack([np.ones_like(s), np.maximum(s - c, 0)], 1)
        errors.append(bounded(y[0].numpy(), columns, [-np.inf, 0], [np.inf, np.inf]))
    assert float(found.error) == pytest.approx(min(errors), rel=1e-9)
    assert float(found.before) == 0


def test_any_bend_leaves_no_more_than_a_straight_line():
    y = rows(30)
    _, line = straight(S, y, WEIGHTS)
    assert (any_bend(S, y, WEIGHTS).error <= line * (1 + 1e-12)).all()
    fit = np.polyfit(S.numpy(), y[0].numpy(), 1, w=WEIGHTS.sqrt().numpy())
    fitted, _ = straight(S, y, WEIGHTS)
    assert torch.allclose(fitted[0], torch.tensor(np.polyval(fit, S.numpy())), atol=1e-12)


def test_many_rows_are_fitted_as_each_by_itself():
    y = rows(7)
    together = valley(S, y, WEIGHTS)
    for i in range(7):
        alone = valley(S, y[i : i + 1], WEIGHTS)
        assert float(together.place[i]) == float(alone.place)
        assert float(together.error[i]) == pytest.approx(float(alone.error), rel=1e-12)


def test_planted_bends_are_found_exactly():
    y = (-1.5 * (S - 2.4).clamp(max=0) * 1.0 + 0.5 * (S - 2.4).clamp(min=0) + 3)[None]
    found = valley(S, y, WEIGHTS)
    assert float(found.place) == pytest.approx(2.4, abs=1e-12)
    assert (float(found.before), float(found.after)) == pytest.approx((-1.5, 0.5), abs=1e-9)
    assert float(hinge(S, 2 + (S - 3.3).clamp(min=0)[None], WEIGHTS).place) == pytest.approx(3.3)


def test_a_course_that_only_falls_bends_at_its_end_and_one_that_only_rises_at_its_beginning():
    assert float(valley(S, -S[None], WEIGHTS).place) == float(S[-1])
    assert float(valley(S, S[None], WEIGHTS).place) == float(S[0])
    level = valley(S, torch.ones(1, 8, dtype=torch.float64), WEIGHTS)
    assert float(level.error) == pytest.approx(0, abs=1e-20)
    assert float(hinge(S, -S[None], WEIGHTS).place) == float(S[-1])


def test_shoulders_are_found_where_they_are_planted_and_nowhere_else():
    s = torch.arange(16, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(16, generator=generator, dtype=torch.float64)
    inside = s.clamp(4, 12)
    y = -0.5 * (inside - 8).clamp(max=0) + 0.25 * (inside - 8).clamp(min=0)
    ones = torch.ones(16, dtype=torch.float64)
    assert shoulders(s, y + noise, ones) == (4.0, 12.0)
    whole = -0.5 * (s - 8).clamp(max=0) + 0.25 * (s - 8).clamp(min=0)
    assert shoulders(s, whole, ones) == (0.0, 15.0)
    assert shoulders(s, -s, ones)[0] == 0.0
