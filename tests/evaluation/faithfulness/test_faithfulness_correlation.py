import itertools
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from quantus_alone import quantus
from strategies import relu_network
from unmask import Game, Players, features, log_odds, logit, predicted
from unmask.evaluation import (
    faithfulness_correlation,
    faithfulness_estimate,
    on_trial,
    sensitivity_n,
    surrogate_r2,
)
from unmask.methods.saliency import input_x_gradient
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.zoo import breast_cancer, digits

WEIGHTS = torch.tensor([4.0, 3.0, 2.0, 1.0])
ADD = Game(lambda own: own.double() @ WEIGHTS.double(), tuple("abcd"))
PRODUCT = Game(lambda own: 6.0 * own.all(1).double(), ("a", "b"))
CORRELATIONS = (faithfulness_correlation, faithfulness_estimate, sensitivity_n)
ALL = (*CORRELATIONS, surrogate_r2)
with_data = pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")


def said(*rows):
    return Attribution(torch.tensor(rows, dtype=torch.float64))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trial_of(players=6, inputs=3, seed=0):
    score = logit(relu_network([players, 8, 3], seed, dtype=torch.float64), 1)
    x = torch.randn(inputs, players, generator=seeded(seed), dtype=torch.float64)
    baseline = torch.full((players,), 0.3, dtype=torch.float64)
    return score, x, baseline, on_trial(score, x, features(players), baseline)


def slow_pearson(one, other):
    a, b = np.array(one), np.array(other)
    return float(np.corrcoef(a, b)[0, 1])


def slow_pairs(score, row, baseline, values, sets):
    """What is said of each set, and what the score loses without it."""
    told, lost = [], []
    for removed in sets:
        point = row.clone()
        for i in removed:
            point[i] = baseline[i]
        told.append(sum(float(values[i]) for i in removed))
        with torch.no_grad():
            lost.append(float(score(row[None]) - score(point[None])))
    return told, lost


@pytest.mark.parametrize("size", [1, 2, 3])
def test_of_an_additive_score_the_truth_is_one_at_every_size(size):
    assert faithfulness_correlation(ADD, said(WEIGHTS.tolist()), size=size).mean == pytest.approx(1)
    turned = faithfulness_correlation(ADD, said([-4.0, -3.0, -2.0, -1.0]), size=size)
    assert turned.mean == pytest.approx(-1)


def test_reversed_attributions_are_minus_one():
    assert faithfulness_estimate(ADD, said(WEIGHTS.tolist())).mean == pytest.approx(1)
    assert faithfulness_estimate(ADD, said([1.0, 2.0, 3.0, 4.0])).mean == pytest.approx(-1)


def test_sizes_go_up_to_four_fifths():
    found = sensitivity_n(ADD, said(WEIGHTS.tolist()))
    assert found.at.tolist() == [1, 2, 3]
    assert found.curve.tolist() == [pytest.approx([1, 1, 1])]
    many = Game(lambda own: own.double().sum(1) + own[:, 0], tuple(map(str, range(100))))
    at = sensitivity_n(many, Attribution(torch.arange(100.0)[None]), samples=2).at
    assert at.tolist() == [round(80 ** (k / 9)) for k in range(10)]


def test_removing_either_factor_of_a_product_says_the_same():
    """PROD: both drops are 6, so that size 1 has no meaning."""
    assert math.isnan(sensitivity_n(PRODUCT, said([3.0, 4.0])).mean)
    assert math.isnan(faithfulness_estimate(PRODUCT, said([3.0, 4.0])).mean)


def test_shapley_values_explain_a_third_of_a_product():
    """Coalitions are worth 0, 0, 0, 6, and said to be worth 0, 3, 3, 6: 1 - 18 / 27."""
    assert surrogate_r2(PRODUCT, said([3.0, 3.0])).mean == pytest.approx(1 / 3, abs=1e-12)
    assert surrogate_r2(ADD, said(WEIGHTS.tolist())).mean == pytest.approx(1, abs=1e-12)


def test_all_sets_of_a_size_agree_with_loops():
    score, x, baseline, trial = trial_of()
    values = torch.randn(3, 6, generator=seeded(5), dtype=torch.float64)
    curve = sensitivity_n(trial, Attribution(values), sizes=(1, 2, 4)).curve
    alone = faithfulness_estimate(trial, Attribution(values)).values
    for i in range(3):
        for column, size in enumerate((1, 2, 4)):
            sets = list(itertools.combinations(range(6), size))
            pairs = slow_pairs(score, x[i], baseline, values[i], sets)
            assert float(curve[i, column]) == pytest.approx(slow_pearson(*pairs), abs=1e-9)
        assert float(alone[i]) == pytest.approx(float(curve[i, 0]), abs=1e-12)


def test_the_surrogate_agrees_with_loops():
    score, x, baseline, trial = trial_of()
    values = torch.randn(3, 6, generator=seeded(6), dtype=torch.float64)
    found = surrogate_r2(trial, Attribution(values)).values
    for i in range(3):
        worth, told = [], []
        with torch.no_grad():
            nothing = float(score(baseline[None]))
            for own in itertools.product((False, True), repeat=6):
                point = torch.where(torch.tensor(own), x[i], baseline)
                worth.append(float(score(point[None])))
                told.append(
                    nothing + sum(float(v) for v, o in zip(values[i], own, strict=True) if o)
                )
        mean = sum(worth) / 64
        error = sum((w - t) ** 2 for w, t in zip(worth, told, strict=True))
        assert float(found[i]) == pytest.approx(
            1 - error / sum((w - mean) ** 2 for w in worth), abs=1e-9
        )


def recorded(trial):
    """The same trial, and the masks that it is asked under."""
    masks = []

    def ask(made, count):
        masks.append(made(torch.zeros(count, dtype=torch.long), torch.arange(count)))
        return trial.ask(made, count)

    return replace(trial, ask=ask), masks


def test_sets_have_their_size_and_differ():
    _, _, _, trial = trial_of(players=12, inputs=1)
    watched, masks = recorded(trial)
    found = faithfulness_correlation(
        watched, Attribution(torch.arange(12.0)[None]), size=5, samples=300
    )
    (kept,) = masks
    assert kept.shape == (300, 12)
    assert ((~kept).sum(1) == 5).all()
    assert len(kept.unique(dim=0)) > 200  # of 792
    # Each player is removed with chance 5 / 12; four standard errors of 300 draws are 0.11.
    assert ((~kept).double().mean(0) - 5 / 12).abs().max() < 0.12
    assert found.evaluations == 300


def test_few_sets_are_all_taken_once():
    _, _, _, trial = trial_of(inputs=2)
    values = Attribution(torch.randn(2, 6, generator=seeded(1)))
    once = faithfulness_correlation(trial, values, size=2, samples=15)
    assert once.evaluations == 30
    other = faithfulness_correlation(trial, values, size=2, samples=1000, generator=seeded(9))
    assert torch.equal(once.values, other.values)
    sampled = faithfulness_correlation(trial, values, size=2, samples=14)
    assert not torch.equal(once.values, sampled.values)


def test_a_fifth_of_the_players_is_removed():
    _, _, _, trial = trial_of(players=11, inputs=1)
    watched, masks = recorded(trial)
    faithfulness_correlation(watched, Attribution(torch.arange(11.0)[None]))
    assert ((~masks[0]).sum(1) == 2).all()


def test_random_coalitions_are_even():
    _, _, _, trial = trial_of(players=12, inputs=1)
    watched, masks = recorded(trial)
    surrogate_r2(watched, Attribution(torch.arange(12.0)[None]), samples=1000)
    # Four standard errors of 1000 draws.
    assert (masks[0].double().mean(0) - 0.5).abs().max() < 0.064


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_scale_and_shift_of_the_score_change_no_correlation(metric):
    _, _, _, trial = trial_of()
    values = torch.randn(3, 6, generator=seeded(2), dtype=torch.float64)
    other = replace(trial, ask=lambda masks, count: 100 + 7 * trial.ask(masks, count))
    one, two = metric(trial, Attribution(values)), metric(other, Attribution(0.1 * values))
    assert torch.allclose(one.values, two.values, atol=1e-9)
    assert one.higher_is_better


@pytest.mark.parametrize("metric", ALL)
def test_a_constant_score_has_no_rating(metric):
    flat = Game(lambda own: torch.full((len(own),), 0.1), tuple("abcd"))
    assert math.isnan(metric(flat, said([4.0, 3.0, 2.0, 1.0])).mean)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_an_explanation_that_ranks_nothing_has_no_rating(metric):
    """A third is no number of a computer: sums of it differ in their last digits."""
    assert math.isnan(metric(ADD, said([1 / 3] * 4)).mean)


def test_equal_effects_are_equal_but_for_rounding():
    """Three parts of a tenth, of which two sums have another last digit."""
    scores = torch.tensor([0.1 + 0.2, 0.3, 0.3], dtype=torch.float64)
    game = Game(lambda own: scores[own.long().argmin(1)], tuple("abc"))
    assert len(game(~torch.eye(3).bool()).unique()) == 2
    assert math.isnan(faithfulness_estimate(game, said([1.0, 2.0, 3.0])).mean)


def test_players_of_several_positions_are_summed():
    _, x, baseline, _ = trial_of(players=6)
    score = logit(linear_network(torch.arange(1.0, 7.0, dtype=torch.float64)), 0)
    pairs = Players(torch.tensor([0, 0, 1, 1, 2, 2]), ("a", "b", "c"))
    trial = on_trial(score, x, pairs, baseline)
    truth = Attribution(torch.arange(1.0, 7.0, dtype=torch.float64) * (x - baseline))
    assert faithfulness_estimate(trial, truth).values.tolist() == pytest.approx([1, 1, 1])
    assert surrogate_r2(trial, truth).values.tolist() == pytest.approx([1, 1, 1])


def test_two_players_are_enough():
    game = Game(lambda own: own.double() @ torch.tensor([2.0, 1.0]).double(), ("a", "b"))
    for metric in ALL:
        assert metric(game, said([2.0, 1.0])).mean == pytest.approx(1)


@pytest.mark.parametrize("size", [0, 4, -1])
def test_sizes_that_do_not_exist_are_refused(size):
    for call in (
        lambda: faithfulness_correlation(ADD, said(WEIGHTS.tolist()), size=size),
        lambda: sensitivity_n(ADD, said(WEIGHTS.tolist()), sizes=(1, size)),
    ):
        with pytest.raises(ValueError, match="Give a size from 1 to 3"):
            call()


def test_broken_calls_are_refused():
    with pytest.raises(ValueError, match="Give one at least"):
        sensitivity_n(ADD, said(WEIGHTS.tolist()), sizes=())
    for metric in (faithfulness_correlation, sensitivity_n, surrogate_r2):
        with pytest.raises(ValueError, match="1 sets tell nothing"):
            metric(ADD, said(WEIGHTS.tolist()), samples=1)
    for metric in ALL:
        with pytest.raises(ValueError, match="must be finite"):
            metric(ADD, said([math.nan, 1.0, 2.0, 3.0]))
        with pytest.raises(ValueError, match="Give one row"):
            metric(ADD, said([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("exhibit", [breast_cancer, digits])
def test_on_networks_the_truth_of_single_removals_is_one(exhibit):
    """What the estimate asks is what occlusion answers; the sum over sets of two is another."""
    shown = exhibit()
    x = torch.stack(shown.inputs[:6])
    score = log_odds(shown.model, predicted(shown.model, x))
    trial = on_trial(score, x, shown.players(0), shown.baseline(0))
    n = len(trial.names)
    alone = trial.under(torch.ones(1, n).bool()) - trial.under(~torch.eye(n).bool())
    assert faithfulness_estimate(trial, Attribution(alone)).values.tolist() == pytest.approx(
        [1.0] * 6, abs=1e-5
    )
    for metric in ALL:
        by_gradient = metric(trial, input_x_gradient(score, x)).values
        assert by_gradient.isfinite().all()
        assert (by_gradient <= 1 + 1e-9).all()
    # What removing one player alone does says much of removing some, though they interact.
    assert sensitivity_n(trial, Attribution(alone)).mean > 0.5


def lenet():
    from unmask.zoo import mnist

    shown = mnist()
    x = torch.stack(shown.inputs[:64])
    target = predicted(shown.model, x)
    score = logit(shown.model, target)
    trial = on_trial(score, x, _pixels(), torch.zeros(1, 28, 28))
    return shown.model, x, target, trial, input_x_gradient(score, x)


def _pixels():
    return Players(torch.arange(784).view(1, 28, 28), tuple(map(str, range(784))))


def batches(x, target, values):
    return {
        "x_batch": x.numpy(),
        "y_batch": target.numpy(),
        "a_batch": values.numpy(),
        "device": "cpu",
        "batch_size": 64,
        "softmax": False,
    }


@with_data
@pytest.mark.oracle
@pytest.mark.slow
def test_quantus_agrees_on_the_same_sets(monkeypatch):
    """Each input has sets of its own there; here all share them, so it is handed ours."""
    package = quantus()
    model, x, target, trial, told = lenet()
    watched, masks = recorded(trial)
    ours = faithfulness_correlation(watched, told, size=156)
    removed = iter([(~row).nonzero()[:, 0].numpy() for row in masks[0] for _ in range(64)])
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(removed))
    metric = package.FaithfulnessCorrelation(
        nr_runs=100, subset_size=156, normalise=False, disable_warnings=True, return_aggregate=False
    )
    theirs = metric(model=model, **batches(x, target, told.values))
    assert next(removed, None) is None
    assert np.abs(ours.values.numpy() - np.array(theirs)).max() < 1e-5


@with_data
@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The settings for perturbing")  # paper is removed by paper
def test_quantus_agrees_on_single_removals():
    package = quantus()
    model, x, target, _, told = lenet()
    some = Attribution(told.values[:8])
    score = logit(model, target[:8])
    ours = faithfulness_estimate(on_trial(score, x[:8], _pixels(), torch.zeros(1, 28, 28)), some)
    metric = package.FaithfulnessEstimate(
        features_in_step=1, normalise=False, disable_warnings=True, return_aggregate=False
    )
    theirs = metric(model=model, **batches(x[:8], target[:8], some.values))
    assert np.abs(ours.values.numpy() - np.array(theirs)).max() < 1e-5
