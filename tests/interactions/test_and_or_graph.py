"""Graphs keep what is missed the most, say what is lost, and share words."""

import itertools
import math
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from logics import network_table, subsets
from strategies import games, tabled
from unmask import Game, masked, predicted
from unmask.interactions import and_interaction, and_or, and_or_graph, and_or_graph_complexity
from unmask.interactions.graph.pruned import pruning
from unmask.interactions.graph.words import words
from unmask.lattice import coalitions
from unmask.planted import planted_game, terms_of
from unmask.results import Interactions
from unmask.zoo import adult, breast_cancer, digits, sst2

EVERYTHING = {"unfaithfulness": 0.0, "ratio": 0.0, "fewest": 10**6, "most": 10**6}


def sets(members):
    return [frozenset(row.nonzero()[:, 0].tolist()) for row in members]


def listed(terms):
    """(players, OR, effect) of each term."""
    return list(zip(sets(terms.members), terms.is_or.tolist(), terms.effects.tolist(), strict=True))


def value(chosen, empty, coalition):
    return empty + sum(
        effect for t, is_or, effect in chosen if (t & coalition if is_or else t <= coalition)
    )


def slow_error(chosen, empty, table):
    n = len(table).bit_length() - 1
    return sum((float(table[j]) - value(chosen, empty, s)) ** 2 for j, s in enumerate(subsets(n)))


def slow_pruning(terms, table):
    """Try each term in turn, take out the one that is missed the least; the errors on the way."""
    left, places, order = listed(terms), list(range(len(terms.effects))), []
    errors, ratios, dropped = [slow_error(left, terms.empty, table)], [1.0], 0.0
    while left:
        tried = [slow_error(left[:k] + left[k + 1 :], terms.empty, table) for k in range(len(left))]
        k = min(range(len(left)), key=lambda k: tried[k])
        errors.append(tried[k])
        dropped += left.pop(k)[2]
        order.append(places.pop(k))
        kept = sum(abs(effect) for *_, effect in left)
        ratios.append(kept / (kept + abs(dropped)) if kept + abs(dropped) else 1.0)
    return order, errors, ratios


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_terms_are_left_out_in_the_order_of_brute_force(seed):
    table = network_table(4, seed)
    game = Game(lambda masks: table[(masks * 2 ** torch.arange(4)).sum(1)], tuple("abcd"))
    terms = and_or(game, tolerance=0.1)  # not exact, so that there is an error from the start
    order, errors, ratios = slow_pruning(terms, table)
    found = pruning(terms, table)
    assert found.order.tolist() == order
    assert found.error.tolist() == pytest.approx(errors, abs=1e-9 * float(table.square().sum()))
    assert found.ratio.tolist() == pytest.approx(ratios)


@given(games(min_players=2, max_players=3), st.data())
def test_errors_on_the_way_are_those_of_the_terms_that_are_left(game, data):
    table = game.table()
    n = len(game.names)
    count = data.draw(st.integers(0, 6))
    drawn = [data.draw(st.sampled_from(subsets(n)[1:])) for _ in range(count)]
    terms = Interactions(
        torch.tensor([[i in t for i in range(n)] for t in drawn]).bool().view(count, n),
        torch.tensor([data.draw(st.booleans()) for _ in drawn]).bool(),
        torch.tensor([data.draw(st.floats(-3, 3)) for _ in drawn]).double(),
        float(table[0]),
        game.names,
    )
    found, own = pruning(terms, table), listed(terms)
    scale = 1 + float(table.square().sum()) + sum(e**2 for *_, e in own)
    for left in range(count + 1):
        kept = [own[k] for k in found.last(count - left).tolist()]
        error = slow_error(kept, terms.empty, table)
        assert float(found.error[left]) == pytest.approx(error, abs=1e-9 * scale)


def test_a_graph_from_which_nothing_is_left_out_is_the_game():
    for seed in range(3):
        table = network_table(6, seed)
        game = Game(
            lambda masks, t=table: t[(masks * 2 ** torch.arange(6)).sum(1)], tuple("abcdef")
        )
        for terms in (None, and_interaction(game)):
            graph = and_or_graph(game, terms=terms, **EVERYTHING)
            error = (graph.terms(coalitions(6)) - table).abs().max()
            assert error <= 1e-12 * table.abs().max()
            assert graph.unfaithfulness < 1e-20
            curves = and_or_graph_complexity(game, terms=terms, most=200, merges=0).curves
            assert float(curves["ratio"][-1]) == 1
            assert float(curves["unfaithfulness"][-1]) < 1e-20


@pytest.mark.parametrize("seed", [1, 2, 3])  # of seed 0 other terms are as sparse
def test_all_planted_terms_are_kept_and_no_others(seed):
    game, truth = planted_game(8, 6, 4, torch.Generator().manual_seed(seed))
    planted = {(t, is_or): e for t, is_or, e in listed(truth)}
    for limits in ({"fewest": 0, "unfaithfulness": 0.0}, {"fewest": 10, "most": 10}):
        graph = and_or_graph(game, **limits)
        found = {(t, is_or): e for t, is_or, e in listed(graph.terms)}
        assert found == pytest.approx(planted)
    # The AND terms of the same game are many, and ten of them never tell it.
    many = and_or_graph(game, terms=and_interaction(game), fewest=0, unfaithfulness=0.0)
    assert len(many.effects) > 10


def test_planted_terms_are_found_beneath_noise():
    truth = terms_of(
        "abcdef",
        ands={tuple("ab"): 2.0, tuple("cde"): -1.5, ("f",): 1.0},
        ors={tuple("adf"): 3.0, tuple("bc"): -2.5},
    )
    generator = torch.Generator().manual_seed(0)
    table = truth(coalitions(6)) + 1e-3 * torch.randn(64, generator=generator).double()
    # As dense as the game of a network, where every term is a little off.
    graph = and_or_graph(tabled(table), unfaithfulness=1e-3, ratio=0.0, fewest=0)
    found = {(t, is_or): e for t, is_or, e in listed(graph.terms)}
    planted = {(t, is_or): e for t, is_or, e in listed(truth)}
    assert found.keys() == planted.keys()
    assert found == pytest.approx(planted, abs=0.02)


@given(games(min_players=2, max_players=4), st.floats(0, 0.5), st.floats(0, 1), st.integers(0, 9))
def test_limits_are_kept_with_the_fewest_terms_that_do(game, lost, ratio, fewest):
    table = game.table()
    graph = and_or_graph(game, unfaithfulness=lost, ratio=ratio, fewest=fewest)
    whole = float((table - table[0]).square().sum())
    error = slow_error(listed(graph.terms), graph.empty, table)
    if whole > 0:
        assert graph.unfaithfulness == pytest.approx(error / whole, abs=1e-9)
    terms = and_or(game)
    order, errors, ratios = slow_pruning(terms, table)
    count = len(order)
    sure = [
        abs(e / whole - lost) > 1e-9 and abs(r - ratio) > 1e-9
        for e, r in zip(errors, ratios, strict=True)
        if whole
    ]
    if not whole or not all(sure):
        return  # rounding would decide
    fits = [k for k in range(min(fewest, count), count + 1)
            if errors[count - k] / whole <= lost and ratios[count - k] >= ratio]  # fmt: skip
    assert len(graph.effects) == min(fits, default=count)


def slow_words(patterns, strength, entropy, merges):
    """Every subset of every pattern as a candidate, and the description length in full."""
    mean = sum(strength) / len(strength)
    strength = [one / mean for one in strength]
    rows = [[frozenset([i]) for i in sorted(pattern)] for pattern in patterns]

    def cost(rows):
        total = {}
        for row, weight in zip(rows, strength, strict=True):
            for part in row:
                total[part] = total.get(part, 0.0) + weight
        mass = sum(total.values())
        lengths = {part: math.log(mass / one) for part, one in total.items()}
        entropy_ = sum(one / mass * lengths[part] for part, one in total.items())
        told = sum(w * lengths[p] for row, w in zip(rows, strength, strict=True) for p in row)
        return told + entropy * entropy_

    made = []
    for _ in range(merges):
        candidates = {
            frozenset(some)
            for row in rows
            for size in range(2, len(row) + 1)
            for some in itertools.combinations(row, size)
        }
        tried = {}
        for some in candidates:
            new = frozenset().union(*some)
            held = [some <= set(row) for row in rows]
            if sum(held) < 2:
                continue
            after = [
                [p for p in row if p not in some] + [new] if there else row
                for row, there in zip(rows, held, strict=True)
            ]
            tried[some] = (cost(after) - cost(rows)) / len(new), after, new
        if not tried or min(tried.values(), key=lambda one: one[0])[0] >= 0:
            break
        _, rows, new = min(tried.values(), key=lambda one: one[0])
        made.append(new)
    return {word for word in made if sum(word in row for row in rows) > 1}


def patterned(patterns, n):
    return torch.tensor([[i in pattern for i in range(n)] for pattern in patterns]).view(-1, n)


def test_what_three_terms_share_becomes_a_word():
    abc, abd, abe = {0, 1, 2}, {0, 1, 3}, {0, 1, 4}
    found = words(patterned([abc, abd, abe], 5), torch.ones(3), 5)
    assert sets(found.members) == [{0, 1}]
    assert found.uses.tolist() == [[True]] * 3
    truth = terms_of("abcde", ands={("a", "b", i): 1.0 for i in "cde"})
    for mirrored in (False, True):
        told = Interactions(
            truth.members, truth.is_or | mirrored, truth.effects, truth.empty, truth.names
        )
        graph = and_or_graph(Game(told, told.names), terms=told)
        assert sets(graph.words) == [{0, 1}]
        assert graph.words_are_or.tolist() == [mirrored]


@pytest.mark.parametrize("seed", range(6))
def test_words_are_those_of_the_shortest_description(seed):
    generator = torch.Generator().manual_seed(seed)
    members = torch.rand(9, 6, generator=generator) < 0.6
    strength = torch.rand(9, generator=generator).double() + 0.1
    for entropy, merges in ((10.0, 5), (0.0, 2)):
        found = words(members, strength, merges, entropy)
        assert set(sets(found.members)) == slow_words(
            sets(members), strength.tolist(), entropy, merges
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_words_of_a_term_lie_in_it_and_share_no_player(seed):
    table = network_table(7, seed)
    game = Game(lambda masks: table[(masks * 2 ** torch.arange(7)).sum(1)], tuple("abcdefg"))
    graph = and_or_graph(game)
    assert len(graph.words) > 0
    assert (graph.words.sum(1) > 1).all()
    assert (graph.uses.sum(0) > 1).all()
    for term, is_or, uses in zip(graph.members, graph.is_or, graph.uses, strict=True):
        own = graph.words[uses]
        assert (own.sum(0) <= 1).all()
        assert not (own.any(0) & ~term).any()
        assert (graph.words_are_or[uses] == is_or).all()


def test_other_units_make_the_same_graph():
    table = network_table(6)
    terms = and_or(tabled(table))
    graphs = []
    for scale in (1e3, 1e-3):
        scaled = replace(terms, effects=scale * terms.effects, empty=scale * terms.empty)
        graphs.append(and_or_graph(tabled(scale * table), terms=scaled))
    assert len(graphs[0].words) > 0
    for name in ("members", "is_or", "words", "uses"):
        assert torch.equal(getattr(graphs[0], name), getattr(graphs[1], name))


def test_sizes_are_counted():
    truth = terms_of("abcdef", ands={("a", "b", i): 1.0 for i in "cde"})
    found = and_or_graph_complexity(Game(truth, truth.names))
    curves = {name: curve.tolist() for name, curve in found.curves.items()}
    assert curves["terms"] == [0, 1, 2, 3]
    # Of three terms: five players, one word, three terms, the root. The sixth player is in none.
    assert curves["nodes"][0] == 1
    assert curves["nodes"][3] == 5 + 1 + 3 + 1
    assert curves["edges"][3] == 2 + 3 + 3 + 3
    assert curves["edges_without_words"][3] == 9 + 3
    # 11 coalitions of the 64 ... of c, d and e; with k terms told, what the others add is lost.
    own = truth(coalitions(6))
    assert curves["unfaithfulness"][0] == 1
    one_left_out = slow_error(listed(truth)[1:], 0.0, own) / float(own.square().sum())
    assert curves["unfaithfulness"][2] == pytest.approx(one_left_out)
    assert found.numbers["possible_terms"] == 3


@pytest.mark.parametrize("n", [1, 2])
def test_few_players_and_games_that_never_change(n):
    flat = and_or_graph(tabled(torch.full((2**n,), 3.0).double()))
    assert len(flat.effects) == len(flat.words) == 0
    assert flat.empty == 3
    assert flat.unfaithfulness == 0
    table = torch.arange(2**n).double()
    graph = and_or_graph(tabled(table))
    assert torch.allclose(graph.terms(coalitions(n)), table)
    curves = and_or_graph_complexity(tabled(torch.zeros(2**n).double())).curves
    assert curves["nodes"].tolist() == [1]


def test_without_any_term_all_is_lost():
    graph = and_or_graph(tabled(network_table(4)), fewest=0, most=0)
    assert len(graph.effects) == 0
    assert graph.unfaithfulness == pytest.approx(1)


def test_what_makes_no_graph_is_refused():
    game = tabled(network_table(3))
    for change, said in (
        ({"unfaithfulness": -0.1}, "share of at least 0, but is -0.1"),
        ({"unfaithfulness": math.nan}, "share of at least 0, but is nan"),
        ({"ratio": 1.1}, "from 0 to 1, but is 1.1"),
        ({"fewest": 5, "most": 4}, "from 5 to 4 terms"),
        ({"fewest": -1}, "from -1 to 80 terms"),
        ({"merges": -1}, "cannot be -1 words"),
        ({"terms": terms_of("xyz", ands={("x",): 1.0})}, "The terms speak of the players"),
    ):
        with pytest.raises(ValueError, match=said):
            and_or_graph(game, **change)
    with pytest.raises(ValueError, match="The terms speak of the players"):
        and_or_graph_complexity(game, terms=terms_of("xyz", ands={("x",): 1.0}))


def explained(exhibit, i=0):
    x = exhibit.inputs[i]
    score = exhibit.score(exhibit.model, int(predicted(exhibit.model, x[None])))
    return masked(score, x, exhibit.players(i), exhibit.baseline(i))


needs_data = pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")
REAL = [
    *(pytest.param(one, id=one.__name__) for one in (breast_cancer, digits)),
    *(pytest.param(one, id=one.__name__, marks=needs_data) for one in (adult, sst2)),
]


@pytest.mark.parametrize("exhibit", REAL)
def test_networks_are_told_by_eighty_terms(exhibit):
    game = explained(exhibit())
    table, n = game.table().double(), len(game.names)
    terms = and_or(game, precision=1e-2)
    graph = and_or_graph(game, terms=terms)
    assert 15 <= len(graph.effects) <= 80
    assert graph.unfaithfulness <= 0.1
    error = (table - graph.terms(coalitions(n))).square().sum()
    whole = (table - table[0]).square().sum()
    assert graph.unfaithfulness == pytest.approx(float(error / whole), abs=1e-9)
    assert len(graph.words) > 0
