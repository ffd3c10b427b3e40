from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import NAMES, games, tabled, tensors
from unmask.interactions import and_interaction
from unmask.lattice import coalitions


def inside(players):
    return [set(some) for k in range(len(players) + 1) for some in combinations(sorted(players), k)]


def place(players):
    return sum(2**i for i in players)


def slow_dividend(table, players):
    return sum(
        (-1) ** (len(players) - len(some)) * float(table[place(some)]) for some in inside(players)
    )


def by_set(terms):
    sets = (frozenset(row.nonzero()[:, 0].tolist()) for row in terms.members)
    return dict(zip(sets, terms.effects.tolist(), strict=True))


@given(games())
def test_effects_are_alternating_sums_over_subsets(game):
    terms, table = and_interaction(game), game.table()
    assert len(terms.effects) == len(table) - 1
    assert not terms.is_or.any()
    for players, effect in by_set(terms).items():
        assert effect == pytest.approx(slow_dividend(table, players), abs=1e-10)


@given(games())
def test_terms_match_the_game_on_every_coalition(game):
    terms, table = and_interaction(game), game.table()
    assert terms.empty == table[0]
    assert terms.evaluations == len(table)
    effects = by_set(terms)
    for mask, value in zip(coalitions(len(game.names)).tolist(), table.tolist(), strict=True):
        present = {i for i, there in enumerate(mask) if there}
        sums = terms.empty + sum(e for t, e in effects.items() if t <= present)
        assert sums == pytest.approx(value, abs=1e-10)
    assert torch.allclose(terms(coalitions(len(game.names))), table, atol=1e-10)


def test_an_and_is_one_term_and_an_or_is_many():
    masks = coalitions(4)
    both = and_interaction(tabled(5.0 * (masks[:, 1] & masks[:, 3]).double()))
    assert {t: e for t, e in by_set(both).items() if e} == {frozenset({1, 3}): 5.0}
    either = and_interaction(tabled((masks[:, 0] | masks[:, 1] | masks[:, 2]).double()))
    expected = {frozenset(s): (-1.0) ** (len(s) - 1) for s in inside({0, 1, 2}) if s}
    assert {t: e for t, e in by_set(either).items() if e} == expected


@given(games(min_players=1, max_players=5), st.data())
def test_a_dummy_player_is_in_no_term(game, data):
    n = len(game.names)
    dummy = data.draw(st.integers(0, n))
    kept = [i for i in range(n + 1) if i != dummy]
    table = game.table()[[place(j for j, i in enumerate(kept) if m[i]) for m in coalitions(n + 1)]]
    terms = and_interaction(tabled(table))
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
    before, after = by_set(and_interaction(game)), by_set(and_interaction(tabled(table)))
    for players, effect in before.items():
        assert after[frozenset(new[i] for i in players)] == pytest.approx(effect, abs=1e-10)


@given(st.data(), st.integers(1, 5))
def test_terms_of_a_sum_are_sums_of_terms(data, n):
    one, two = data.draw(tensors(2**n)), data.draw(tensors(2**n))
    terms = [and_interaction(tabled(v)) for v in (one, two, 2 * one - 3 * two)]
    expected = 2 * terms[0].effects - 3 * terms[1].effects
    assert torch.allclose(terms[2].effects, expected, atol=1e-9)


def test_a_constant_in_floating_point_has_no_terms():
    assert and_interaction(tabled(torch.full((2**10,), 0.1))).effects.abs().max() == 0


def test_effects_are_exact_for_outputs_in_single_precision():
    table = torch.randn(2**12, generator=torch.Generator().manual_seed(0))
    terms = and_interaction(tabled(table))
    assert terms.effects.dtype == torch.float64
    assert terms.effects[-1] == pytest.approx(slow_dividend(table, set(range(12))), abs=1e-10)


def test_no_players_make_no_terms():
    terms = and_interaction(tabled(torch.tensor([2.0])))
    assert terms.members.shape == (0, 0)
    assert terms.empty == 2


def test_the_names_are_those_of_the_game():
    assert and_interaction(tabled(torch.zeros(8))).names == NAMES[:3]
