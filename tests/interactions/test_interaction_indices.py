"""Every index three times: from its textbook definition, in closed form, and against shapiq."""

from itertools import combinations
from math import comb, factorial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import games, tabled, tensors
from unmask import Game
from unmask.interactions import and_interaction, interaction_indices
from unmask.lattice import coalitions

N = 5
EVERYBODY = frozenset(range(N))
CARDINAL = ("Moebius", "Co-Moebius", "SII", "BII", "CHII")
GENERALISED = ("IGV", "EGV", "SGV", "BGV", "CHGV")
OF_ORDER = ("k-SII", "STII", "FSII", "FBII", "kADD-SHAP", "JointSV")
ALL = ("SV", "BV", *CARDINAL, *GENERALISED, *OF_ORDER)
EFFICIENT = ("SV", "k-SII", "STII", "FSII", "JointSV")


def inside(players, least=0, most=N):
    return [
        frozenset(some) for k in range(least, most + 1) for some in combinations(sorted(players), k)
    ]


def random_game(seed=0, n=N):
    return tabled(torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double())


def lookup(game):
    table = game.table().tolist()
    return lambda players: table[sum(2**i for i in players)]


def by_set(terms):
    sets = (frozenset(row.nonzero()[:, 0].tolist()) for row in terms.members)
    return dict(zip(sets, terms.effects.tolist(), strict=True))


def derivative(v, players, context):
    return sum((-1) ** (len(players) - len(some)) * v(context | some) for some in inside(players))


def context_weight(index, r, s):
    return {
        "Moebius": float(r == 0),
        "IGV": float(r == 0),
        "Co-Moebius": float(r == N - s),
        "EGV": float(r == N - s),
        "SII": factorial(N - r - s) * factorial(r) / factorial(N - s + 1),
        "SGV": factorial(N - r - s) * factorial(r) / factorial(N - s + 1),
        "BII": 0.5 ** (N - s),
        "BGV": 0.5 ** (N - s),
        "CHII": s / ((s + r) * comb(N, s + r)),
        "CHGV": s / ((s + r) * comb(N, s + r)),
    }[index]


def slow_cardinal(v, index, players):
    return sum(
        context_weight(index, len(context), len(players)) * derivative(v, players, context)
        for context in inside(EVERYBODY - players)
    )


def slow_generalised(v, index, players):
    return sum(
        context_weight(index, len(context), len(players)) * (v(context | players) - v(context))
        for context in inside(EVERYBODY - players)
    )


def slow_n_shapley(v, k):
    """Bordt and von Luxburg's recursion over the order."""
    bernoulli = [1, -1 / 2, 1 / 6, 0, -1 / 30, 0]
    sets = inside(EVERYBODY, 1)
    sii = {players: slow_cardinal(v, "SII", players) for players in sets}
    values = {players: sii[players] for players in sets if len(players) == 1}
    for order in range(2, k + 1):
        values = {
            players: values[players]
            + bernoulli[order - len(players)]
            * sum(
                sii[players | more]
                for more in inside(EVERYBODY - players)
                if len(more) == order - len(players)
            )
            for players in values
        } | {players: sii[players] for players in sets if len(players) == order}
    return values


def slow_shapley_taylor(v, k):
    """A player's set counts with what stands before it in a random order, if it is of size k."""
    values = {}
    for players in inside(EVERYBODY, 1, k):
        if len(players) < k:
            values[players] = derivative(v, players, frozenset())
        else:
            values[players] = sum(
                k / N / comb(N - 1, len(context)) * derivative(v, players, context)
                for context in inside(EVERYBODY - players)
            )
    return values


def constrained_fit(v, basis, weight):
    """Weighted least squares that is exact at the empty and the full coalition."""
    sets = inside(EVERYBODY)
    columns = inside(EVERYBODY, 0, basis["order"])
    x = np.array([[basis["entry"](some, column) for column in columns] for some in sets])
    y = np.array([v(some) for some in sets])
    w = np.array([weight(len(some)) for some in sets])
    ends = np.array([len(some) in (0, N) for some in sets])
    normal = x[~ends].T @ (w[~ends, None] * x[~ends])
    system = np.block([[normal, x[ends].T], [x[ends], np.zeros((2, 2))]])
    right = np.concatenate([x[~ends].T @ (w[~ends] * y[~ends]), y[ends]])
    found = np.linalg.lstsq(system, right, rcond=None)[0]
    return dict(zip(columns, found[: len(columns)], strict=True))


def shapley_weight(a):
    return (N - 1) / (comb(N, a) * a * (N - a)) if 0 < a < N else 0.0


def slow_faithful_shapley(v, k):
    holds = {"order": k, "entry": lambda some, column: float(column <= some)}
    return constrained_fit(v, holds, shapley_weight)


def slow_additive(v, k):
    bernoulli = [1, -1 / 2, 1 / 6, 0, -1 / 30, 0]

    def entry(some, column):
        r, b = len(some & column), len(column)
        return sum(comb(r, j) * bernoulli[b - j] for j in range(r + 1))

    return constrained_fit(v, {"order": k, "entry": entry}, shapley_weight)


def slow_faithful_banzhaf(v, k):
    """The Fourier expansion truncated at degree k, written as dividends again."""
    sets = inside(EVERYBODY)
    fourier = {
        some: sum((-1) ** len(some & other) * v(other) for other in sets) / 2**N for some in sets
    }

    def cut(players):
        low = (some for some in sets if len(some) <= k)
        return sum((-1) ** len(some & players) * fourier[some] for some in low)

    return {players: derivative(cut, players, frozenset()) for players in inside(EVERYBODY, 0, k)}


def slow_joint(v, k):
    """Sets of at most k players arrive one after another, each equally likely among those left."""
    values = dict.fromkeys(inside(EVERYBODY, 1, k), 0.0)
    chance = {frozenset(): 1.0}
    for there in sorted(inside(EVERYBODY), key=len):
        if there == EVERYBODY or there not in chance:
            continue
        coming = inside(EVERYBODY - there, 1, min(k, N - len(there)))
        for players in coming:
            here = chance[there] / len(coming)
            values[players] += here * (v(there | players) - v(there))
            chance[there | players] = chance.get(there | players, 0.0) + here
    return values


SLOW = {
    "k-SII": slow_n_shapley,
    "STII": slow_shapley_taylor,
    "FSII": slow_faithful_shapley,
    "FBII": slow_faithful_banzhaf,
    "kADD-SHAP": slow_additive,
    "JointSV": slow_joint,
}


def compare(terms, expected, tolerance=1e-10):
    found = by_set(terms)
    assert len(found) == len(terms.effects)
    assert set(found) == {players for players in expected if players}
    for players, effect in found.items():
        assert effect == pytest.approx(expected[players], abs=tolerance)


@pytest.mark.parametrize("index", CARDINAL)
def test_cardinal_indices_average_discrete_derivatives(index):
    game = random_game()
    expected = {s: slow_cardinal(lookup(game), index, s) for s in inside(EVERYBODY, 1)}
    compare(interaction_indices(game, index=index, order=N), expected)


@pytest.mark.parametrize("index", GENERALISED)
def test_generalised_values_average_joint_contributions(index):
    game = random_game(1)
    expected = {s: slow_generalised(lookup(game), index, s) for s in inside(EVERYBODY, 1)}
    compare(interaction_indices(game, index=index, order=N), expected)


@pytest.mark.parametrize("order", range(1, N + 1))
@pytest.mark.parametrize("index", SLOW)
def test_indices_of_an_order_follow_their_definitions(index, order):
    game = random_game(2)
    compare(interaction_indices(game, index=index, order=order), SLOW[index](lookup(game), order))


@pytest.mark.parametrize(("index", "base"), [("SV", "SII"), ("BV", "BII")])
def test_values_are_indices_of_single_players_at_any_order(index, base):
    game = random_game(3)
    expected = {frozenset({i}): slow_cardinal(lookup(game), base, frozenset({i})) for i in range(N)}
    compare(interaction_indices(game, index=index, order=3), expected)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_constant_of_faithful_banzhaf_is_that_of_its_fit(order):
    game = random_game(4)
    found = interaction_indices(game, index="FBII", order=order)
    assert found.empty == pytest.approx(slow_faithful_banzhaf(lookup(game), order)[frozenset()])
    # As the fit is by plain least squares, what it misses sums to nothing.
    assert (found(coalitions(N)) - game.table()).sum() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("index", "single", "pair"),
    [
        ("SII", 1 / 4, 1 / 3),
        ("BII", 1 / 8, 1 / 4),
        ("CHII", 1 / 4, 1 / 2),
        ("k-SII", -1 / 4, 1 / 3),
        ("STII", 0, 1 / 6),
        ("FSII", -1 / 5, 3 / 10),
        ("FBII", -1 / 4, 1 / 4),
    ],
)
def test_closed_forms_on_the_game_that_four_players_win_together(index, single, pair):
    wins = coalitions(6)[:, [0, 1, 3, 5]].all(1).double()
    found = by_set(interaction_indices(tabled(wins), index=index))
    for players, effect in found.items():
        within = players <= {0, 1, 3, 5}
        assert effect == pytest.approx({1: single, 2: pair}[len(players)] * within, abs=1e-12)


def test_the_constant_on_the_game_that_four_players_win_together():
    wins = coalitions(6)[:, [0, 1, 3, 5]].all(1).double()
    assert interaction_indices(tabled(wins), index="FBII").empty == pytest.approx(0.1875)
    assert interaction_indices(tabled(wins), index="FSII").empty == 0


@given(games(max_players=6), st.sampled_from(EFFICIENT), st.integers(1, 6))
def test_efficient_indices_sum_to_the_whole(game, index, order):
    v = game.table()
    found = interaction_indices(game, index=index, order=order)
    assert found.effects.sum() == pytest.approx(float(v[-1] - v[0]), abs=1e-8)
    assert found.empty == v[0]


@given(games(max_players=5), st.sampled_from(("k-SII", "STII", "FSII", "FBII", "Moebius")))
def test_at_full_order_nothing_is_left_to_share_out(game, index):
    found = interaction_indices(game, index=index, order=len(game.names))
    assert torch.allclose(found(coalitions(len(game.names))), game.table(), atol=1e-7)


@given(st.data(), st.sampled_from(ALL), st.integers(1, 4), st.integers(1, 5))
def test_indices_are_linear_in_the_game(data, index, order, n):
    one, two = data.draw(tensors(2**n)), data.draw(tensors(2**n))
    found = [
        interaction_indices(tabled(v), index=index, order=order).effects
        for v in (one, two, 2 * one - 3 * two)
    ]
    assert torch.allclose(found[2], 2 * found[0] - 3 * found[1], atol=1e-7)


@given(games(max_players=5), st.sampled_from(ALL), st.randoms(use_true_random=False))
def test_renamed_players_have_renamed_effects(game, index, random):
    n = len(game.names)
    new = list(range(n))
    random.shuffle(new)
    table = torch.empty_like(game.table())
    for mask, value in zip(coalitions(n).tolist(), game.table(), strict=True):
        table[sum(2 ** new[i] for i, there in enumerate(mask) if there)] = value
    before = by_set(interaction_indices(game, index=index, order=3))
    after = by_set(interaction_indices(tabled(table), index=index, order=3))
    for players, effect in before.items():
        assert after[frozenset(new[i] for i in players)] == pytest.approx(effect, abs=1e-8)


def test_an_explanation_can_be_explained():
    """Terms are a game: the indices of the terms are those of what they explain."""
    game = random_game(5)
    terms = and_interaction(game)
    again = type(game)(terms, terms.names)
    for index in ALL:
        assert torch.allclose(
            interaction_indices(again, index=index, order=3).effects,
            interaction_indices(game, index=index, order=3).effects,
            atol=1e-10,
        )


@pytest.mark.parametrize("index", ALL)
def test_one_player_gets_everything(index):
    found = interaction_indices(tabled(torch.tensor([2.0, 7.0])), index=index, order=2)
    assert found.members.tolist() == [[True]]
    assert found.effects.tolist() == pytest.approx([5.0])
    assert found.empty == 2


def test_terms_are_ordered_by_size_and_are_ands():
    found = interaction_indices(random_game(), order=3)
    assert found.order.tolist() == [1] * 5 + [2] * 10 + [3] * 10
    assert not found.is_or.any()
    assert found.evaluations == 2**N


def test_many_players_up_to_the_largest_table():
    n = 20
    table = coalitions(n)[:, :4].all(1).double()
    found = interaction_indices(tabled(table), index="FSII", order=2)
    assert len(found.effects) == 210
    expected = torch.zeros(210).double()
    within = found.members[:, 4:].sum(1) == 0
    expected[within & (found.order == 1)] = -0.2
    expected[within & (found.order == 2)] = 0.3
    assert torch.allclose(found.effects, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "near"), [("sii", "SII"), ("kSII", "k-SII"), ("Möbius", "Moebius")]
)
def test_an_unknown_index_names_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=rf"{wrong}' is not .* nearest is '{near}'.*JointSV"):
        interaction_indices(random_game(), index=wrong)


def test_an_order_below_one_is_refused():
    with pytest.raises(ValueError, match=r"order .* got 0.*at least 1"):
        interaction_indices(random_game(), order=0)


@pytest.mark.oracle
@pytest.mark.parametrize("order", range(1, N + 1))
@pytest.mark.parametrize("index", ALL)
@pytest.mark.filterwarnings("ignore")
def test_shapiq_agrees(index, order):
    exact = pytest.importorskip("shapiq.game_theory.exact")
    game = random_game(6)

    def value(masks):
        return game(torch.tensor(np.asarray(masks, dtype=bool))).numpy()

    theirs = exact.ExactComputer(value, n_players=N)(index, order)
    ours = interaction_indices(game, index=index, order=order)
    for players, effect in by_set(ours).items():
        assert effect == pytest.approx(theirs[tuple(sorted(players))], abs=1e-8)
    if index in ("FSII", "FBII"):
        assert ours.empty == pytest.approx(theirs[()], abs=1e-8)


@pytest.mark.gpu
@pytest.mark.parametrize("index", ALL)
def test_effects_stay_on_their_device(index):
    table = random_game().table()
    here, there = (
        interaction_indices(Game(lambda m: m.sum(1), tuple("abcde"), lambda t=t: t), index=index)
        for t in (table, table.cuda())
    )
    assert there.effects.is_cuda
    assert there.members.is_cuda
    assert torch.allclose(here.effects, there.effects.cpu(), atol=1e-12)
