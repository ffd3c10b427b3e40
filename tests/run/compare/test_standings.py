"""Ranks, tests and intervals against plain loops, scipy and tables made so that they are known."""

from itertools import pairwise

import pytest
import torch
from scipy import stats

from unmask.results import Rating
from unmask.run.compare.comparison import Metric, better_by
from unmask.run.compare.standings import ALL, against, fillings, holm, standings

UP = Metric("up", "exactness", True, "", tested=True)
DOWN = Metric("down", "exactness", False, "")
STILL = Metric("still", "consistency", True, "")
COST = Metric("cost", "cost", False, "")


def table(metric, rows):
    """Ratings of methods a, b, c, ... by one metric."""
    names = "abcdefgh"[: len(rows)]
    return {
        name: {metric.name: Rating(torch.tensor(row, dtype=torch.float64), metric.higher_is_better)}
        for name, row in zip(names, rows, strict=True)
    }


def merged(*tables):
    return {name: {k: v for one in tables for k, v in one[name].items()} for name in tables[0]}


def drawn(seed, methods, inputs):
    return torch.randn(methods, inputs, generator=torch.Generator().manual_seed(seed)).tolist()


def test_ranks_are_those_of_plain_loops():
    rows = {UP: drawn(1, 5, 9), DOWN: drawn(2, 5, 9), STILL: drawn(3, 5, 9), COST: drawn(4, 5, 9)}
    ratings = merged(*(table(metric, one) for metric, one in rows.items()))
    found = standings(ratings, [*rows], "abcde")
    expected = {}
    for metric, one in rows.items():
        means = [sum(row) / len(row) for row in one]
        better = (lambda p, q: p > q) if metric.higher_is_better else (lambda p, q: p < q)
        ranks = [1 + sum(better(other, own) for other in means) for own in means]
        expected.setdefault(metric.criterion, []).append(ranks)
    by_criterion = {
        name: [sum(column) / len(column) for column in zip(*ranks, strict=True)]
        for name, ranks in expected.items()
    }
    for criterion, ranks in by_criterion.items():
        assert found.found[criterion].tolist() == pytest.approx(ranks)
    both = zip(by_criterion["exactness"], by_criterion["consistency"], strict=True)
    assert found.found[ALL].tolist() == pytest.approx([(a + b) / 2 for a, b in both])


def test_who_is_best_on_every_input_is_first_without_doubt():
    base = torch.rand(20, generator=torch.Generator().manual_seed(0))
    ratings = table(UP, [(base + 2).tolist(), (base + 1).tolist(), base.tolist()])
    places = standings(ratings, [UP], "abc").places()
    for rank, name in enumerate("abc", 1):
        place = places[name]["exactness"]
        assert (place.rank, place.low, place.high) == (rank, rank, rank)


def test_who_changes_places_from_input_to_input_is_in_doubt():
    ratings = table(UP, [[1.0, 0.0] * 10, [0.0, 1.1] * 10, [-5.0] * 20])
    found = standings(ratings, [UP], "abc")
    assert found.places()["b"]["exactness"].low == 1
    assert found.places()["b"]["exactness"].high == 2
    assert found.beside("b", "ac") == ("a",)


def test_equal_means_share_their_places_and_a_method_without_rating_is_last():
    nan = float("nan")
    ratings = table(UP, [[1.0, 2.0], [2.0, 1.0], [nan, nan], [0.0, 0.0]])
    found = standings(ratings, [UP], "abcd").found["exactness"]
    assert found.tolist() == [1.5, 1.5, 4.0, 3.0]


def test_bounds_and_what_is_enough():
    wild = Metric("wild", "exactness", True, "", bounds=(-1.0, 1.0))
    ratings = table(wild, [[0.5, 0.5, 0.5], [1.0, 1.0, -900.0]])
    assert standings(ratings, [wild], "ab").found[ALL].tolist() == [1.0, 2.0]  # means 0.5, 1/3
    low = Metric("low", "exactness", False, "", enough=0.1)
    ratings = table(low, [[0.05, 0.05], [-0.8, 0.1], [0.2, 0.2]])
    assert standings(ratings, [low], "abc").found[ALL].tolist() == [1.5, 1.5, 3.0]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_ranks_do_not_depend_on_the_unit_of_the_score(unit):
    rows = torch.tensor(drawn(6, 5, 9), dtype=torch.float64)
    plain = standings(table(UP, rows.tolist()), [UP], "abcde")
    found = standings(table(UP, (unit * rows).tolist()), [UP], "abcde")
    assert found.found[ALL].tolist() == plain.found[ALL].tolist()
    assert sorted(plain.found[ALL].tolist()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    share = Metric("share", "exactness", True, "", bounds=(-1.0, 1.0))  # has no unit
    found = standings(table(share, [[1.0, 1.0], [1 - 1e-6, 1.0]]), [share], "ab")
    assert found.found[ALL].tolist() == [1.5, 1.5]


def test_a_metric_that_says_nothing_of_anyone_does_not_count():
    nan = float("nan")
    ratings = merged(table(UP, [[1.0], [2.0]]), table(DOWN, [[nan], [nan]]))
    assert standings(ratings, [UP, DOWN], "ab").found["exactness"].tolist() == [2.0, 1.0]


def test_one_input_has_ranks_but_no_intervals():
    place = standings(table(UP, [[1.0], [2.0]]), [UP], "ab").places()["b"]["exactness"]
    assert place.rank == 1
    assert place.low != place.low


def test_against_random_is_wilcoxon_after_holm():
    rows = drawn(5, 4, 15)
    rows[0] = [value + 1.5 for value in rows[0]]
    rows[1] = [value + 0.7 for value in rows[1]]
    found = against(table(UP, rows), [UP, DOWN], "abc", "d")
    raw = [stats.wilcoxon(row, rows[3], alternative="greater").pvalue for row in rows[:3]]
    order = sorted(range(3), key=lambda i: raw[i])
    worst, expected = 0.0, [0.0] * 3
    for k, i in enumerate(order):  # Holm: the smallest times three, the next times two, ...
        worst = max(worst, min(1.0, (3 - k) * raw[i]))
        expected[i] = worst
    assert [found[name]["up"].p for name in "abc"] == pytest.approx(expected)
    assert set(found["a"]) == {"up"}  # only where it is tested
    assert found["a"]["up"].low > 0
    differences = [own - other for own, other in zip(rows[0], rows[3], strict=True)]
    assert found["a"]["up"].difference == pytest.approx(sum(differences) / 15)


def test_where_less_is_better_less_is_better():
    low = Metric("low", "exactness", False, "", tested=True)
    base = torch.rand(12, generator=torch.Generator().manual_seed(0))
    found = against(table(low, [base.tolist(), (base + 1).tolist()]), [low], "a", "b")["a"]["low"]
    assert found.difference == pytest.approx(1.0)
    assert found.p == pytest.approx(2**-12)


def test_pairs_of_which_one_is_unknown_do_not_count():
    nan = float("nan")
    found = against(table(UP, [[1.0, nan, 3.0], [0.0, 0.0, nan]]), [UP], "a", "b")["a"]["up"]
    assert found.inputs == 1
    assert found.p != found.p
    assert better_by(torch.tensor([nan]), torch.tensor([1.0]), True)[0] != 0


def test_holm_against_its_definition():
    p = [0.04, 0.001, float("nan"), 0.03, 0.5]
    found = holm(p)
    assert found[2] != found[2]
    assert [found[i] for i in (1, 3, 0, 4)] == pytest.approx([0.004, 0.09, 0.09, 0.5])
    ordered = sorted(one for one in found if one == one)
    assert all(one <= other for one, other in pairwise(ordered))


@pytest.mark.parametrize(("sign", "correlation"), [(1, 1.0), (-1, -1.0)])
def test_an_order_that_holds_or_flips_under_another_filling(sign, correlation):
    again = Metric("up_refilled", "exactness", True, "")
    base = torch.arange(4.0)[:, None] + torch.zeros(10)
    ratings = merged(table(UP, base.tolist()), table(again, (sign * base).tolist()))
    found = fillings(ratings, [(UP, again)], "abcd", ("zero", "blur"))
    assert found is not None
    assert found.correlation == pytest.approx(correlation)
    assert (found.low, found.high) == pytest.approx((correlation, correlation))
    assert fillings(ratings, [(UP, again)], "ab", ("zero", "blur")) is None


def test_an_order_that_is_none_cannot_flip():
    again = Metric("up_refilled", "exactness", True, "")
    known = torch.arange(4.0)[:, None] + torch.zeros(10)
    for rows in (torch.zeros_like(known), known * torch.nan):
        ratings = merged(table(UP, rows.tolist()), table(again, rows.tolist()))
        assert fillings(ratings, [(UP, again)], "abcd", ("zero", "blur")) is None
    ratings = merged(table(UP, (0 * known).tolist()), table(again, known.tolist()))
    found = fillings(ratings, [(UP, again)], "abcd", ("zero", "blur"))
    assert found is not None
    assert found.correlation != found.correlation


def test_an_agreement_of_one_half_is_one_half():
    again = Metric("up_refilled", "exactness", True, "")
    one, other = (
        [[value] * 10 for value in values] for values in ((3.0, 2.0, 1.0), (3.0, 1.0, 2.0))
    )
    ratings = merged(table(UP, one), table(again, other))
    found = fillings(ratings, [(UP, again)], "abc", ("zero", "blur"))
    assert found is not None
    assert found.correlation == 0.5  # not 0.4999..., which a rule that asks for a half refuses
