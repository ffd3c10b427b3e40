"""Explanations side by side: what is no list of them, or of unlike games, is refused in words."""

import pytest

from unmask.interactions.terms.stacked import salient, stacked
from unmask.planted import terms_of


def test_every_term_stands_at_the_place_of_its_players():
    one = terms_of("abc", ands={("a",): 2.0, ("a", "c"): -1.0}, ors={("b", "c"): 3.0})
    stack = stacked([one])
    assert stack.shape == (1, 2, 8)
    assert stack[0].nonzero().tolist() == [[0, 1], [0, 5], [1, 6]]
    assert stack[0, 0, [1, 5]].tolist() == [2.0, -1.0]
    assert stack[0, 1, 6] == 3.0
    assert salient(stack, 0.5)[0].nonzero().tolist() == [[0, 1], [1, 6]]


def test_what_cannot_be_compared():
    one, other = terms_of("ab", ands={("a",): 1.0}), terms_of("abc", ands={("a",): 1.0})
    # Where types are checked, the checker speaks first.
    with pytest.raises(TypeError, match=r"got one, not in a list|parameter 'terms'"):
        stacked(one)
    with pytest.raises(ValueError, match="There are no explanations"):
        stacked([])
    with pytest.raises(ValueError, match="but these have 2, 3"):
        stacked([one, other])
    with pytest.raises(ValueError, match="tau is a share of the strongest term, but got 2"):
        salient(stacked([one]), 2.0)
