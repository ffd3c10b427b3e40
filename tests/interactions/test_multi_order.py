import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from merging import slow_deltas, slow_dividends, slow_interaction
from strategies import NAMES, games, tabled, tables
from supplies import supplies
from unmask import Game, masked
from unmask.interactions import (
    bottleneck,
    multi_order,
    order_table,
)
from unmask.interactions.contexts.order_table import AT_ONCE
from unmask.lattice import coalitions, sizes


def unanimity(n, members):
    return tabled(coalitions(n)[:, members].all(1).double())


def random_table(n, seed):
    return torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double()


@given(games(min_players=2, max_players=6))
def test_pairs_interact_as_the_definition_says(game):
    table, n = game.table(), len(game.names)
    found = order_table(game)
    assert [tuple(pair) for pair in found.pairs.tolist()] == list(combinations(range(n), 2))
    assert found.orders.tolist() == list(range(n - 1))
    assert found.evaluations == 2**n
    for row, (i, j) in enumerate(found.pairs.tolist()):
        for m in range(n - 1):
            deltas = slow_deltas(table, i, j, m)
            mean = sum(deltas) / len(deltas)
            size = sum(abs(delta) for delta in deltas) / len(deltas)
            assert float(found.values[row, m]) == pytest.approx(mean, abs=1e-10)
            assert float(found.sizes[row, m]) == pytest.approx(size, abs=1e-10)
    assert not found.errors.any()


@given(games(min_players=2, max_players=6))
def test_the_summary_is_of_the_pairs(game):
    table, n = game.table(), len(game.names)
    found = multi_order(game)
    pairs = list(combinations(range(n), 2))
    strengths = []
    for m in range(n - 1):
        values = [slow_interaction(table, i, j, m) for i, j in pairs]
        assert float(found.curves["mean"][m]) == pytest.approx(sum(values) / len(pairs), abs=1e-10)
        strengths.append(sum(map(abs, values)) / len(pairs))
        square = sum(value**2 for value in values) / len(pairs)
        assert float(found.curves["square"][m]) == pytest.approx(square, abs=1e-9)
        size = sum(abs(d) for i, j in pairs for d in slow_deltas(table, i, j, m))
        size /= len(pairs) * math.comb(n - 2, m)
        if size > 1e-6:
            share = float(found.curves["disentanglement"][m])
            assert share == pytest.approx(strengths[-1] / size, abs=1e-6)
    assert found.curves["strength"].tolist() == pytest.approx(strengths, abs=1e-10)
    mean = sum(strengths) / len(strengths)
    if mean > 1e-6:
        spectrum = [strength / mean for strength in strengths]
        assert found.curves["spectrum"].tolist() == pytest.approx(spectrum, abs=1e-6)
    assert not found.curves["error"].any()
    assert not found.curves["mean_error"].any()
    assert found.numbers == {
        "pairs": len(pairs),
        "contexts": max(math.comb(n - 2, m) for m in range(n - 1)),
        "exact": 1,
        "evaluations": 2**n,
    }


@given(tables(min_players=3, max_players=6))
def test_interactions_are_dividends_shared_out(table):
    n = len(table).bit_length() - 1
    dividends = slow_dividends(table, 2)
    found = order_table(tabled(table))
    for row, (i, j) in enumerate(found.pairs.tolist()):
        for m in range(n - 1):
            wanted = sum(
                a * math.comb(m, len(members) - 2) / math.comb(n - 2, len(members) - 2)
                for members, a in dividends.items()
                if i in members and j in members
            )
            assert float(found.values[row, m]) == pytest.approx(wanted, abs=1e-8)


@given(tables(min_players=2, max_players=6))
def test_outputs_are_made_of_single_players_and_interactions(table):
    """Efficiency, and the mean output of every size of coalition."""
    n = len(table).bit_length() - 1
    single = sum(float(table[2**i] - table[0]) for i in range(n))
    by_order = 2 * order_table(tabled(table)).values.sum(0)  # over ordered pairs
    size = sizes(n)
    for k in range(n + 1):
        pairs = sum((k - 1 - m) / (n * (n - 1)) * float(by_order[m]) for m in range(max(0, k - 1)))
        wanted = float(table[size == k].mean())
        assert float(table[0]) + k / n * single + pairs == pytest.approx(wanted, abs=1e-9)


def test_three_who_need_each_other():
    found = order_table(unanimity(6, [0, 1, 2]))
    for (i, j), values in zip(found.pairs.tolist(), found.values.tolist(), strict=True):
        within = {i, j} <= {0, 1, 2}
        assert values == pytest.approx([0, 0.25, 0.5, 0.75, 1] if within else [0] * 5)


def test_a_quadratic_form_is_the_same_in_every_context():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(7, 7, generator=generator).double().triu(1)
    x = torch.randn(7, generator=generator).double()
    game = Game(lambda own: ((own * x) @ q * (own * x)).sum(1), NAMES[:7])
    found = order_table(game)
    i, j = found.pairs.T
    assert torch.allclose(found.values, (q[i, j] * x[i] * x[j])[:, None].expand(-1, 6))
    curves = multi_order(game).curves
    assert curves["spectrum"].tolist() == pytest.approx([1] * 6)
    assert curves["disentanglement"].tolist() == pytest.approx([1] * 6)


def test_a_majority_is_decided_in_the_middle():
    game = tabled((sizes(6) >= 4).double())
    found = order_table(game)
    assert torch.allclose(found.values, torch.tensor([0.0, 0, 1, -1, 0]).double().expand(15, -1))
    assert found.values.mean(1).abs().max() == pytest.approx(0, abs=1e-12)
    curves = multi_order(game).curves
    assert curves["spectrum"].tolist() == pytest.approx([0, 0, 2.5, 2.5, 0])


def test_effects_that_change_sign_cancel():
    """v is 1 for an odd number of players: a pair does -2 or +2, as the context is odd or not."""
    odd = tabled((sizes(5) % 2).double())
    curves = multi_order(odd).curves
    assert curves["mean"].tolist() == pytest.approx([-2, 2, -2, 2])
    assert curves["disentanglement"].tolist() == pytest.approx([1] * 4)
    masks = coalitions(4)  # what 0 and 1 do together, 2 and 3 turn about
    signs = torch.where(masks[:, 2], -1.0, 1.0) * torch.where(masks[:, 3], -1.0, 1.0)
    turned = tabled((signs * masks[:, :2].all(1)).double())
    curves = multi_order(turned, pairs=torch.tensor([[0, 1]])).curves
    assert curves["mean"].tolist() == pytest.approx([1, -1, 1])
    turned = tabled((torch.where(masks[:, 2], -1.0, 1.0) * masks[:, :2].all(1)).double())
    curves = multi_order(turned, pairs=torch.tensor([[0, 1]])).curves
    assert curves["mean"].tolist() == pytest.approx([1, 0, -1])
    assert curves["disentanglement"].tolist() == pytest.approx([1, 0, 1])


@given(tables(min_players=3, max_players=5), st.integers(0, 4))
def test_a_null_player_interacts_with_nobody(table, place):
    low = 2 ** (place % len(table).bit_length())
    idle = low.bit_length() - 1
    found = order_table(tabled(table.view(-1, 1, low).expand(-1, 2, low).reshape(-1)))
    assert found.values[(found.pairs == idle).any(1)].abs().max() <= 1e-10
    assert found.sizes[(found.pairs == idle).any(1)].abs().max() <= 1e-10


def test_interactions_are_linear_and_follow_their_players():
    v, w = random_table(6, 0), random_table(6, 1)
    one, other, both = (order_table(tabled(u)).values for u in (v, w, 2 * v - 3 * w))
    assert torch.allclose(both, 2 * one - 3 * other)
    order = [3, 0, 5, 1, 2, 4]
    moved = order_table(tabled(tabled(v)(coalitions(6)[:, order])))
    for (i, j), values in zip(moved.pairs.tolist(), moved.values, strict=True):
        back = sorted((order.index(i), order.index(j)))
        row = list(combinations(range(6), 2)).index(tuple(back))
        assert torch.allclose(values, one[row])


@pytest.mark.parametrize("m", range(8))
def test_all_contexts_of_an_order_are_seen_where_they_are_few(m):
    table = random_table(10, m)
    found = order_table(tabled(table), pairs=torch.tensor([[7, 2], [2, 4]]), orders=[m])
    assert found.evaluations < 2**10
    assert found.pairs.tolist() == [[2, 7], [2, 4]]
    for row, (i, j) in enumerate([(2, 7), (2, 4)]):
        assert float(found.values[row, 0]) == pytest.approx(slow_interaction(table, i, j, m))
    assert not found.errors.any()
    masks = {
        sum(2**k for k in (*context, *some))
        for i, j in ((2, 7), (2, 4))
        for context in combinations([k for k in range(10) if k not in (i, j)], m)
        for some in ((), (i,), (j,), (i, j))
    }
    assert found.evaluations == len(masks)  # what two pairs share is asked for once


def test_drawn_contexts_come_as_near_as_their_errors_say():
    table = random_table(14, 3)
    game = tabled(table)
    exact = order_table(game, samples=10**4).values
    found = order_table(game, orders=[5, 6], samples=20)
    assert found.evaluations == 4 * 91 * 2 * 20 < 2**14
    off = (found.values - exact[:, 5:7]) / found.errors
    # 182 values of a t distribution with 19 degrees of freedom: the mean square is 1.12, with a
    # standard error of 0.14.
    assert 0.7 < float(off.square().mean()) < 1.54
    assert float(off.abs().max()) < 5
    bias = found.squares - exact[:, 5:7].square()
    assert abs(float(bias.mean())) < 4 * float(bias.std()) / 182**0.5
    # Without the correction the same test finds a bias.
    raw = found.values.square() - exact[:, 5:7].square()
    assert float(raw.mean()) > 8 * float(bias.std()) / 182**0.5
    summary = multi_order(game, orders=[5, 6], samples=20).curves
    wanted = found.errors.square().mean(0).sqrt()
    assert torch.allclose(summary["error"], wanted)
    off = (summary["mean"] - exact[:, 5:7].mean(0)) / summary["mean_error"]
    assert float(off.abs().max()) < 4
    assert float(summary["mean_error"].max()) == pytest.approx(float(wanted.max()) / 91**0.5, 0.1)


def test_contexts_have_the_size_that_was_asked_for():
    seen = []

    def value(masks):
        seen.append(masks)
        return masks.sum(1).double()

    n = 40
    pairs = torch.tensor([[0, 39], [5, 6]])
    found = order_table(Game(value, tuple(map(str, range(n)))), pairs=pairs, orders=[17], samples=9)
    (masks,) = seen
    four = masks.view(4, 2, 9, n)
    assert four.sum(-1).flatten(1).unique(dim=1)[:, 0].tolist() == [19, 18, 18, 17]
    for row, (i, j) in enumerate(pairs.tolist()):
        assert four[:, row, :, i].all(1).tolist() == [True, True, False, False]
        assert four[:, row, :, j].all(1).tolist() == [True, False, True, False]
        others = four[:, row, :, [k for k in range(n) if k not in (i, j)]]
        assert (others == others[:1]).all()
        assert len(others[0].unique(dim=0)) == 9
    assert found.evaluations == 72
    again = order_table(Game(value, tuple(map(str, range(n)))), pairs=pairs, orders=[17], samples=9)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(found.values, again.values)


def test_many_players_and_few_pairs():
    """256 players: drawn pairs, the published orders, and a truth that is known."""
    names = tuple(map(str, range(256)))
    game = Game(lambda own: own.double().sum(1) ** 2, names)  # every pair does 2
    found = multi_order(game, samples=3)
    shares = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
    assert found.curves["order"].tolist() == [int(share * 254) for share in shares]
    assert found.curves["mean"].tolist() == pytest.approx([2] * 13)
    assert found.curves["spectrum"].tolist() == pytest.approx([1] * 13)
    assert found.numbers["pairs"] == 200
    assert found.numbers["contexts"] == 3
    assert found.numbers["evaluations"] < 4 * 200 * 3 * 13


def test_memory_is_that_of_a_block():
    largest = []

    def value(masks):
        largest[-1] = max(largest[-1], masks.numel())
        return masks[:, 0].double()

    game = Game(value, tuple(map(str, range(200))))
    for samples in (300, 30000):
        largest.append(0)
        order_table(game, pairs=torch.tensor([[0, 1], [2, 3]]), orders=[50], samples=samples)
    assert largest[1] <= AT_ONCE
    largest.append(0)
    order_table(game, pairs=torch.tensor([[0, 1]]), orders=[2], samples=20000)  # all 19,503
    assert largest[2] <= AT_ONCE


def test_nothing_interacts_in_a_sum():
    game = Game(lambda own: own.double() @ torch.rand(6).double(), NAMES[:6])
    curves = multi_order(game).curves
    assert curves["strength"].abs().max() < 1e-12
    assert curves["spectrum"].isnan().all()
    assert curves["disentanglement"].isnan().all()
    constant = multi_order(tabled(torch.full((8,), 3.0).double())).curves
    assert constant["spectrum"].isnan().all()


def test_two_players():
    found = multi_order(tabled(torch.tensor([1.0, 2, 4, 8]).double()))
    assert found.curves["mean"].tolist() == [3]
    assert found.curves["spectrum"].tolist() == [1]


GAME = tabled(random_table(4, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": torch.tensor([[0, 0]])}, r"\[0, 0\] is no pair"),
        ({"pairs": torch.tensor([[0, 4]])}, r"\[0, 4\] is no pair .* from 0 to 3"),
        ({"pairs": torch.tensor([[-1, 2]])}, "is no pair"),
        ({"pairs": torch.tensor([[0, 1]])[:0]}, r"shape \(0, 2\)"),
        ({"orders": [3]}, r"from 0 to 2 of 4 players, but got \[3\]"),
        ({"orders": [-1]}, "from 0 to 2"),
        ({"orders": []}, "from 0 to 2"),
        ({"samples": 1}, "samples is 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        multi_order(GAME, **options)


def test_games_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="but this game has 1"):
        multi_order(tabled(torch.tensor([0.0, 1.0]).double()))
    with pytest.raises(ValueError, match="2 games of 3, 4 players"):
        bottleneck([GAME, tabled(random_table(3, 0))])
    with pytest.raises(ValueError, match="0 games of no players"):
        bottleneck([])
    with pytest.raises(ValueError, match="pairs for 3 inputs, but 2 games"):
        bottleneck([GAME, GAME], pairs=torch.zeros(3, 1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"shape \(2,\)|shape"):
        order_table(GAME, pairs=torch.tensor([[0, 1, 2]]))


# Networks


@pytest.mark.oracle
def test_the_mean_over_orders_is_the_shapley_index_of_shapiq():
    shapiq = pytest.importorskip("shapiq")
    table = random_table(7, 5)
    game = tabled(table)

    def value(masks):
        return game(torch.tensor(masks)).numpy() - float(table[0])

    index = shapiq.ExactComputer(value, n_players=7)("SII", order=2)
    found = order_table(game)
    for (i, j), values in zip(found.pairs.tolist(), found.values, strict=True):
        assert float(values.mean()) == pytest.approx(index[(i, j)], abs=1e-9)


def test_a_network_on_a_table_and_on_images():
    from unmask import zoo

    for exhibit in (zoo.breast_cancer(), zoo.digits()):
        x = exhibit.inputs[0]
        score = exhibit.score(exhibit.model, exhibit.labels[0])
        game = masked(score, x, exhibit.players(0), exhibit.baseline(0))
        table = game.table().double()
        found = order_table(game, pairs=torch.tensor([[0, 3], [4, 5]]))
        for row, (i, j) in enumerate(((0, 3), (4, 5))):
            for m in (0, 1, len(game.names) - 2):
                wanted = slow_interaction(table, i, j, m)
                assert float(found.values[row, m]) == pytest.approx(wanted, abs=1e-9)


def test_a_broken_game_says_where():
    game = tabled(torch.tensor([0.0, 1.0, math.nan, 0.0]).double())
    with pytest.raises(ValueError, match=r"coalition \{b\} is nan"):
        multi_order(game)


def test_half_precision_is_summed_in_double():
    given = supplies(dtype=torch.bfloat16)
    found = multi_order(given["game"])
    assert found.curves["mean"].dtype == torch.float64
    assert found.curves["mean"].isfinite().all()
