"""Codes: every small set is told from its parities, and what is no small set is refused."""

import itertools

import numpy as np
import pytest

from unmask.interactions.sparse.bch import code_for


def test_the_checks_of_seven_players_by_hand():
    # The bits of alpha^i and of alpha^3i, where alpha^3 = alpha + 1.
    powers, cubes = [1, 2, 4, 3, 6, 7, 5], [1, 3, 5, 4, 7, 2, 6]
    wanted = [[p >> bit & 1 for p in powers] for bit in range(3)]
    wanted += [[p >> bit & 1 for p in cubes] for bit in range(3)]
    assert code_for(7, 2).checks().astype(int).tolist() == wanted


@pytest.mark.parametrize(("players", "correct"), [(7, 2), (12, 3), (15, 2)])
def test_all_small_sets_are_told(players, correct):
    code = code_for(players, correct)
    sets = [s for size in range(correct + 1) for s in itertools.combinations(range(players), size)]
    rows = np.array([[i in s for i in range(players)] for s in sets])
    parities = rows.astype(int) @ code.checks().T.astype(int) % 2 == 1
    assert len({row.tobytes() for row in parities}) == len(sets)
    found, sound = code.decoded(parities)
    assert sound.all()
    assert (found == rows).all()


@pytest.mark.parametrize(("players", "correct"), [(1000, 5), (3000, 3)])
def test_sets_among_thousands(players, correct):
    random, code = np.random.default_rng(0), code_for(players, correct)
    rows = np.zeros((100, players), dtype=bool)
    for row in rows:
        row[random.permutation(players)[: random.integers(0, correct + 1)]] = True
    found, sound = code.decoded(rows.astype(int) @ code.checks().T.astype(int) % 2 == 1)
    assert sound.all()
    assert (found == rows).all()


def test_a_set_that_is_called_sound_has_the_parities():
    random, code = np.random.default_rng(1), code_for(60, 3)
    parities = random.random((3000, len(code.checks()))) < 0.5
    found, sound = code.decoded(parities)
    assert 0 < sound.mean() < 0.2  # most words are near no set: 3! sets to one word
    assert (found[sound].sum(1) <= 3).all()
    again = found[sound].astype(int) @ code.checks().T.astype(int) % 2 == 1
    assert (again == parities[sound]).all()
