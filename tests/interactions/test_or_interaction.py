from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import games, tabled, tensors
from unmask.interactions import or_interaction
from unmask.lattice import coalitions


def place(players):
    return sum(2**i for i in players)


def slow_effect(table, players):
    """The definition, from the side of what is hidden."""
    everybody = set(range(len(table).bit_length() - 1))
    total = 0.0
    for k in range(len(players) + 1):
        for hidden in combinations(sorted(players), k):
            total -= (-1) ** (len(players) - k) * float(table[place(everybody - set(hidden))])
    return total


def by_set(terms):
    sets = (frozenset(row.nonzero()[:, 0].tolist()) for row in terms.members)
    return dict(zip(sets, terms.effects.tolist(), strict=True))


@given(games())
def test_effects_follow_the_definition(game):
    terms, table = or_interaction(game), game.table()
    assert len(terms.effects) == len(table) - 1
    assert terms.is_or.all()
    for players, effect in by_set(terms).items():
        assert effect == pytest.approx(slow_effect(table, players), abs=1e-10)


@given(games())
def test_terms_match_the_game_on_every_coalition(game):
    terms, table = or_interaction(game), game.table()
    assert terms.empty == table[0]
    assert terms.evaluations == len(table)
    effects = by_set(terms)
    for mask, value in zip(coalitions(len(game.names)).tolist(), table.tolist(), strict=True):
        present = {i for i, there in enumerate(mask) if there}
        sums = terms.empty + sum(e for t, e in effects.items() if t & present)
        assert sums == pytest.approx(value, abs=1e-10)
    assert torch.allclose(terms(coalitions(len(game.names))), table, atol=1e-10)


def test_an_or_is_one_term():
    masks = coalitions(4)
    terms = or_interaction(tabled(2.0 + 5.0 * (masks[:, 0] | masks[:, 2] | masks[:, 3]).double()))
    assert {t: e for t, e in by_set(terms).items() if e} == {frozenset({0, 2, 3}): 5.0}
    assert terms.empty == 2


@given(st.data(), st.integers(1, 5))
def test_terms_of_a_sum_are_sums_of_terms(data, n):
    one, two = data.draw(tensors(2**n)), data.draw(tensors(2**n))
    terms = [or_interaction(tabled(v)) for v in (one, two, 2 * one - 3 * two)]
    expected = 2 * terms[0].effects - 3 * terms[1].effects
    assert torch.allclose(terms[2].effects, expected, atol=1e-9)


@given(games(min_players=1, max_players=5), st.data())
def test_a_dummy_player_is_in_no_term(game, data):
    n = len(game.names)
    dummy = data.draw(st.integers(0, n))
    kept = [i for i in range(n + 1) if i != dummy]
    table = game.table()[[place(j for j, i in enumerate(kept) if m[i]) for m in coalitions(n + 1)]]
    terms = or_interaction(tabled(table))
    assert torch.allclose(
        terms.effects[terms.members[:, dummy]], torch.zeros(2**n).double(), atol=1e-10
    )


@given(games(max_players=5), st.randoms(use_true_random=False))
def test_renamed_players_have_renamed_terms(game, random):
    n = len(game.names)
    new = list(range(n))
    random.shuffle(new)
    table = torch.empty_like(game.table())
    for mask, value in zip(coalitions(n).tolist(), game.table(), strict=True):
        table[place(new[i] for i, there in enumerate(mask) if there)] = value
    before, after = by_set(or_interaction(game)), by_set(or_interaction(tabled(table)))
    for players, effect in before.items():
        assert after[frozenset(new[i] for i in players)] == pytest.approx(effect, abs=1e-10)


def test_a_constant_in_floating_point_has_no_terms():
    assert or_interaction(tabled(torch.full((2**10,), 0.1))).effects.abs().max() == 0
