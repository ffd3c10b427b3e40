import os
from functools import cache
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import benefit, joint_value
from strategies import tabled, tables
from unmask import Game, masked
from unmask.interactions import (
    interaction_tree,
    interaction_tree_nodes,
    multivariate_shapley,
)
from unmask.interactions.contexts.merged import AT_ONCE
from unmask.lattice import coalitions

KIN = (interaction_tree, interaction_tree_nodes)


def random_table(n, seed):
    return torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double()


def sets_of(tree):
    """What was joined, in the order in which it was."""
    assert tree.step.tolist() == [0] * len(tree.names) + list(range(1, len(tree.names)))
    rows = tree.members[len(tree.names) :].tolist()
    return [[i for i, there in enumerate(row) if there] for row in rows]


def product_game(n, *terms):
    """x = 1 and b = 0 of a sum of products, each with a factor before it."""
    masks = coalitions(n)
    return tabled(sum(factor * masks[:, part].all(1).double() for factor, part in terms))


@settings(max_examples=25)
@given(tables(min_players=2, max_players=5), st.booleans())
def test_the_tree_grows_as_a_plain_search_would(table, adjacent):
    n = len(table).bit_length() - 1

    @cache
    def phi(*own):
        return joint_value(table, own, [i for i in range(n) if i not in own])

    @cache
    def within(*own):
        return benefit(table, own, own, False)

    def between(a, b):
        return within(*sorted(a + b)) - within(*a) - within(*b)

    tree, nodes = (method(tabled(table), adjacent=adjacent, samples=10**4) for method in KIN)
    least = 1e-9 * max(float(table.abs().max()), 1e-300)
    parts = [(i,) for i in range(n)]
    joined_before, passed_before = 0.0, 0.0
    for step, own in enumerate(sets_of(tree)):
        places = pairwise(range(n - step)) if adjacent else combinations(range(n - step), 2)
        found = {}
        for i, j in places:
            a, b = parts[i], parts[j]
            density = abs(between(a, b)) / max(abs(phi(*a)) + abs(phi(*b)), least)
            found[i, j] = density
        # Of what ties or nearly does, any may come first.
        chosen = [pair for pair in found if sorted(parts[pair[0]] + parts[pair[1]]) == own]
        assert len(chosen) == 1
        (left, right) = chosen[0]
        density = found[left, right]
        assert density >= max(found.values()) * (1 - 1e-6) - 1e-6
        a, b = parts[left], parts[right]
        curves = {name: float(curve[step]) for name, curve in nodes.curves.items()}
        assert curves["step"] == step + 1
        scale = 1 + float(table.abs().max())
        assert float(tree.score[n + step]) == pytest.approx(within(*own), abs=1e-8 * scale)
        assert curves["within"] == pytest.approx(within(*own), abs=1e-8 * scale)
        assert curves["together"] == pytest.approx(phi(*own), abs=1e-8 * scale)
        assert curves["between"] == pytest.approx(between(a, b), abs=1e-8 * scale)
        assert curves["within_error"] == 0
        if abs(phi(*a)) + abs(phi(*b)) > 1e-4 * scale:
            assert curves["density"] == pytest.approx(density, rel=1e-4, abs=1e-6)
        beside = [pair for pair in found if pair != (left, right) and {left, right} & set(pair)]
        passed = sum(abs(between(parts[i], parts[j])) for i, j in beside)
        bring = sum(abs(phi(*parts[i])) + abs(phi(*parts[j])) for i, j in beside)
        if bring > 1e-4 * scale:
            assert curves["unmodelled"] == pytest.approx(passed / bring, rel=1e-4, abs=1e-6)
        joined_before += abs(between(a, b))
        passed_before += passed
        parts[left] = tuple(own)
        del parts[right]
    everything = joined_before + passed_before
    if everything > 1e-4:
        captured = joined_before / everything
        assert nodes.numbers["captured"] == pytest.approx(captured, rel=1e-4)
    assert nodes.numbers["total"] == pytest.approx(within(*range(n)), abs=1e-7)
    assert nodes.numbers["evaluations"] == tree.evaluations <= 2**n


def test_pairs_first_and_all_of_them_last():
    game = product_game(4, (1.0, [0, 1]), (1.0, [2, 3]), (0.1, [0, 1, 2, 3]))
    tree = interaction_tree(game)
    assert sets_of(tree) == [[0, 1], [2, 3], [0, 1, 2, 3]]
    # Of the term of all four a third goes to each pair that is formed before the others are.
    assert tree.score.tolist() == pytest.approx([0, 0, 0, 0, 1 + 0.1 / 3, 1 + 0.1 / 3, 2.1])
    nodes = interaction_tree_nodes(game)
    assert nodes.curves["between"].tolist() == pytest.approx([31 / 30, 31 / 30, 1 / 30])
    phi = [0.5 + 0.1 / 4, 1 + 0.1 / 3]
    density = [31 / 30 / (2 * phi[0]), 31 / 30 / (2 * phi[0]), 1 / 30 / (2 * phi[1])]
    assert nodes.curves["density"].tolist() == pytest.approx(density)
    assert nodes.curves["together"].tolist() == pytest.approx([phi[1], phi[1], 2.1])
    assert nodes.numbers["total"] == pytest.approx(2.1)
    assert tree.evaluations == 16


def test_only_neighbours_are_joined_unless_any_may_be():
    game = product_game(4, (1.0, [0, 3]))
    assert sets_of(interaction_tree(game, adjacent=False))[0] == [0, 3]
    for own in sets_of(interaction_tree(game)):
        assert own == list(range(own[0], own[-1] + 1))
    nodes = interaction_tree_nodes(game, adjacent=False)
    assert nodes.numbers["captured"] == pytest.approx(1)
    assert nodes.curves["between"].tolist() == pytest.approx([1, 0, 0], abs=1e-12)


@given(tables(min_players=2, max_players=6), st.booleans())
def test_what_happens_at_the_steps_sums_to_the_whole(table, adjacent):
    n = len(table).bit_length() - 1
    nodes = interaction_tree_nodes(tabled(table), adjacent=adjacent)
    alone = sum(float(table[2**i] - table[0]) for i in range(n))
    whole = float(table[-1] - table[0]) - alone
    scale = 1 + float(table.abs().max())
    assert float(nodes.curves["between"].sum()) == pytest.approx(whole, abs=1e-8 * scale)
    assert nodes.numbers["total"] == pytest.approx(whole, abs=1e-8 * scale)


def test_scores_are_multivariate_interactions():
    table = random_table(6, 1)
    tree = interaction_tree(tabled(table))
    for own, score in zip(sets_of(tree), tree.score[6:].tolist(), strict=True):
        found = multivariate_shapley(tabled(table), members=own).numbers
        assert score == pytest.approx(found["interaction"])


def test_players_read_backwards_make_the_tree_backwards():
    table = random_table(5, 2)
    mirrored = tabled(tabled(table)(coalitions(5).flip(1)))
    one, other = interaction_tree(tabled(table)), interaction_tree(mirrored)
    assert sets_of(other) == [sorted(4 - i for i in own) for own in sets_of(one)]
    assert torch.allclose(one.score, torch.cat([other.score[:5].flip(0), other.score[5:]]))


# Drawn contexts


def test_a_tree_of_many_players_is_drawn():
    """Thirty words: the sum of three phrases, each of which acts as one."""
    n = 30
    phrases = [(4.0, [3, 4]), (-6.0, [10, 11, 12]), (2.0, [20, 21])]
    game = Game(
        lambda own: (
            sum(factor * own[:, part].all(1).double() for factor, part in phrases)
            + 0.01 * own.double().sum(1)
        ),
        tuple(map(str, range(n))),
    )
    tree, nodes = (method(game, samples=128) for method in KIN)
    assert {tuple(own) for own in sets_of(tree)[:4]} >= {(3, 4), (20, 21), (10, 11, 12)}
    score = dict(zip(map(tuple, sets_of(tree)), tree.score[n:].tolist(), strict=True))
    assert score[3, 4] == pytest.approx(4)
    assert score[20, 21] == pytest.approx(2)
    assert score[10, 11, 12] == pytest.approx(-6)
    assert nodes.numbers["total"] == pytest.approx(0, abs=1e-9)
    assert tree.evaluations == nodes.numbers["evaluations"] < 10**6
    assert torch.equal(nodes.curves["within"], tree.score[n:])
    again = interaction_tree(game, samples=128)
    assert torch.equal(again.score, tree.score)


def test_drawn_scores_are_as_near_as_their_errors_say():
    table = random_table(13, 3)
    scores = {}
    off = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        tree = interaction_tree(tabled(table), samples=64, generator=generator)
        generator.manual_seed(seed)
        nodes = interaction_tree_nodes(tabled(table), samples=64, generator=generator)
        assert tree.evaluations > 0
        for own, score, error in zip(
            sets_of(tree), tree.score[13:].tolist(), nodes.curves["within_error"].tolist(),
            strict=True,
        ):  # fmt: skip
            if error == 0 or len(own) > 7:
                continue  # of few contexts all are seen
            if tuple(own) not in scores:
                found = multivariate_shapley(tabled(table), members=own, samples=10**6).numbers
                scores[tuple(own)] = found["interaction"]
            off.append((score - scores[tuple(own)]) / error)
    off = torch.tensor(off)
    assert len(off) > 10
    # Sets are chosen for what was drawn of them, so that they are further off than they say.
    assert float(off.square().mean()) < 6


def test_memory_is_that_of_a_block():
    largest = []

    def value(masks):
        largest[-1] = max(largest[-1], masks.numel())
        return masks[:, 0].double() * masks[:, 1]

    game = Game(value, tuple(map(str, range(22))))
    for samples in (16, 4096):
        largest.append(0)
        interaction_tree(game, samples=samples)
    assert largest[1] <= AT_ONCE


# Edges


def test_one_player_and_two():
    one = tabled(torch.tensor([1.0, 4.0]).double())
    tree, nodes = (method(one) for method in KIN)
    assert tree.members.tolist() == [[True]]
    assert tree.score.tolist() == [0]
    assert nodes.numbers == {"total": 0, "captured": 1, "evaluations": 2}
    assert all(len(curve) == 0 for curve in nodes.curves.values())
    two = tabled(torch.tensor([0.0, 1.0, 2.0, 7.0]).double())
    assert interaction_tree(two).score.tolist() == [0, 0, 4]


def test_nothing_interacts():
    weights = torch.tensor([1.0, -2.0, 3.0, 0.0]).double()
    games = [tabled(torch.full((16,), 5.0).double()), tabled(coalitions(4).double() @ weights)]
    for game in games:
        tree, nodes = (method(game) for method in KIN)
        assert tree.score.abs().max() < 1e-12
        assert len(sets_of(tree)) == 3
        for curve in nodes.curves.values():
            assert curve.isfinite().all()
        assert nodes.curves["density"].max() < 1e-6


def test_a_null_player_is_joined_last():
    game = product_game(4, (1.0, [0, 1]), (2.0, [0, 1, 2]), (0.5, [1, 2]))
    assert sets_of(interaction_tree(game))[-1] == [0, 1, 2, 3]
    nodes = interaction_tree_nodes(game)
    assert float(nodes.curves["between"][-1]) == pytest.approx(0, abs=1e-12)


def test_what_makes_no_sense_is_refused():
    broken = tabled(torch.tensor([0.0, 1.0, float("nan"), 0.0]).double())
    for method in KIN:
        with pytest.raises(ValueError, match="samples is 3"):
            method(product_game(3, (1.0, [0, 1])), samples=3)
        with pytest.raises(ValueError, match=r"coalition \{b\} is nan"):
            method(broken)


# Networks


def test_a_network_on_a_table():
    from unmask import zoo

    exhibit = zoo.breast_cancer()
    game = masked(
        exhibit.score(exhibit.model, exhibit.labels[0]),
        exhibit.inputs[0],
        exhibit.players(0),
        exhibit.baseline(0),
    )
    tree, nodes = (method(game, adjacent=False) for method in KIN)
    table = game.table().double()
    n = len(game.names)
    first = sets_of(tree)[0]
    # By size of the context, for the pair that was joined first.
    outside = [i for i in range(n) if i not in first]
    a, b = (2**i for i in first)
    wanted = 0.0
    for k in range(n - 1):
        contexts = list(combinations(outside, k))
        for context in contexts:
            s = sum(2**i for i in context)
            both = float(table[s + a + b] - table[s + a] - table[s + b] + table[s])
            wanted += both / (len(contexts) * (n - 1))
    assert float(tree.score[n]) == pytest.approx(wanted, abs=1e-6)
    alone = sum(float(table[2**i] - table[0]) for i in range(n))
    whole = float(table[-1] - table[0]) - alone
    assert float(nodes.curves["between"].sum()) == pytest.approx(whole, abs=1e-4)


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_sentences_of_ten_words():
    from unmask import zoo

    exhibit = zoo.sst2()
    ten = [i for i in range(80) if len(exhibit.players(i).names) == 10][:2]
    assert len(ten) == 2
    for i in ten:
        score = exhibit.score(exhibit.model, exhibit.labels[i])
        game = masked(score, exhibit.inputs[i], exhibit.players(i), exhibit.baseline(i))
        tree, nodes = (method(game) for method in KIN)
        assert tree.evaluations == 2**10
        for own in sets_of(tree):
            assert own == list(range(own[0], own[-1] + 1))
        ends = torch.zeros(12, 10, dtype=torch.bool)
        ends[1] = True
        ends[2:] = torch.eye(10).bool()
        v = game(ends).double()
        whole = float(v[1] - v[0] - (v[2:] - v[0]).sum())
        assert nodes.numbers["total"] == pytest.approx(whole, abs=1e-4)
        assert 0 < nodes.numbers["captured"] < 1
