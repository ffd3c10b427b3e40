import math
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import NAMES, games, tabled
from unmask import Game, Interactions
from unmask.interactions import and_interaction, sparsity, strengths
from unmask.interactions.sparsity_bound import exponents
from unmask.lattice import coalitions, sizes


def of_size(n, function):
    return tabled(torch.tensor([function(m) for m in range(n + 1)]).double()[sizes(n)])


def slow_dividends(table):
    n = len(table).bit_length() - 1
    dividends = {}
    for k in range(1, n + 1):
        for players in combinations(range(n), k):
            dividends[players] = sum(
                (-1) ** (k - j) * float(table[sum(2**i for i in some)])
                for j in range(k + 1)
                for some in combinations(players, j)
            )
    return dividends


def slow_means(table):
    n = len(table).bit_length() - 1
    return [
        sum(float(table[sum(2**i for i in some)] - table[0]) for some in combinations(range(n), m))
        / math.comb(n, m)
        for m in range(n + 1)
    ]


@pytest.mark.parametrize("n", [2, 5, 8])
def test_players_that_add_up(n):
    found = sparsity(of_size(n, lambda m: m))
    assert found.curves["count"].tolist() == [n] + [0] * (n - 1)
    assert found.curves["salient_dividends"].tolist() == [n] + [0] * (n - 1)
    assert found.curves["mean"].tolist() == pytest.approx(range(1, n + 1))
    assert found.numbers["monotone"] == 1
    assert found.numbers["p"] == pytest.approx(1)
    assert found.numbers["p_all"] == pytest.approx(1)
    assert found.numbers["order"] == 1
    assert found.numbers["mass_above"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_players_whose_sum_is_squared(n):
    found = sparsity(of_size(n, lambda m: m**2))
    pairs = math.comb(n, 2)
    assert found.curves["count"].tolist() == ([n, pairs] + [0] * n)[:n]
    assert found.curves["positive"].tolist() == pytest.approx(([n, 2 * pairs] + [0] * n)[:n])
    assert found.curves["negative"].tolist() == [0] * n
    assert found.curves["mean"].tolist() == pytest.approx([m**2 for m in range(1, n + 1)])
    assert found.numbers["p"] == pytest.approx(2)
    assert found.numbers["p_all"] == pytest.approx(2)
    assert found.numbers["order"] == 2
    assert found.numbers["salient"] == n + pairs
    assert found.numbers["share"] == pytest.approx((n + pairs) / (2 ** (n + 1) - n - 2))
    assert found.numbers["fidelity"] == pytest.approx(1)
    assert found.numbers["unexplained"] == pytest.approx(0, abs=1e-12)
    assert found.numbers["mass"] == pytest.approx(1)


def test_players_who_win_only_together():
    found = sparsity(of_size(5, lambda m: float(m == 5)))
    assert found.curves["count"].tolist() == [0, 0, 0, 0, 1]
    assert found.curves["mean"].tolist() == [0, 0, 0, 0, 1]
    assert found.numbers["order"] == 5
    assert found.numbers["monotone"] == 1
    assert found.numbers["p"] == math.inf
    assert found.numbers["p_all"] == math.inf
    assert math.isnan(found.numbers["delta"])


def test_an_or_is_one_term_but_many_dividends():
    table = coalitions(5)[:, :3].any(1).double()
    found = sparsity(tabled(table))
    assert found.numbers["salient"] == 1
    assert found.numbers["terms_95"] == 1
    assert found.numbers["salient_dividends"] == 7
    assert found.curves["count"].tolist() == [0, 0, 1, 0, 0]
    assert found.curves["salient_dividends"].tolist() == [3, 3, 1, 0, 0]
    assert found.curves["eta"].tolist() == pytest.approx([1, -1, 1, 0, 0])


@given(games(min_players=2, max_players=5), st.sampled_from([0.05, 0.3, 1.0]))
def test_counts_and_bounds_follow_their_definitions(game, tau):
    terms, table = and_interaction(game), game.table()
    n = len(game.names)
    dividends = slow_dividends(table)
    strongest = max(abs(a) for a in dividends.values())
    near = any(abs(abs(a) - tau * strongest) < 1e-9 * (1 + strongest) for a in dividends.values())
    found = sparsity(game, terms=terms, tau=tau)
    if not near:
        for k in range(1, n + 1):
            sizes_ = [a for players, a in dividends.items() if len(players) == k]
            salient = [a for a in sizes_ if abs(a) >= tau * strongest]
            assert found.curves["count"][k - 1] == len(salient)
            assert found.curves["salient_dividends"][k - 1] == len(salient)
            assert found.curves["positive"][k - 1] == pytest.approx(
                sum(a for a in salient if a > 0)
            )
            assert found.curves["negative"][k - 1] == pytest.approx(
                sum(a for a in salient if a < 0)
            )
    assert found.curves["mean"].tolist() == pytest.approx(slow_means(table)[1:], abs=1e-9)
    assert (found.curves["salient_dividends"] <= found.curves["bound"] + 1e-9).all()
    assert found.numbers["salient_dividends"] <= found.numbers["bound"] + 1e-9


@given(games(min_players=2, max_players=5))
def test_the_third_condition_holds_for_p_and_for_no_less(game):
    means = slow_means(game.table())
    sign = -1 if means[-1] < 0 else 1
    means = [sign * mean for mean in means]
    n = len(game.names)
    found = sparsity(game, terms=and_interaction(game))

    def holds(p, pairs):
        return all(
            means[b] >= (b / m) ** p * means[m] - 1e-9 * (1 + max(map(abs, means)))
            for b, m in pairs
        )

    every = [(b, m) for m in range(1, n + 1) for b in range(1, m)]
    for name, pairs in (("p_all", every), ("p", [(b, m) for b, m in every if b == 1])):
        p = found.numbers[name]
        if math.isfinite(p):
            assert holds(p, pairs)
            assert p < 1e-6 or not all(
                means[b] > (b / m) ** (p / 2) * means[m] for b, m in pairs if means[m] > 0
            )
        else:
            assert any(means[b] <= 1e-8 and means[b] < means[m] for b, m in pairs)
    monotone = all(one <= two + 1e-7 * (1 + max(map(abs, means))) for one, two in pairwise(means))
    assert monotone or not found.numbers["monotone"]


def digits_to_base(number, base):
    """Of the whole part, the lowest first; the fraction is added to the lowest."""
    whole, digits = int(number), []
    fraction = number - whole
    while whole or not digits:
        digits.append(whole % base)
        whole //= base
    digits[0] += fraction
    return digits


def slow_constants(table, order):
    """delta, its limit and the bound, from the digits as the theorem writes them."""
    n = len(table).bit_length() - 1
    dividends, means = slow_dividends(table), slow_means(table)
    p = max([0.0] + [math.log(means[m] / means[1]) / math.log(m) for m in range(2, n + 1)])
    first = math.floor(p)
    digits, signs = {}, {}
    for k in range(1, order + 1):
        total = sum(a for players, a in dividends.items() if len(players) == k)
        ratio = n if k == 1 else total / means[1]
        digits[k], signs[k] = digits_to_base(abs(ratio), n), math.copysign(1, ratio)
    deltas = {}
    for k, row in digits.items():
        upper = sum(a * n**i for i, a in enumerate(row) if i >= first)
        if upper > 0:
            deltas[k] = math.log(upper, n) - p
    delta = max(deltas.values())
    slopes = {k: signs[k] * n ** (deltas[k] - delta) if k in deltas else 0.0 for k in digits}
    rests = {
        k: signs[k] * sum(a * n**i for i, a in enumerate(digits[k]) if i < first) for k in digits
    }
    limits = []
    for m in range(max(order, n - order), n + 1):
        slope = sum(math.comb(m, k) / math.comb(n, k) * slopes[k] for k in digits)
        rest = sum(math.comb(m, k) / math.comb(n, k) * rests[k] for k in digits) * n**-p
        if slope > 1e-8 and rest < 1:
            limits.append(math.log((1 - rest) / slope, n))
        if slope < -1e-8 and rest > 0:
            limits.append(math.log(rest / -slope, n))
    bound = [abs(means[1] * (slopes[k] * n ** (p + delta) + rests[k])) for k in digits]
    return p, delta, min(limits), bound


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_constants_are_those_of_the_digits(seed, order):
    n = 6
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2**n, generator=generator).double()
    size = sizes(n)
    effects = (uniform + 0.5) * (size == 1) + 1.6 * uniform * (size == 2)
    if order == 3:
        effects = effects + 0.5 * (uniform - 0.5) * (size == 3)
    masks = coalitions(n)
    table = torch.stack([effects[(masks <= mask).all(1)].sum() for mask in masks])
    game = tabled(table)
    found = sparsity(game, terms=and_interaction(game), order=order)
    p, delta, limit, bound = slow_constants(table, order)
    assert found.numbers["p"] == pytest.approx(p)
    assert found.numbers["delta"] == pytest.approx(delta)
    assert found.numbers["delta_limit"] == pytest.approx(limit)
    tau = 0.05 * float(effects.abs().max())
    expected = [
        size / (tau * abs(float(eta)))
        for size, eta in zip(bound, found.curves["eta"], strict=False)
    ]
    assert found.curves["bound"][:order].tolist() == pytest.approx(expected)
    if found.numbers["monotone"] and math.isfinite(found.numbers["p_all"]):
        assert delta <= limit + 1e-9


def test_the_limit_where_the_upper_digits_sum_to_less_than_nothing():
    # Of six players, 6, -30 and 33 in units of ubar(1), so p = log 9 / log 6 and its floor is 1.
    # Upper digits 6, -30, 30; lower digits 0, 0, 3. Among three players the upper ones mix to
    # 3 - 6 + 1.5 = -1.5, which is -1/20 of the largest, the lower ones to 3/20, or 1/60 of n^p = 9.
    total = torch.tensor([6.0, -30.0, 33.0, 0.0, 0.0, 0.0]).double()
    mean = torch.tensor([1.0, 0.0, -1.35, -1.4, 1.5, 9.0]).double()
    found = exponents(total, mean, math.log(9, 6), 3)
    assert found.delta == pytest.approx(math.log(30 / 9, 6))
    assert found.limit == pytest.approx(math.log(1 / 3, 6))


def test_the_limit_speaks_of_nearly_all_players():
    # Upper digits 6 and -6, none lower. They mix to 1.6 among four players, 1 among five and 0
    # among six; the 1.8 among three is not asked, as three is below 6 - 2.
    total = torch.tensor([6.0, -6.0, 0.0, 0.0, 0.0, 0.0]).double()
    found = exponents(total, torch.ones(6).double(), 1.0, 2)
    assert found.limit == pytest.approx(math.log(6 / 1.6, 6))


def test_what_lies_above_the_highest_order():
    table = of_size(4, lambda m: m + 0.5 * (m == 4)).table()
    found = sparsity(tabled(table), order=1)
    assert found.numbers["order"] == 1
    assert found.numbers["mass_above"] == pytest.approx(0.5 / 4.5)
    assert found.numbers["largest_above"] == pytest.approx(0.5)


def test_a_game_that_falls_is_tested_upside_down():
    up, down = sparsity(of_size(5, lambda m: m**2)), sparsity(of_size(5, lambda m: 3.0 - m**2))
    for name in ("p", "p_all", "monotone", "delta", "delta_limit", "bound", "salient", "terms_95"):
        assert down.numbers[name] == pytest.approx(up.numbers[name], nan_ok=True), name
    assert torch.allclose(down.curves["mean"], -up.curves["mean"])
    assert torch.allclose(down.curves["negative"], -up.curves["positive"])


def test_only_what_is_salient_counts():
    members = torch.tensor([[True, False, False], [True, True, False], [False, True, True]])
    effects = torch.tensor([10.0, 0.4, -4.0]).double()
    terms = Interactions(members, torch.tensor([False, False, True]), effects, 1.0, NAMES[:3])
    table = terms(coalitions(3))
    found = sparsity(tabled(table), terms=terms)
    assert found.numbers["salient"] == 2
    assert found.numbers["mass"] == pytest.approx(14 / 14.4)
    assert found.curves["order"].tolist() == [1, 2, 3]
    assert found.curves["count"].tolist() == [1, 1, 0]
    assert found.curves["positive"].tolist() == [10, 0, 0]
    assert found.curves["negative"].tolist() == [0, -4, 0]
    # What is missing is 0.4 on the two coalitions that hold both of the first players.
    assert found.numbers["unexplained"] == pytest.approx(
        2 * 0.16 / float((table - 1).square().sum())
    )
    spread = float((table - table.mean()).square().sum())
    assert found.numbers["fidelity"] == pytest.approx(1 - 2 * 0.16 / spread)


def test_the_strongest_are_salient_however_high_the_bar():
    found = sparsity(of_size(3, lambda m: m), tau=1.0)
    assert found.numbers["salient"] == 3
    assert found.numbers["salient_dividends"] == 3


def test_the_game_is_asked_once():
    asked = []
    game = of_size(4, lambda m: m**2)

    def everything():
        asked.append(1)
        return game.table()

    sparsity(type(game)(game.value, game.names, everything))
    assert asked == [1]


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_constant_has_nothing_to_count(n, value):
    found = sparsity(tabled(torch.full((2**n,), value)))
    assert found.numbers["salient"] == 0
    assert found.numbers["terms_95"] == 0
    assert found.numbers["bound"] == 0
    assert found.numbers["monotone"] == 1
    assert found.numbers["fidelity"] == 1
    assert found.curves["count"].tolist() == [0] * n


def test_one_player():
    found = sparsity(tabled(torch.tensor([1.0, 4.0])))
    assert found.numbers["salient"] == 1
    assert found.numbers["share"] == 1
    assert found.numbers["terms_95"] == 1
    assert found.numbers["p"] == 0
    assert found.curves["mean"].tolist() == [3]
    assert math.isnan(found.numbers["delta"])


def test_all_curves_have_one_length():
    found = sparsity(of_size(4, lambda m: m**2))
    assert {len(curve) for curve in found.curves.values()} == {4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tau": 0.0}, r"tau .* got 0.0.* above 0"),
        ({"tau": 1.5}, r"got 1.5"),
        ({"order": 0}, r"from 1 to 3, but got 0"),
        ({"order": 4}, r"from 1 to 3, but got 4"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        sparsity(of_size(3, lambda m: m), **options)


def test_terms_of_other_players_are_refused():
    terms = and_interaction(of_size(2, lambda m: m))
    with pytest.raises(ValueError, match="terms that were found for this game"):
        sparsity(of_size(3, lambda m: m), terms=terms)


def test_strengths_fall_from_one():
    terms = and_interaction(tabled(torch.tensor([0.0, 1.0, -4.0, -1.0])))
    found = strengths(terms).curves
    assert found["rank"].tolist() == [1, 2, 3]
    assert found["strength"].tolist() == [1, 0.5, 0.25]
    assert found["mass"].tolist() == pytest.approx([4 / 7, 6 / 7, 1])


def test_nothing_has_no_strength():
    found = strengths(and_interaction(tabled(torch.zeros(4)))).curves
    assert found["strength"].tolist() == [0, 0, 0]
    assert found["mass"].tolist() == [0, 0, 0]


@pytest.mark.gpu
def test_counts_are_the_same_on_a_gpu():
    table = torch.randn(2**6, generator=torch.Generator().manual_seed(0)).double()
    here, there = (
        sparsity(
            Game(lambda m: m.sum(1), NAMES[:6], lambda t=t: t),
            terms=and_interaction(Game(lambda m: m.sum(1), NAMES[:6], lambda t=t: t)),
        )
        for t in (table, table.cuda())
    )
    for name, number in here.numbers.items():
        assert there.numbers[name] == pytest.approx(number, nan_ok=True)
    assert all(curve.is_cuda for curve in there.curves.values())
