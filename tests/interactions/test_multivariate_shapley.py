from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import benefit, joint_value, partitions, slow_dividends
from strategies import NAMES, games, tabled, tables
from unmask import Game
from unmask.interactions import best_partition, multivariate_shapley
from unmask.interactions.contexts.merged import AT_ONCE
from unmask.lattice import coalitions, sizes


def random_table(n, seed):
    return torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double()


def numbers(game, *names, **options):
    found = multivariate_shapley(game, **options).numbers
    return [found[name] for name in names]


ALL = ("interaction", "largest", "smallest", "significance")
THREE = tabled(coalitions(4)[:, :3].all(1).double())
TWO_PAIRS = tabled(
    2.0 * coalitions(4)[:, :2].all(1).double() - 3.0 * coalitions(4)[:, 2:].all(1).double()
)


def test_three_who_need_each_other():
    for members, wanted in (([0, 1], 0.5), ([0, 1, 2], 1.0), ([0, 3], 0.0)):
        found = numbers(THREE, "interaction", members=members)
        assert found == [pytest.approx(wanted, abs=1e-12)]


def test_gains_and_losses_that_cancel():
    assert numbers(TWO_PAIRS, *ALL) == pytest.approx([-1, 2, -3, 5])
    best = best_partition(TWO_PAIRS)
    assert best.members[4:].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert best.score.tolist() == pytest.approx([0, 0, 0, 0, 2, -1])
    assert best.step.tolist() == [0, 0, 0, 0, 1, 2]
    worst = best_partition(TWO_PAIRS, smallest=True)
    assert worst.members[4:].int().tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert worst.score.tolist() == pytest.approx([0, 0, 0, 0, -3, -1])


@settings(max_examples=30)
@given(tables(min_players=2, max_players=5), st.booleans(), st.booleans(), st.data())
def test_sets_and_partitions_are_those_of_the_definition(table, present, adjacent, data):
    n = len(table).bit_length() - 1
    size = data.draw(st.integers(1, min(n, 4)))
    members = sorted(data.draw(st.permutations(range(n)))[:size])
    game = tabled(table)
    options = {"members": members, "present": present, "adjacent": adjacent, "samples": 10**4}
    found = multivariate_shapley(game, **options).numbers
    assert found["evaluations"] <= 2**n
    assert found["error"] == found["largest_error"] == found["smallest_error"] == 0

    outside = [i for i in range(n) if i not in members]
    assert found["together"] == pytest.approx(joint_value(table, members, outside), abs=1e-9)
    whole = benefit(table, members, members, present)
    assert found["interaction"] == pytest.approx(whole, abs=1e-9)
    assert found["apart"] == pytest.approx(found["together"] - whole, abs=1e-9)

    def allowed(part):
        places = sorted(members.index(i) for i in part)
        return not adjacent or places == list(range(places[0], places[-1] + 1))

    @cache
    def of(*part):
        return benefit(table, part, members, present)

    sums = [
        sum(of(*sorted(part)) for part in cut if len(part) > 1)
        for cut in partitions(members)
        if all(map(allowed, cut))
    ]
    slack = 1e-8 * (1 + float(table.abs().max()))
    assert found["largest"] == pytest.approx(max(sums), abs=slack)
    assert found["smallest"] == pytest.approx(min(sums), abs=slack)
    assert found["significance"] == pytest.approx(max(sums) - min(sums), abs=2 * slack)

    for smallest, bound in ((False, max(sums)), (True, min(sums))):
        tree = best_partition(game, **options, smallest=smallest)
        assert tree.members[:n].tolist() == torch.eye(n).bool().tolist()
        chosen = (tree.step > 0) & (tree.members.sum(1) > 1)
        chosen &= (tree.step == 1) | (tree.step.max() == 1)
        assert float(tree.score[chosen].sum()) == pytest.approx(bound, abs=slack)
        assert (tree.members[chosen].sum(0) <= 1).all()
        for part, score in zip(tree.members[n:], tree.score[n:], strict=True):
            own = part.nonzero()[:, 0].tolist()
            assert allowed(own)
            assert float(score) == pytest.approx(of(*own), abs=1e-9)
        assert not tree.score[:n].any()


@given(tables(min_players=3, max_players=6), st.data())
def test_the_closed_forms(table, data):
    n = len(table).bit_length() - 1
    dividends = slow_dividends(table)
    own = set(data.draw(st.permutations(range(n)))[: data.draw(st.integers(2, n))])
    absent = present = together = 0.0
    for members, a in dividends.items():
        within, without = len(own & set(members)), len(set(members) - own)
        if within > 1:
            absent += a / (without + 1)
        if within > 0:
            together += a / (without + 1)
            present += a * (1 / (without + 1) - within / len(members))
    game = tabled(table)
    for flag, wanted in ((False, absent), (True, present)):
        found = multivariate_shapley(game, members=sorted(own), present=flag).numbers
        assert found["interaction"] == pytest.approx(wanted, abs=1e-8)
        assert found["together"] == pytest.approx(together, abs=1e-8)


def test_of_all_players_it_is_what_they_do_not_do_alone():
    table = random_table(7, 0)
    alone = sum(float(table[2**i] - table[0]) for i in range(7))
    found = multivariate_shapley(tabled(table)).numbers
    assert found["interaction"] == pytest.approx(float(table[-1] - table[0]) - alone)
    together, apart = float(table[-1] - table[0]), found["apart"]
    assert found["together"] == pytest.approx(together)
    assert apart == pytest.approx(alone)
    # With the others present, what the players do alone is their Shapley values: all of it.
    assert numbers(tabled(table), "interaction", present=True) == [pytest.approx(0, abs=1e-10)]


def test_the_largest_sets_are_cut_as_a_search_would():
    """Nine members, 21,147 partitions, each tried."""
    table = random_table(9, 1)
    found = multivariate_shapley(tabled(table)).numbers
    size = sizes(9)
    single = [float(table[2**i] - table[0]) for i in range(9)]
    gain = {}
    for place in range(2**9):
        own = [i for i in range(9) if place >> i & 1]
        gain[place] = float(table[place] - table[0]) - sum(single[i] for i in own)
    sums = [
        sum(gain[sum(2**i for i in part)] for part in cut) for cut in partitions(list(range(9)))
    ]
    assert len(sums) == 21147
    assert int(size.max()) == 9
    assert found["largest"] == pytest.approx(max(sums))
    assert found["smallest"] == pytest.approx(min(sums))


def test_stretches_that_are_best_are_found_either_way():
    """Where the best sets are neighbours, no other sets are better."""
    masks = coalitions(8)
    table = 2.0 * masks[:, :3].all(1) + masks[:, 5:7].all(1) - 4.0 * masks[:, 2:6].all(1)
    game = tabled(table.double())
    either = [numbers(game, *ALL, adjacent=adjacent) for adjacent in (True, False)]
    assert either[0] == pytest.approx(either[1])
    assert either[0] == pytest.approx([-1, 3, -4, 7])
    for adjacent in (True, False):
        best = best_partition(game, adjacent=adjacent)
        sets = [[i for i in range(8) if row[i]] for row in best.members[8:-1].tolist()]
        assert sorted(sets) == [[0, 1, 2], [5, 6]]


def test_stretches_and_sets_differ_where_distant_players_interact():
    masks = coalitions(4)
    game = tabled(masks[:, [0, 3]].all(1).double())
    assert numbers(game, "largest") == [pytest.approx(1)]
    best = best_partition(game)
    assert best.members[4:-1].int().tolist() == [[1, 0, 0, 1]]
    # The only stretch that holds both is of all four.
    best = best_partition(game, adjacent=True)
    assert best.members[4:].int().tolist() == [[1, 1, 1, 1]]
    assert best.step.tolist() == [0, 0, 0, 0, 1]


@given(games(min_players=2, max_players=5))
def test_members_are_numbers_or_names_in_any_order(game):
    last = len(game.names) - 1
    by_number = multivariate_shapley(game, members=[last, 0]).numbers
    by_name = multivariate_shapley(game, members=[game.names[0], game.names[last]]).numbers
    assert by_number == by_name


def test_linear_in_the_game_and_renamed_with_its_players():
    v, w = random_table(6, 2), random_table(6, 3)
    for present in (False, True):
        options = {"members": [1, 2, 5], "present": present}
        one, other, both = (
            numbers(tabled(u), "interaction", "together", "apart", **options)
            for u in (v, w, 2 * v - 3 * w)
        )
        assert both == pytest.approx([2 * a - 3 * b for a, b in zip(one, other, strict=True)])
    order = [3, 0, 5, 1, 2, 4]
    moved = tabled(tabled(v)(coalitions(6)[:, order]))
    back = [order.index(i) for i in (1, 2, 5)]
    # order[k] is the new player that plays k, so that k of the game is order[k] of the moved one
    assert numbers(moved, *ALL, members=[order[i] for i in back]) == pytest.approx(
        numbers(tabled(v), *ALL, members=[order.index(order[i]) for i in back])
    )


# Drawn contexts


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("adjacent", [False, True])
def test_drawn_values_come_as_near_as_their_errors_say(present, adjacent):
    table = random_table(14, 4)
    game, members = tabled(table), [2, 3, 7]
    options = {"members": members, "present": present, "adjacent": adjacent}
    exact = multivariate_shapley(game, **options, samples=10**5).numbers
    assert exact["evaluations"] <= 2**14
    assert exact["error"] == 0
    off = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        found = multivariate_shapley(game, **options, samples=128, generator=generator).numbers
        assert found["evaluations"] < 2**14
        off.append((found["interaction"] - exact["interaction"]) / found["error"])
    off = torch.tensor(off)
    # t with 31 degrees of freedom: the mean square is 1.07, of 40 it varies by 0.25.
    assert 0.4 < float(off.square().mean()) < 2
    assert abs(float(off.mean())) < 4 / 40**0.5


def test_few_contexts_are_all_seen_though_players_are_many():
    n = 24
    weight = torch.linspace(-1, 2, n).double()
    names = tuple(map(str, range(n)))
    game = Game(lambda own: (own.double() @ weight) ** 2, names)
    members = list(range(20))
    found = multivariate_shapley(game, members=members, adjacent=True).numbers
    # A quadratic form: pairs of members do 2 w_i w_j, whatever the context.
    w = weight[:20]
    pairs = float(w.sum() ** 2 - w.square().sum())
    assert found["interaction"] == pytest.approx(pairs)
    assert found["error"] == 0
    assert found["evaluations"] == 2**4 * (20 * 21 // 2 + 1)


def test_values_that_do_not_depend_on_the_context_are_exact():
    n = 30
    names = tuple(map(str, range(n)))
    game = Game(
        lambda own: 2.0 * own[:, :2].all(1) - 3.0 * own[:, 2:4].all(1) + own[:, 9:].sum(1), names
    )
    found = numbers(game, *ALL, members=[0, 1, 2, 3], samples=64)
    assert found == pytest.approx([-1, 2, -3, 5])
    # A pair of which nobody else is part brings as one what its players bring when both are there.
    found = numbers(game, *ALL, members=[0, 1, 2, 3], samples=64, present=True)
    assert found == pytest.approx([0, 0, 0, 0], abs=1e-9)
    best = best_partition(game, members=[0, 1, 2, 3], samples=64)
    assert best.members[n:, :4].int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert best.members.shape == (n + 2, n)


def test_memory_is_that_of_a_block():
    largest = []

    def value(masks):
        largest[-1] = max(largest[-1], masks.numel())
        return masks[:, 0].double()

    game = Game(value, tuple(map(str, range(24))))
    for samples in (64, 640):
        for present in (False, True):
            largest.append(0)
            multivariate_shapley(game, members=range(7), samples=samples, present=present)
    assert max(largest) <= AT_ONCE


# Edges


def test_one_player_does_nothing_with_others():
    game = tabled(torch.tensor([1.0, 4.0]).double())
    found = multivariate_shapley(game).numbers
    assert found["together"] == 3
    assert [found[name] for name in ALL] == [0, 0, 0, 0]
    tree = best_partition(game)
    assert tree.members.tolist() == [[True]]
    assert numbers(THREE, *ALL, members=[2]) == [0, 0, 0, 0]


def test_players_who_do_nothing_stay_alone():
    for game in (
        tabled(torch.full((16,), 2.0).double()),
        Game(lambda own: own.float() @ W, NAMES[:4]),
    ):
        assert numbers(game, *ALL) == pytest.approx([0, 0, 0, 0], abs=1e-12)
        assert len(best_partition(game).members) in (4, 5)


W = torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_duplicates_overlap():
    """Two players who are copies: one is as good as both."""
    game = tabled(coalitions(3)[:, :2].any(1).double())
    assert numbers(game, "interaction", members=[0, 1]) == [pytest.approx(-1)]
    assert numbers(game, "largest", "smallest") == pytest.approx([0, -1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": []}, r"at least one, but got \[\]"),
        ({"members": [0, 0]}, r"different players"),
        ({"members": [4]}, r"Number them from 0 to 3"),
        ({"members": [-1]}, "different players"),
        ({"members": ["z"]}, "0 players are called 'z'"),
        ({"samples": 3}, "samples is 3"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    for method in (multivariate_shapley, best_partition):
        with pytest.raises(ValueError, match=message):
            method(THREE, **options)


def test_more_that_is_refused():
    with pytest.raises(ValueError, match="2 players are called 'the'"):
        multivariate_shapley(Game(THREE.value, ("the", "cat", "the", "dog")), members=["the"])
    many = Game(lambda own: own.sum(1).double(), tuple(map(str, range(13))))
    with pytest.raises(ValueError, match="at most 12 are possible"):
        multivariate_shapley(many)
    assert numbers(many, "interaction", adjacent=True) == [pytest.approx(0, abs=1e-9)]
    broken = tabled(torch.tensor([0.0, 1.0, float("nan"), 0.0]).double())
    with pytest.raises(ValueError, match=r"coalition \{b\} is nan"):
        multivariate_shapley(broken)
