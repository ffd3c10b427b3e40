"""Dividends as AND and OR terms."""

import itertools

import pytest

from unmask.interactions.sparse.two_logics import or_effects, two_logics


def dividends_of(ands, ors):
    """By the definition: an OR is +1 on odd subsets and -1 on even ones."""
    found = dict(ands)
    for one, effect in ors.items():
        for size in range(1, len(one) + 1):
            for inner in itertools.combinations(one, size):
                found[inner] = found.get(inner, 0.0) + effect * (1 if size % 2 else -1)
    return {one: effect for one, effect in found.items() if abs(effect) > 1e-12}


MIXED = [
    ({(0, 1): 2.0, (4,): 1.5}, {(2, 3, 5): -1.25}),
    ({}, {(0, 1, 2, 3, 4): 1.0, (7, 9): -2.0}),
    ({(3,): 1.57, (3, 8): -1.178}, {}),  # as sparse in sum with an OR, but with more terms
    ({(1, 2, 3): 1.0}, {(1, 2): 0.7, (3, 4, 5): -1.9}),
]


@pytest.mark.parametrize(("ands", "ors"), MIXED)
def test_the_terms_that_were_planted(ands, ors):
    x, y = two_logics(dividends_of(ands, ors))
    assert x == pytest.approx(ands)
    assert y == pytest.approx(ors)


def test_nothing_is_lost_where_there_are_too_many_for_a_programme():
    ands = {one: 0.1 + i % 7 for i, one in enumerate(itertools.combinations(range(30), 3))}
    ors = {tuple(range(start, start + 9)): 50.0 for start in range(20)}
    given = dividends_of(ands, ors)
    x, y = two_logics(given)
    again = dividends_of(x, y)
    both = given.keys() | again.keys()
    assert max(abs(again.get(one, 0.0) - given.get(one, 0.0)) for one in both) < 1e-9


def test_or_effects_make_the_same_dividends():
    given = {(0, 1, 2): 3.0, (1,): -1.0, (2, 4): 0.5}
    ors = or_effects(given)
    assert dividends_of({}, ors) == pytest.approx(given)


def test_no_dividends_no_terms():
    assert two_logics({}) == ({}, {})
    assert two_logics({(): 3.0, (1,): 0.0}) == ({}, {})
