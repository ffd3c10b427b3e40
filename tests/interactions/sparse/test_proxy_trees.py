"""Trees, and their Fourier coefficients against the transform of all coalitions."""

import numpy as np
import pytest
import torch

from unmask.interactions.sparse.proxy_trees import proxy, proxy_trees, tree_spectrum
from unmask.interactions.sparse.spectrum import parities
from unmask.lattice import WALSH, coalitions, transform


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_the_spectrum_is_that_of_all_coalitions(depth):
    n = 7
    masks = coalitions(n).numpy()
    values = np.random.default_rng(0).standard_normal(len(masks))
    trees = proxy_trees(masks, values, trees=20, depth=depth, rate=0.3)
    told = trees.predict(masks.astype(np.float32))
    wanted = (transform(torch.from_numpy(told)[None], WALSH) / 2**n).numpy()[0]
    found = tree_spectrum(trees, n)
    dense = np.zeros(2**n)
    for row, value in zip(found.sets, found.values, strict=True):
        dense[sum(2 ** int(i) for i in row if i < n)] += value
    assert np.abs(dense - wanted).max() < 1e-12


def test_a_proxy_finds_terms_and_their_sizes():
    random = np.random.default_rng(0)
    masks = random.random((3000, 40)) < 0.5
    fresh = random.random((1000, 40)) < 0.5

    def game(rows):
        return 1.0 + 2 * rows[:, 3] - 3 * (rows[:, 5] & rows[:, 9]) + (rows[:, 7] | rows[:, 30])

    found = proxy(masks, game(masks).astype(float), degree=5, coefficients=200)
    told = parities(fresh, found.sets) @ found.values
    assert np.mean((told - game(fresh)) ** 2) < 1e-4 * game(fresh).var()
    sizes = {
        tuple(row[row < 40].tolist()): v for row, v in zip(found.sets, found.values, strict=True)
    }
    assert sizes[5, 9] == pytest.approx(-3 / 4, abs=0.01)  # an AND of two is a quarter of a parity
    assert sizes[7, 30] == pytest.approx(-1 / 4, abs=0.01)
    assert sizes[3,] == pytest.approx(-1, abs=0.01)
