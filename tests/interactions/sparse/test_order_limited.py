"""All small sets of a game of which nothing larger matters."""

import itertools

import numpy as np
import pytest
import torch

from unmask.interactions.sparse.order_limited import order_limited, small_sets, swelling
from unmask.planted import planted_terms


def test_dividends_of_small_sets_whatever_larger_ones_add():
    truth = planted_terms(25, 60, 0, torch.Generator().manual_seed(0), largest=4)
    asked = []

    def ask(masks):
        asked.append(len(masks))
        return truth(torch.from_numpy(masks)).numpy()

    known = order_limited(ask, 25, order=3, tolerance=1e-9)
    sets = [tuple(row.nonzero()[:, 0].tolist()) for row in truth.members]
    wanted = {s: e for s, e in zip(sets, truth.effects.tolist(), strict=True) if len(s) <= 3}
    assert known.effects.keys() == wanted.keys()
    assert all(abs(known.effects[one] - wanted[one]) < 1e-12 for one in wanted)
    assert asked == [1 + 25 + 300 + 2300] == [small_sets(25, 3)]


def test_a_game_of_pairs_is_known_everywhere():
    random = np.random.default_rng(0)
    weights = random.standard_normal((22, 22))
    known = order_limited(
        lambda m: np.einsum("ri,ij,rj->r", m, weights, m, dtype=float), 22, order=2, tolerance=1e-9
    )
    masks = random.random((200, 22)) < 0.5
    wanted = np.einsum("ri,ij,rj->r", masks, weights, masks, dtype=float)
    assert np.abs(known(masks) - wanted).max() < 1e-10
    assert len(known.effects) == 22 + len(list(itertools.combinations(range(22), 2)))


@pytest.mark.parametrize(("size", "order"), [(7, 3), (6, 1), (5, 2), (3, 3), (2, 4)])
def test_errors_of_small_coalitions_in_a_large_one(size, order):
    sets = [set(one) for k in range(order + 1) for one in itertools.combinations(range(size), k)]
    # How much each value counts in the sum of all dividends, from the definition of these.
    weights = [sum((-1) ** len(s - t) for s in sets if s >= t) for t in sets]
    assert swelling(size, order) == pytest.approx(np.linalg.norm(weights))
