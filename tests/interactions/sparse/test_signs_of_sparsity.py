"""What a few questions tell of games that are known."""

import itertools

import numpy as np
import pytest
import torch

from unmask.game import Game
from unmask.interactions.sparse.purse import Purse
from unmask.interactions.sparse.signs_of_sparsity import Probe, probe


def of_order(n, k):
    """All sets of at most k players add something."""
    random = np.random.default_rng(0)
    sets = [one for size in range(1, k + 1) for one in itertools.combinations(range(n), size)]
    index = torch.tensor([[*one, *[n] * (k - len(one))] for one in sets])
    weights = torch.from_numpy(random.uniform(1, 2, len(sets)))

    def value(masks):
        there = torch.cat([masks, torch.ones(len(masks), 1, dtype=torch.bool)], 1)
        return there[:, index].all(2).double() @ weights

    return Game(value, tuple(map(str, range(n))))


def seen(game, budget=10_000, most=10**6, rounding=0.0):
    purse = Purse(game, budget)
    return probe(purse, len(game.names), rounding, most, np.random.default_rng(0)), purse.spent


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("order", "asked"), [(1, 192), (2, 192), (3, 192 + 12 * 16), (4, 192 + 12 * 16 + 12 * 32)]
)
def test_the_order_of_a_dense_game_from_either_side(order, asked, mirrored):
    game = of_order(22, order)
    if mirrored:
        # All 22 at once, from the other side: an OR, which leaves no small set idle on this one.
        inner = game
        game = Game(lambda m: inner(~m) + 9.0 * m.any(1).double(), inner.names)
    found, spent = seen(game, budget=20_000)
    assert (found.order, found.mirrored, spent) == (order, mirrored, asked)
    assert found.densities == (1.0,) * order + (0.0,) * (max(order + 1, 3) - order)
    assert found.sparse == (order < 3)


def test_larger_sets_are_asked_for_only_where_a_table_could_follow():
    game = of_order(22, 3)
    assert seen(game, most=1794) == (seen(game)[0], 384)  # 1 + 22 + 231 + 1540
    assert seen(game, most=1793)[1] == 192
    assert seen(game, most=1793)[0].order == 0
    assert seen(game, budget=6143)[1] == 192  # 192 of them are more than a 32nd


def test_idle_players_do_not_make_a_game_sparse():
    busy = of_order(12, 4)
    game = Game(lambda m: busy(m[:, :12]), tuple(map(str, range(24))))
    found, _ = seen(game)
    assert 0 < found.densities[2] < 0.5
    assert not found.sparse


def test_what_is_rounding_adds_nothing():
    game = Game(lambda m: 1e6 + 3e-4 * m.all(1).double(), tuple(map(str, range(3))))
    assert seen(game, rounding=1e-3)[0] == Probe(True, False, 1, (0.0, 0.0, 0.0))
    # A dividend of three players has the rounding of eight values.
    assert seen(game, rounding=1.0e-4)[0].densities == (0.0, 0.0, 1.0)
    assert seen(game, rounding=1.1e-4)[0].densities == (0.0, 0.0, 0.0)


def test_too_little_is_not_spent():
    assert seen(of_order(30, 2), budget=127) == (Probe(sparse=False, mirrored=False), 0)
    assert seen(of_order(2, 2)) == (Probe(sparse=False, mirrored=False), 0)


def test_how_long_a_search_would_take():
    found = Probe(True, False, order=2, densities=(0.5, 0.25, 0.0))
    assert found.questions(32) == pytest.approx(16 * 5 + 124 * 2 * 5)
