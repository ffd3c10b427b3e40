"""Parities and the dividends that they make."""

import numpy as np
import pytest

from unmask.interactions.sparse.spectrum import Spectrum, parities, summed
from unmask.lattice import coalitions

SETS = np.array([[5, 5, 5], [0, 5, 5], [1, 3, 5], [0, 2, 4]])
VALUES = np.array([0.5, 2.0, -1.0, 0.25])


def by_hand(mask):
    """The game of SETS and VALUES."""
    signs = [-1.0 if there else 1.0 for there in mask]
    return 0.5 + 2 * signs[0] - signs[1] * signs[3] + 0.25 * signs[0] * signs[2] * signs[4]


def test_parities_are_products_of_signs():
    masks = coalitions(5).numpy()
    found = parities(masks, SETS) @ VALUES
    assert np.allclose(found, [by_hand(mask) for mask in masks.tolist()])


def test_dividends_make_the_same_game():
    masks = coalitions(5).numpy()
    dividends = Spectrum(SETS, VALUES, 5).dividends()
    for mask in masks.tolist():
        held = {i for i, there in enumerate(mask) if there}
        total = sum(effect for one, effect in dividends.items() if set(one) <= held)
        assert abs(total - by_hand(mask)) < 1e-12
    assert dividends[0, 2, 4] == (-2) ** 3 * 0.25


def test_equal_sets_are_added_and_the_largest_kept():
    twice = summed(np.concatenate([SETS, SETS[1:]]), np.concatenate([VALUES, VALUES[1:]]), 5)
    found = {
        tuple(row): value for row, value in zip(twice.sets.tolist(), twice.values, strict=True)
    }
    assert found == {(5, 5, 5): 0.5, (0, 5, 5): 4.0, (1, 3, 5): -2.0, (0, 2, 4): 0.5}
    two = twice.largest(2)
    assert sorted(two.values.tolist()) == [0.5, 4.0]
    assert [5, 5, 5] in two.sets.tolist()  # small, but the constant


def test_all_small_sets_are_taken_in():
    known = {(): 1.0, (0,): 3.0, (0, 2): -4.0, (1, 2, 3): 0.5}
    sets = np.array([[*one, *[4] * (3 - len(one))] for one in known])
    found = Spectrum(sets, np.array([*known.values()]), 4).widened(2)
    rows = [tuple(i for i in row if i < 4) for row in found.sets.tolist()]
    guess = dict(zip(rows, found.values.tolist(), strict=True))
    assert len(guess) == len(rows) == 1 + 4 + 6 + 1
    assert guess[()] == 1.0
    assert guess[1, 2, 3] == 0.5
    assert guess[(0,)] == pytest.approx(((9 + 9 / 4) / 2) ** 0.5)
    assert guess[(3,)] == pytest.approx((9 / 4 / 2) ** 0.5)
    assert guess[0, 2] == pytest.approx(((16 + 16 / 6) / 2) ** 0.5)
    assert guess[1, 3] == pytest.approx((16 / 6 / 2) ** 0.5)
