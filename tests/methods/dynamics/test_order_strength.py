"""Strength by order: counted by hand, under every unit, and of real networks."""

import math
import os

import pytest
import torch

from unmask import Game, Interactions, masked
from unmask.interactions import and_interaction, and_or_games
from unmask.methods.dynamics import largest_strength, order_strength, output_scale

NAMES = ("a", "b", "c")


def logic(*terms, empty=0.0, names=NAMES):
    """Terms written as (players, whether an OR, effect)."""
    members = [[name in players for name in names] for players, _, _ in terms]
    return Interactions(
        torch.tensor(members).view(-1, len(names)).bool(),
        torch.tensor([is_or for _, is_or, _ in terms]).bool(),
        torch.tensor([effect for _, _, effect in terms]).double(),
        empty,
        names,
    )


ONE = logic(("a", False, 2.0), ("ab", False, -4.0), ("abc", True, 1.0), ("abc", False, 0.1))
TWO = logic(("b", False, 1.0), ("bc", True, 3.0), ("ac", False, 1.0))


def slow(terms, tau):
    """Sums per order, averaged over inputs, by plain loops."""
    n = len(terms[0].names)
    up, down = [0.0] * n, [0.0] * n
    for one in terms:
        top = max(abs(effect) for effect in one.effects.tolist())
        for members, effect in zip(one.members.tolist(), one.effects.tolist(), strict=True):
            if abs(effect) >= tau * top:
                up[sum(members) - 1] += max(effect, 0.0) / len(terms)
                down[sum(members) - 1] += min(effect, 0.0) / len(terms)
    return up, down


def test_by_hand():
    found = order_strength([ONE, TWO], unit=1.0)
    assert found.curves["order"].tolist() == [1, 2, 3]
    # The term of 0.1 is below a twentieth of 4 and does not count.
    assert found.curves["positive"].tolist() == pytest.approx([1.5, 2.0, 0.5])
    assert found.curves["negative"].tolist() == pytest.approx([0.0, -2.0, 0.0])
    assert found.curves["share"].tolist() == pytest.approx([1.5 / 6, 4 / 6, 0.5 / 6])
    assert found.numbers["strength"] == pytest.approx(6)
    assert found.numbers["mean_order"] == pytest.approx((1.5 + 8 + 1.5) / 6)
    # Of the inputs: (2 + 8 + 3) / 7 and (1 + 6 + 2) / 5.
    assert found.numbers["mean_order_by_input"] == pytest.approx((13 / 7 + 9 / 5) / 2)
    # Of three players the orders 2 and 3 are above 1.5.
    assert found.numbers["high_share"] == pytest.approx(4.5 / 6)
    # All effects act on the whole input: 2 - 4 + 1 + 0.1 and 5.
    assert found.numbers["output"] == pytest.approx((0.9 + 5) / 2)
    assert found.numbers["inputs"] == 2
    # The standard error of the mean of two numbers is half their distance.
    assert found.curves["positive_error"].tolist() == pytest.approx([0.5, 2.0, 0.5])
    assert found.curves["negative_error"].tolist() == pytest.approx([0.0, 2.0, 0.0])


def test_without_a_threshold_all_terms_count():
    found = order_strength([ONE, TWO], tau=0.0, unit=1.0)
    assert found.curves["positive"].tolist() == pytest.approx([1.5, 2.0, 0.55])


def test_units():
    plain = order_strength([ONE, TWO], unit=1.0)
    for unit, expected in ((output_scale, 2.95), (largest_strength, 2.0), (5.0, 5.0)):
        found = order_strength([ONE, TWO], unit=unit)
        assert found.numbers["unit"] == pytest.approx(expected)
        for name in ("positive", "negative", "positive_error", "positive_low", "negative_high"):
            assert torch.allclose(found.curves[name] * expected, plain.curves[name]), name
        for name in ("share", "share_low"):
            assert torch.allclose(found.curves[name], plain.curves[name]), name
        for name in ("mean_order", "strength", "output", "mean_order_high"):
            assert found.numbers[name] == pytest.approx(plain.numbers[name]), name
    tallest = order_strength([ONE, TWO], unit=largest_strength).curves
    assert max(tallest["positive"].max(), -tallest["negative"].min()) == 1


def random_terms(inputs, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = tuple("abcdefgh"[:n])
    tables = torch.randn(inputs, 2**n, generator=generator).double()
    return [and_interaction(Game(lambda masks: masks.sum(1), names, lambda t=t: t)) for t in tables]


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_slow_twin(tau):
    terms = random_terms(5)
    up, down = slow(terms, tau)
    found = order_strength(terms, tau=tau, unit=1.0)
    assert found.curves["positive"].tolist() == pytest.approx(up)
    assert found.curves["negative"].tolist() == pytest.approx(down)


def test_intervals_shrink_with_the_root_of_the_inputs():
    widths = []
    for inputs in (20, 320):
        found = order_strength(random_terms(inputs), unit=1.0).curves
        assert (found["positive_low"] < found["positive"]).all()
        assert (found["positive"] < found["positive_high"]).all()
        # A normal interval of 95 % is 3.92 standard errors wide; 1000 draws, and skewed values.
        width = (found["positive_high"] - found["positive_low"]) / found["positive_error"]
        assert ((width > 3.0) & (width < 4.6)).all()
        widths.append(found["share_high"] - found["share_low"])
    # Sixteen times the inputs, a quarter of the width; each width is known to a tenth or so.
    assert ((widths[0] / widths[1] > 2.2) & (widths[0] / widths[1] < 7)).all()


def test_no_terms_have_no_order():
    nothing = logic()
    found = order_strength([nothing, nothing])
    assert found.curves["positive"].tolist() == [0, 0, 0]
    assert found.curves["share"].isnan().all()
    assert math.isnan(found.numbers["mean_order"])
    assert found.numbers["unit"] == 1
    mixed = order_strength([nothing, ONE], unit=1.0)
    assert mixed.numbers["mean_order_by_input"] == pytest.approx(13 / 7)


def test_one_input_has_no_errors():
    found = order_strength([ONE], unit=1.0)
    assert found.curves["positive"].tolist() == pytest.approx([2, 0, 1])
    for name in ("positive_error", "positive_low", "share_high"):
        assert found.curves[name].isnan().all(), name


def test_one_player():
    alone = logic(("a", False, -2.0), names=("a",))
    found = order_strength([alone, alone])
    assert found.curves["negative"].tolist() == [-1]
    assert found.curves["share"].tolist() == [1]
    assert found.numbers["high_share"] == 1


def test_chance_comes_from_the_generator():
    terms = random_terms(6)
    one, two = (
        order_strength(terms, generator=torch.Generator().manual_seed(s)).curves["share_low"]
        for s in (1, 2)
    )
    assert not torch.equal(one, two)
    assert torch.equal(order_strength(terms).curves["share_low"],
                       order_strength(terms).curves["share_low"])  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        ([], {}, r"no explanations. Give the terms"),
        ([ONE, logic(("a", False, 1.0), names=("a", "b"))], {}, r"these have 2, 3. Explain"),
        ([ONE], {"tau": -0.1}, r"tau is a share .* got -0.1. Give"),
        ([ONE], {"unit": 0.0}, r"positive unit, but it is 0.0. Give"),
        ([ONE], {"unit": -1.0}, r"it is -1.0"),
        ([ONE], {"unit": math.nan}, r"it is nan"),
        ([logic(("a", False, 1.0), ("b", False, -1.0))], {}, r"it is 0.0. Give a number"),
    ],
)
def test_what_makes_no_sense_is_refused(terms, options, words):
    with pytest.raises(ValueError, match=words):
        order_strength(terms, **options)


def test_a_real_network_of_a_table():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    games = [
        masked(exhibit.score(exhibit.model, exhibit.labels[i]), exhibit.inputs[i],
               exhibit.players(i), exhibit.baseline(i))
        for i in range(4)
    ]  # fmt: skip
    terms = and_or_games(games, precision=1e-2)
    found = order_strength(terms, tau=0.0, unit=1.0)
    # All effects of all orders make v(N) - v(empty), of every game.
    total = found.curves["positive"].sum() + found.curves["negative"].sum()
    rises = [float(game.table()[-1] - game.table()[0]) for game in games]
    assert float(total) == pytest.approx(sum(rises) / 4, rel=1e-3)
    assert found.numbers["output"] == pytest.approx(sum(map(abs, rises)) / 4, rel=1e-3)


@pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")
def test_a_real_network_of_images():
    from unmask.zoo import mnist

    exhibit = mnist()
    games = [
        masked(exhibit.score(exhibit.model, exhibit.labels[i]), exhibit.inputs[i],
               exhibit.players(i), exhibit.baseline(i))
        for i in range(2)
    ]  # fmt: skip
    terms = and_or_games(games, precision=0.1)
    found = order_strength(terms, unit=1.0)
    up, down = slow(terms, 0.05)
    assert found.curves["positive"].tolist() == pytest.approx(up)
    assert found.curves["negative"].tolist() == pytest.approx(down)
