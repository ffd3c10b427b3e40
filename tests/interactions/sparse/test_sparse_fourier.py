"""Fourier coefficients by codes: planted ones, without noise and with."""

import numpy as np
import pytest

from unmask.interactions.sparse.sparse_fourier import design_for, sparse_fourier
from unmask.interactions.sparse.spectrum import parities


def planted(players, terms, degree, seed=0):
    random = np.random.default_rng(seed)
    found = {}
    while len(found) < terms:
        size = int(random.integers(1, degree + 1))
        one = tuple(sorted(random.permutation(players)[:size].tolist()))
        found[one] = float(random.uniform(0.5, 2) * random.choice([-1, 1]))
    return found


def play(truth, players, noise, random):
    width = max(map(len, truth))
    sets = np.array([[*one, *[players] * (width - len(one))] for one in truth])

    def ask(masks):
        values = parities(masks, sets) @ np.array([*truth.values()])
        return values + noise * random.standard_normal(len(masks))

    return ask


# Instances of the table of the published method; rows, and what noise allows: the error of a mean
# over a folding is noise / sqrt(rows / 3), and what comes out of thousands of decodings is extreme.
@pytest.mark.parametrize(
    ("players", "terms", "degree", "budget", "noise", "error"),
    [
        (64, 20, 3, 4224, 0.0, 1e-12),
        (200, 20, 3, 4800, 0.0, 1e-12),
        (1000, 30, 3, 5952, 0.0, 1e-12),
        (1000, 30, 5, 19_584, 0.0, 1e-12),
        (200, 20, 3, 4800, 0.3, 6 * 0.3 / 40),
        (200, 20, 3, 4800, 1.0, 6 * 1.0 / 40),
    ],
)
def test_planted_coefficients(players, terms, degree, budget, noise, error):
    truth = planted(players, terms, degree)
    random = np.random.default_rng(1)
    design = design_for(players, budget, degree)
    assert design is not None
    assert design.degree == degree
    assert design.rows == budget
    spectrum, masks, values = sparse_fourier(
        play(truth, players, noise, random),
        players,
        design=design,
        tolerance=lambda: 1e-9,
        random=random,
    )
    assert masks.shape == (budget, players)
    assert len(values) == budget
    found = {
        tuple(row[row < players].tolist()): value
        for row, value in zip(spectrum.sets, spectrum.values, strict=True)
    }
    assert max(abs(found.get(one, 0.0) - effect) for one, effect in truth.items()) < error
    spurious = [abs(value) for one, value in found.items() if one not in truth and one]
    assert len(spurious) == 0 or (noise and max(spurious) < error)


@pytest.mark.parametrize(
    ("players", "budget", "degree", "bits"),
    [(200, 10_000, 5, 6), (1000, 1000, 4, 3), (1000, 300, None, None)],
)
def test_the_design_fits_the_budget(players, budget, degree, bits):
    design = design_for(players, budget, 5)
    if degree is None:
        assert design is None
        return
    assert (design.degree, design.bits) == (degree, bits)
    assert design.rows <= budget
    m = players.bit_length()
    assert design.rows == 3 * (1 + degree * m) * 2**bits


def test_the_constant_is_a_coefficient():
    design = design_for(40, 4000, 3)
    spectrum, _, _ = sparse_fourier(
        lambda masks: 3.0 - 2.0 * masks[:, 7],
        40,
        design=design,
        tolerance=lambda: 1e-9,
        random=np.random.default_rng(0),
    )
    found = {
        tuple(s[s < 40].tolist()): v for s, v in zip(spectrum.sets, spectrum.values, strict=True)
    }
    assert found == pytest.approx({(): 2.0, (7,): 1.0})
