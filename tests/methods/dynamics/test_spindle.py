"""The spindle: both laws by simulation, by enumeration, and on untrained networks."""

import math
import os
from itertools import combinations

import pytest
import torch

from unmask import Game, Interactions, log_odds, masked, patches
from unmask.interactions import and_interaction, and_or_games
from unmask.interactions.terms.orders import order_sums
from unmask.methods.dynamics import random_effects_law, random_outputs_law, spindle


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def of_tables(tables):
    names = tuple("abcdefghij"[: tables.shape[1].bit_length() - 1])
    return [and_interaction(Game(lambda masks: masks.sum(1), names, lambda t=t: t)) for t in tables]


def of_effects(effects):
    """One explanation per row, whose AND terms are all coalitions but the empty one."""
    n = effects.shape[1].bit_length() - 1
    members = torch.tensor([[place >> i & 1 == 1 for i in range(n)] for place in range(1, 2**n)])
    ands = torch.zeros(len(members)).bool()
    names = tuple("abcdefghij"[:n])
    return [Interactions(members, ands, row[1:].double(), 0.0, names) for row in effects]


def test_independent_effects_add_up_to_the_theorem():
    n, draws, s = 10, 2000, 0.7
    effects = s * torch.randn(draws, 1, 2**n, generator=seeded(3)).double()
    effects[..., 0] = 0
    positive, negative = order_sums(effects)
    for k in range(1, n + 1):
        count = math.comb(n, k)
        expected = count * s / math.sqrt(2 * math.pi)
        # The positive part of a normal variable has a variance of s^2 (1/2 - 1/(2 pi)).
        error = s * math.sqrt(count * (0.5 - 0.5 / math.pi) / draws)
        for found in (positive[:, k - 1].mean(), -negative[:, k - 1].mean()):
            assert abs(found - expected) < 3.5 * error
            assert abs(found / expected - 1) < 0.05 + (k == n) * 0.07  # one term has 3 % at sd 1


def test_the_laws_are_counts_of_coalitions():
    for n in (1, 2, 5):
        sets = [len(some) for k in range(1, n + 1) for some in combinations(range(n), k)]
        effects = [sets.count(k) / len(sets) for k in range(1, n + 1)]
        assert random_effects_law(n).tolist() == pytest.approx(effects)
        weights = [sum(math.sqrt(2**size) for size in sets if size == k) for k in range(1, n + 1)]
        outputs = [weight / sum(weights) for weight in weights]
        assert random_outputs_law(n).tolist() == pytest.approx(outputs)
    assert int(random_effects_law(10).argmax()) + 1 == 5
    assert int(random_outputs_law(10).argmax()) + 1 == 6


def test_independent_outputs_make_effects_that_grow_with_their_order():
    # Var I(S) = 2^|S|: the reason of the second law, from the definition by plain sums.
    v = torch.randn(4000, 2**4, generator=seeded(0)).double()
    for place in (1, 3, 7, 15):
        inside = [p for p in range(16) if p & ~place == 0]
        effect = sum((-1) ** (bin(place).count("1") - bin(p).count("1")) * v[:, p] for p in inside)
        # The relative error of a variance of 4000 draws is 2.2 %.
        assert float(effect.var()) == pytest.approx(len(inside), rel=0.09)


def test_each_law_is_recognised():
    effects = torch.randn(60, 2**8, generator=seeded(0))
    found = spindle(of_effects(effects))
    assert found.numbers["effects_fit"] > 0.99 > 0.9 > found.numbers["outputs_fit"]
    assert found.numbers["effects_distance"] < 0.02 < found.numbers["outputs_distance"]
    assert found.numbers["widest"] == 4
    found = spindle(of_tables(effects.double()))
    assert found.numbers["outputs_fit"] > 0.99 > 0.9 > found.numbers["effects_fit"]
    assert found.numbers["outputs_distance"] < 0.02 < found.numbers["effects_distance"]
    assert found.numbers["widest"] == 5
    for name in ("effects_distance", "outputs_fit", "mean_order"):
        low, high = found.numbers[f"{name}_low"], found.numbers[f"{name}_high"]
        assert low < found.numbers[name] < high


def test_by_hand():
    # Shares of 0.5, 0.25 and 0.25, against 3, 3 and 1 of seven.
    effects = torch.zeros(2, 8)
    effects[:, 1], effects[:, 3], effects[:, 7] = 2.0, -1.0, 1.0
    found = spindle(of_effects(effects))
    assert found.curves["share"].tolist() == pytest.approx([0.5, 0.25, 0.25])
    law = [3 / 7, 3 / 7, 1 / 7]
    assert found.curves["random_effects"].tolist() == pytest.approx(law)
    apart = [0.5 - law[0], 0.25 - law[1], 0.25 - law[2]]
    assert found.numbers["effects_distance"] == pytest.approx(sum(map(abs, apart)) / 2)
    spread = (1 / 6) ** 2 + 2 * (1 / 12) ** 2
    r2 = 1 - sum(one**2 for one in apart) / spread
    assert found.numbers["effects_fit"] == pytest.approx(r2)
    assert found.numbers["mean_order"] == pytest.approx(1.75)


def test_edges():
    one = spindle(of_effects(torch.tensor([[0.0, 2.0], [0.0, -1.0]])))
    assert one.curves["share"].tolist() == [1]
    assert one.numbers["effects_fit"] == one.numbers["outputs_fit"] == 1
    nothing = spindle(of_effects(torch.zeros(2, 8)))
    for name in ("widest", "mean_order", "effects_fit", "outputs_distance"):
        assert math.isnan(nothing.numbers[name]), name
    alone = spindle(of_effects(torch.randn(1, 8, generator=seeded(0))))
    assert math.isfinite(alone.numbers["effects_fit"])
    assert math.isnan(alone.numbers["effects_fit_low"])
    with pytest.raises(ValueError, match=r"needs players, but got 0. Give one"):
        random_effects_law(0)
    with pytest.raises(ValueError, match=r"no explanations. Give"):
        spindle([])


@pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")
def test_an_untrained_network_has_the_wider_orders():
    from unmask.zoo import mnist
    from unmask.zoo.lenet import LeNet

    exhibit, players = mnist(), patches((1, 28, 28), (4, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = LeNet().eval()
    centres = []
    for model in (untrained, exhibit.model):
        games = [
            masked(log_odds(model, exhibit.labels[i]), exhibit.inputs[i], players,
                   exhibit.baseline(i))
            for i in range(20)
        ]  # fmt: skip
        found = spindle(and_or_games(games, precision=1e-2))
        assert float(found.curves["share"].sum()) == pytest.approx(1)
        centres.append(found)
    # Published: a spindle before training. Widest in the middle, and hardly anything at the end.
    assert centres[0].numbers["widest"] in (2, 3, 4, 5)
    assert centres[0].curves["share"][-1] < 0.02
