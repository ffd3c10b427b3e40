import math
import os
from itertools import combinations

import pytest
import torch

from merging import slow_interaction
from strategies import tabled
from unmask import log_odds, masked, patches, predicted
from unmask.interactions import (
    bottleneck,
    expected_spectrum,
    multi_order,
    near_pairs,
)
from unmask.lattice import sizes


def random_table(n, seed):
    return torch.randn(2**n, generator=torch.Generator().manual_seed(seed)).double()


GAME = tabled(random_table(4, 0))


def test_the_spectrum_is_of_strengths_added_up_over_inputs():
    tables_ = [random_table(5, seed) * (1 + seed) for seed in range(4)]
    found = bottleneck([tabled(table) for table in tables_])
    pairs = list(combinations(range(5), 2))
    strengths = [
        sum(abs(slow_interaction(table, i, j, m)) for table in tables_ for i, j in pairs) / 40
        for m in range(4)
    ]
    spectrum = [strength * 4 / sum(strengths) for strength in strengths]
    assert found.curves["strength"].tolist() == pytest.approx(strengths)
    assert found.curves["spectrum"].tolist() == pytest.approx(spectrum)
    squares = [
        math.sqrt(
            sum(slow_interaction(table, i, j, m) ** 2 for table in tables_ for i, j in pairs) / 40
        )
        for m in range(4)
    ]
    debiased = [square * 4 / sum(squares) for square in squares]
    assert found.curves["debiased"].tolist() == pytest.approx(debiased)
    assert found.numbers["middle"] == pytest.approx((spectrum[1] + spectrum[2]) / 2)  # 1/3, 2/3
    assert found.numbers["inputs"] == 4
    assert found.numbers["evaluations"] == 4 * 32
    low, high = found.curves["spectrum_low"], found.curves["spectrum_high"]
    assert (low < found.curves["spectrum"]).all()
    assert (found.curves["spectrum"] < high).all()
    assert found.numbers["middle_low"] < found.numbers["middle"] < found.numbers["middle_high"]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Games drawn from one source, whose spectrum is known from very many of them."""

    def of(seed):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.rand(5, generator=generator).double() * torch.tensor([0, 0, 2.0, 1.0, 3.0])
        return tabled(torch.randn(32, generator=generator).double() * weight[sizes(5) - 1])

    truth = bottleneck([of(10**6 + seed) for seed in range(600)]).curves["spectrum"]
    held = []
    for start in range(40):
        curves = bottleneck([of(100 * start + k) for k in range(25)]).curves
        held.append((curves["spectrum_low"] <= truth) & (truth <= curves["spectrum_high"]))
    share = float(torch.stack(held).double().mean())
    # Of 25 inputs bootstrap intervals of 95 in 100 hold a few less; 160 answers, in part dependent.
    assert 0.86 < share < 0.99


def test_one_input_tells_nothing_of_others():
    found = bottleneck([GAME])
    assert found.curves["spectrum_low"].isnan().all()
    assert math.isnan(found.numbers["middle_low"])
    assert torch.equal(found.curves["spectrum"], multi_order(GAME).curves["spectrum"])


def test_inputs_may_have_pairs_of_their_own():
    games_ = [tabled(random_table(4, seed)) for seed in range(2)]
    pairs = torch.tensor([[[0, 1]], [[2, 3]]])
    found = bottleneck(games_, pairs=pairs).curves["strength"]
    for m in range(3):
        wanted = abs(slow_interaction(games_[0].table(), 0, 1, m))
        wanted += abs(slow_interaction(games_[1].table(), 2, 3, m))
        assert float(found[m]) == pytest.approx(wanted / 2)
    shared = bottleneck(games_, pairs=pairs[0]).curves["strength"]
    wanted = sum(abs(slow_interaction(game.table(), 0, 1, 1)) for game in games_)
    assert float(shared[1]) == pytest.approx(wanted / 2)


def test_close_cells_of_a_grid():
    every = near_pairs((5, 7), distance=2, count=10**4)
    cells = [(row, column) for row in range(5) for column in range(7)]
    wanted = [
        [a, b]
        for a, b in combinations(range(35), 2)
        if abs(cells[a][0] - cells[b][0]) <= 2 and abs(cells[a][1] - cells[b][1]) <= 2
    ]
    assert every.tolist() == wanted
    some = near_pairs((5, 7), distance=2, count=20)
    assert len(some.unique(dim=0)) == 20
    assert all(pair in wanted for pair in some.tolist())
    other = near_pairs((5, 7), count=20, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(some, other)
    for options in (
        {"grid": (1, 1)},
        {"grid": (3, 3), "distance": 0},
        {"grid": (3, 3), "count": 0},
    ):
        with pytest.raises(ValueError, match="No two cells"):
            near_pairs(**options)


def test_the_expected_spectrum():
    for n in (2, 5, 9):
        force = [(n - m - 1) / (n * (n - 1)) * math.comb(n - 2, m) ** -0.5 for m in range(n - 1)]
        wanted = [one * (n - 1) / sum(force) for one in force]
        assert expected_spectrum(n).tolist() == pytest.approx(wanted)
    assert float(expected_spectrum(20)[9]) < 0.05 < 10 < float(expected_spectrum(20)[0])
    with pytest.raises(ValueError, match="players is 1"):
        expected_spectrum(1)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
@pytest.mark.parametrize(
    ("name", "shape", "grid", "inputs", "samples"),
    [("mnist", (1, 28, 28), (7, 7), 10, 20), ("cifar10", (3, 32, 32), (8, 8), 3, 6)],
)
def test_networks_of_images_use_contexts_of_middle_size_least(name, shape, grid, inputs, samples):
    """The published finding, on inputs that are classified correctly."""
    from unmask import zoo

    exhibit = getattr(zoo, name)()
    players = patches(shape, grid)
    right = [
        i
        for i in range(40)
        if int(predicted(exhibit.model, exhibit.inputs[i][None])) == exhibit.labels[i]
    ]
    games_ = [
        masked(
            log_odds(exhibit.model, exhibit.labels[i]),
            exhibit.inputs[i],
            players,
            exhibit.baseline(i),
        )
        for i in right[:inputs]
    ]
    generator = torch.Generator().manual_seed(0)
    pairs = [near_pairs(grid, count=20, generator=generator) for _ in games_]
    found = bottleneck(games_, pairs=torch.stack(pairs), samples=samples)
    assert found.numbers["middle_high"] < 1
    assert float(found.curves["spectrum_low"][0]) > 1
