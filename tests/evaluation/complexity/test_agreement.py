import math
from itertools import combinations, permutations

import pytest
import torch
from scipy.stats import spearmanr

from unmask.evaluation import agreement
from unmask.results import Attribution


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(methods=3, inputs=20, positions=12):
    generator = seeded()
    return {
        f"m{i}": Attribution(torch.randn(inputs, positions, generator=generator).double())
        for i in range(methods)
    }


def test_the_slow_twin():
    given = drawn()
    found = agreement(given, top=0.25)
    assert found.numbers["chance"] == 0.25
    names = list(given)
    for i, one in enumerate(names):
        for j, other in enumerate(names):
            ranks, tops = [], []
            for a, b in zip(given[one].values, given[other].values, strict=True):
                ranks.append(spearmanr(a, b).statistic)
                first = [set(row.abs().argsort(descending=True)[:3].tolist()) for row in (a, b)]
                tops.append(len(first[0] & first[1]) / 3)
            if i < j:
                rank, top = sum(ranks) / len(ranks), sum(tops) / len(tops)
                assert found.numbers[f"rank {one} with {other}"] == pytest.approx(rank)
                assert found.numbers[f"top {one} with {other}"] == pytest.approx(top)


def test_intervals_hold_the_mean_and_shrink_with_the_inputs():
    widths = []
    for inputs in (10, 1000):
        numbers = agreement(drawn(2, inputs)).numbers
        low, mean, high = (numbers[f"rank m0 with m1{end}"] for end in ("_low", "", "_high"))
        assert low < mean < high
        widths.append(high - low)
    # Of ranks drawn at random the correlation of 12 positions has variance 1 / 11.
    expected = 2 * 1.96 * (1 / 11 / 1000) ** 0.5
    assert widths[1] == pytest.approx(expected, rel=0.15)  # 1000 draws of a quantile
    assert widths[0] > 5 * widths[1]


def test_orders_drawn_at_random_agree_by_chance():
    numbers = agreement(drawn(2, 2000), top=0.25).numbers
    assert numbers["top m0 with m1_low"] < numbers["chance"] < numbers["top m0 with m1_high"]
    assert numbers["rank m0 with m1_low"] < 0 < numbers["rank m0 with m1_high"]


def test_an_explanation_agrees_with_itself_and_opposes_its_negative():
    one = drawn(1)["m0"]
    given = {"one": one, "same": Attribution(3 * one.values), "minus": Attribution(-one.values)}
    found = agreement(given).numbers
    assert found["rank one with same"] == pytest.approx(1)
    assert found["rank one with minus"] == pytest.approx(-1)
    assert found["top one with minus"] == 1  # the sizes are the same
    assert agreement(given, absolute=True).numbers["rank one with minus"] == pytest.approx(1)


def test_the_order_of_the_methods_changes_no_number():
    given = drawn()
    first = agreement(given)
    pairs = {(*name.split()[1::2], name.split()[0]): v for name, v in first.numbers.items()}
    for order in permutations(given):
        other = agreement({name: given[name] for name in order}).numbers
        for one, two in combinations(order, 2):
            for kind in ("rank", "top"):
                known = pairs.get((one, two, kind), pairs.get((two, one, kind)))
                assert other[f"{kind} {one} with {two}"] == pytest.approx(known, abs=1e-12)


def test_an_input_that_ranks_nothing_does_not_count():
    given = drawn(2)
    given["m0"].values[3] = 7.0
    without = {k: Attribution(v.values[torch.arange(20) != 3]) for k, v in given.items()}
    found, expected = agreement(given).numbers, agreement(without).numbers
    for name in ("rank m0 with m1", "top m0 with m1"):
        assert found[name] == pytest.approx(expected[name])


def test_of_flat_explanations_nothing_is_known():
    flat = Attribution(torch.ones(4, 5))
    found = agreement({"flat": flat, "other": Attribution(torch.randn(4, 5, generator=seeded()))})
    assert math.isnan(found.numbers["rank flat with other"])
    assert math.isnan(found.numbers["top flat with other"])


def test_of_a_single_input_there_is_no_interval():
    found = agreement(drawn(2, 1)).numbers
    assert math.isfinite(found["rank m0 with m1"])
    assert math.isnan(found["rank m0 with m1_low"])


def test_what_cannot_be_compared_is_refused():
    given = drawn(2)
    with pytest.raises(ValueError, match="between methods, but got 1"):
        agreement({"m0": given["m0"]})
    with pytest.raises(ValueError, match=r"'m1': \(20, 3\)"):
        agreement({"m0": given["m0"], "m1": Attribution(torch.ones(20, 3))})
    with pytest.raises(ValueError, match="top is a share"):
        agreement(given, top=0.0)
    with pytest.raises(ValueError, match="attribution of m1 must be finite"):
        agreement({"m0": given["m0"], "m1": Attribution(given["m1"].values * torch.nan)})


def test_it_is_kept_and_drawn(tmp_path):
    from matplotlib import pyplot

    from unmask.plot import plot
    from unmask.store import load, save

    found = agreement(drawn(3))
    save(found, tmp_path / "agreement")
    assert load(tmp_path / "agreement").numbers == pytest.approx(found.numbers)
    plot(found).canvas.draw()
    pyplot.close("all")
