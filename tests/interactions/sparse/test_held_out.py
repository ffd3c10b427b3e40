"""The coalitions that judge, and what is said of games that are constant on them."""

import numpy as np
import pytest
import torch

from unmask.game import Game
from unmask.interactions.sparse.held_out import held_out
from unmask.interactions.sparse.purse import Purse


def judge(value, n=50, budget=3000):
    game = Game(value, tuple(map(str, range(n))))
    return held_out(Purse(game, budget), n, np.random.default_rng(0))


def test_which_coalitions():
    found = judge(lambda m: m.sum(1).double())
    assert (len(found.uniform), len(found.near_full)) == (200, 100)
    assert found.near_full[0].all()  # the input itself
    assert set((~found.near_full).sum(1).tolist()) == set(range(11))
    assert found.uniform.mean() == pytest.approx(0.5, abs=0.02)  # of 10,000 draws


def test_shares_of_the_variance():
    found = judge(lambda m: m.sum(1).double())
    part = found.residuals(lambda m: m[:, :25].sum(1) + 12.5)
    v = found.uniform.sum(1).astype(float)
    assert part[0] == pytest.approx(((found.uniform[:, 25:].sum(1) - 12.5) ** 2).mean() / v.var())
    assert found.residuals(lambda m: m.sum(1) * 1.0) == (0.0, 0.0)


def test_a_constant_is_explained_or_missed():
    found = judge(lambda m: torch.full((len(m),), 3.0))
    assert found.residuals(lambda m: np.full(len(m), 3.0)) == (0.0, 0.0)
    assert found.residuals(lambda m: np.full(len(m), 3.0 + 1e-9)) == (0.0, 0.0)
    assert found.residuals(lambda m: np.full(len(m), 3.1)) == (np.inf, np.inf)


def test_a_game_in_few_digits_is_not_taken_for_a_constant():
    found = judge(lambda m: (10 + m[:, 0] * 1.0).to(torch.bfloat16))
    assert found.rounding > 1  # no search for single terms
    assert found.residuals(lambda m: np.full(len(m), found.values.mean()))[0] == pytest.approx(1)


def test_noise_is_what_the_same_question_shows():
    generator = torch.Generator().manual_seed(0)
    found = judge(lambda m: torch.randn(len(m), generator=generator).double())
    assert 0.5 < found.noise < 6  # the largest of eight differences of two normal numbers
    assert found.rounding == 4 * found.noise
