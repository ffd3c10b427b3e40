import math

import pytest
import torch

from strategies import relu_network
from unmask import Game, Players, features, log_odds, logit, predicted
from unmask.evaluation import completeness_gap, non_sensitivity, on_trial
from unmask.methods.saliency import integrated_gradients, shapley_values
from unmask.planted import and_or_network, linear_network, terms_of
from unmask.results import Attribution
from unmask.zoo import breast_cancer, digits

ADD = Game(lambda own: own.double() @ torch.tensor([4.0, 3.0, 2.0, 1.0]).double(), tuple("abcd"))


def said(*rows):
    return Attribution(torch.tensor(rows, dtype=torch.float64))


@pytest.mark.parametrize(
    ("values", "gap", "share"),
    [([4.0, 3.0, 2.0, 1.0], 0, 0), ([4.0, 3.0, 2.0, 0.0], 1, 0.1), ([-10.0, 0.0, 0.0, 0.0], 20, 2)],
)
def test_what_is_left_of_a_sum(values, gap, share):
    assert completeness_gap(ADD, said(values), relative=False).mean == pytest.approx(gap, abs=1e-12)
    found = completeness_gap(ADD, said(values))
    assert found.mean == pytest.approx(share, abs=1e-12)
    assert not found.higher_is_better
    assert found.evaluations == 2


def test_where_nothing_changes_the_gap_is_told_in_millionths():
    flat = Game(lambda own: torch.ones(len(own)), tuple("abcd"))
    assert completeness_gap(flat, said([0.0] * 4)).mean == 0
    assert completeness_gap(flat, said([0.0, 0.0, 0.0, 2e-6])).mean == pytest.approx(2)


def test_the_gap_agrees_with_what_a_method_says_of_itself():
    score = logit(relu_network([5, 8, 3], 0, dtype=torch.float64), 2)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nothing = torch.zeros(5, dtype=torch.float64)
    told = integrated_gradients(score, x, baseline=nothing, steps=5)
    trial = on_trial(score, x, features(5), nothing)
    found = completeness_gap(trial, told, relative=False).values
    assert found.tolist() == pytest.approx(told.gap.abs().tolist(), abs=1e-9)


def test_what_no_player_owns_counts_on_neither_side():
    score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    three = Players(torch.tensor([0, 1, 2, -1]), ("a", "b", "c"))
    trial = on_trial(score, torch.ones(1, 4), three, torch.zeros(4))
    assert completeness_gap(trial, said([4.0, 3.0, 2.0, 77.0])).mean == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([4.0, 3.0, 0.0, 0.0], 0),
        ([4.0, 0.0, 1.0, 0.0], 0.5),
        ([0.0, 0.0, 0.0, 0.0], 0.5),
        ([0.0, 0.0, -1.0, 1.0], 1),
        ([1e9, 1.0, 0.0, 0.0], 0.25),  # beside the largest one is nothing
    ],
)
def test_who_is_said_to_matter(values, share):
    game = Game(
        lambda own: own.double() @ torch.tensor([4.0, 3.0, 0.0, 0.0]).double(), tuple("abcd")
    )
    found = non_sensitivity(game, said(values))
    assert found.mean == share
    assert not found.higher_is_better
    assert found.evaluations == 5


def test_agrees_with_loops():
    terms = terms_of("abcde", ands={("a", "b"): 2.0, ("c",): -1.0})
    network = and_or_network(terms)
    x = torch.tensor([[1.0, 1, 1, 1, 1], [1, 0, 1, 1, 0]], dtype=torch.float64)
    trial = on_trial(logit(network, 0), x, features(5), torch.zeros(5, dtype=torch.float64))
    values = torch.tensor([[1.0, 1, -1, 1e-9, 0], [0, 1.0, -1, 0, 0]], dtype=torch.float64)
    expected = []
    for row, told in zip(x, values, strict=True):
        wrong = 0
        for i in range(5):
            point = row.clone()
            point[i] = 0
            with torch.no_grad():
                matters = abs(float(network(row[None]) - network(point[None]))) > 1e-9
            wrong += matters != (abs(float(told[i])) > 1e-6)
        expected.append(wrong / 5)
    assert expected == [0, 0.2]
    assert non_sensitivity(trial, Attribution(values)).values.tolist() == pytest.approx(expected)


def test_a_change_within_rounding_is_none():
    """0.1 + 0.2 + 0.3 in another order has other last digits."""
    names = tuple("abc")
    one, other = torch.tensor([0.1 + (0.2 + 0.3), (0.1 + 0.2) + 0.3], dtype=torch.float64)
    game = Game(lambda own: torch.where(own[:, 0], one, other), names)
    assert float(game(torch.ones(1, 3).bool())) != float(game(torch.zeros(1, 3).bool()))
    assert non_sensitivity(game, said([0.0, 0.0, 0.0])).mean == 0


def test_of_two_that_can_stand_in_for_each_other_neither_matters():
    """The limit that the docstring tells of: Shapley values of an OR name both, and are wrong."""
    either = Game(lambda own: own[:, :2].any(1).double(), tuple("abc"))
    told = shapley_values(either)
    assert told.values.tolist() == [pytest.approx([0.5, 0.5, 0])]
    assert non_sensitivity(either, told).mean == pytest.approx(2 / 3)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, math.inf])
def test_tolerances_that_are_no_share_are_refused(tolerance):
    with pytest.raises(ValueError, match="Give at least 0 and less than 1"):
        non_sensitivity(ADD, said([1.0, 2.0, 3.0, 4.0]), tolerance=tolerance)


@pytest.mark.parametrize("metric", [completeness_gap, non_sensitivity])
def test_broken_attributions_are_refused(metric):
    with pytest.raises(ValueError, match="must be finite"):
        metric(ADD, said([math.inf, 1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="Give one row"):
        metric(ADD, said([1.0, 2.0]))


@pytest.mark.parametrize("exhibit", [breast_cancer, digits])
def test_on_networks(exhibit):
    shown = exhibit()
    x = torch.stack(shown.inputs[:5])
    score = log_odds(shown.model, predicted(shown.model, x))
    trial = on_trial(score, x, shown.players(0), shown.baseline(0))
    fine = integrated_gradients(score, x, baseline=shown.baseline(0), steps=200)
    coarse = integrated_gradients(score, x, baseline=shown.baseline(0), steps=1)
    gaps = [completeness_gap(trial, told).mean for told in (fine, coarse)]
    assert gaps[0] < 0.02
    assert gaps[0] < gaps[1]
    # Pixels that are paper change nothing; patches of a digit's margin are silent and idle.
    assert 0 <= non_sensitivity(trial, fine).mean <= 0.3
