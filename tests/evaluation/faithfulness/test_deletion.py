import os

import pytest
import torch

from removals import (
    FLAT,
    GROUPED,
    REVERSED,
    SAID,
    grouped_case,
    in_order,
    slow_scores,
    slow_totals,
    sum_of_four,
)
from strategies import relu_network
from unmask import Score, features, logit, patches, predicted, probability, zoo
from unmask.evaluation import blurred, deletion, insertion, on_trial
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def test_areas_of_a_sum():
    assert deletion(sum_of_four(), SAID).values.tolist() == [0.375]
    assert insertion(sum_of_four(), SAID).values.tolist() == [0.625]
    assert deletion(sum_of_four(), REVERSED).values.tolist() == [0.625]
    assert insertion(sum_of_four(), REVERSED).values.tolist() == [0.375]


def test_which_way_they_point():
    assert not deletion(sum_of_four(), SAID).higher_is_better
    assert insertion(sum_of_four(), SAID).higher_is_better


def test_curves_run_between_the_ends():
    assert deletion(sum_of_four(), SAID).curve[0].tolist() == pytest.approx([1, 0.6, 0.3, 0.1, 0])
    assert insertion(sum_of_four(), SAID).curve[0].tolist() == pytest.approx([0, 0.4, 0.7, 0.9, 1])


def test_without_division_it_is_the_area_of_the_score():
    assert deletion(sum_of_four(2.0), SAID, normalized=False).values.tolist() == [5.75]
    assert insertion(sum_of_four(2.0), SAID, normalized=False).values.tolist() == [8.25]


def test_what_the_score_is_without_all_players_does_not_count():
    assert deletion(sum_of_four(2.0), SAID).values.tolist() == pytest.approx([0.375])


def test_steps_of_several_players_lie_where_they_are():
    rating = deletion(sum_of_four(), SAID, steps=3)  # at 0, 1/4, 2/4 and 4/4
    assert rating.at.tolist() == [0.0, 0.25, 0.5, 1.0]
    area = 0.25 * (1 + 0.6) / 2 + 0.25 * (0.6 + 0.3) / 2 + 0.5 * 0.3 / 2
    assert rating.values.tolist() == pytest.approx([area])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("normalized", [False, True])
def test_areas_follow_the_definition(seed, normalized):
    score, x, said, baseline = grouped_case(seed)
    trial = on_trial(score, x, GROUPED, baseline, batch_size=1 + seed)
    for metric in (deletion, insertion):
        rating = metric(trial, Attribution(said), normalized=normalized)
        for b in range(len(x)):
            order = in_order(slow_totals(said[b], GROUPED))
            if metric is deletion:
                gone = [order[:k] for k in range(5)]
            else:
                gone = [order[k:] for k in range(5)]
            curve = slow_scores(score, x, b, GROUPED, baseline, gone)
            whole, nothing = slow_scores(score, x, b, GROUPED, baseline, [[], order])
            if normalized:
                curve = [(value - nothing) / (whole - nothing) for value in curve]
            area = sum((curve[k] + curve[k + 1]) / 2 / 4 for k in range(4))
            assert float(rating.values[b]) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_insertion_is_deletion_in_the_other_order_read_backwards(seed):
    score, x, said, baseline = grouped_case(seed)
    trial = on_trial(score, x, GROUPED, baseline)
    one = insertion(trial, Attribution(said))
    other = deletion(trial, Attribution(-said))
    assert torch.allclose(one.curve, other.curve.flip(1), atol=1e-12)


def test_of_additive_models_both_make_one():
    generator = torch.Generator().manual_seed(0)
    x, said = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64)
    linear = Score(lambda x: x, lambda output, rows: output.sum(1) + 3)
    trial = on_trial(linear, x, features(9), torch.ones(9, dtype=torch.float64))
    both = deletion(trial, Attribution(said)).values + insertion(trial, Attribution(said)).values
    assert torch.allclose(both, torch.ones(6).double(), atol=1e-9)


def test_where_nothing_changes_there_is_no_rating():
    trial = on_trial(
        Score(lambda x: x, lambda output, rows: output[:, 0] * output[:, 1]),
        *(torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]), features(3), torch.zeros(3)),
    )
    said = Attribution(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]))
    for metric in (deletion, insertion):
        values = metric(trial, said).values
        assert values[0].isfinite()
        assert values[1].isnan()
        assert metric(trial, said, normalized=False).values.isfinite().all()


def test_what_ranks_nothing_has_no_rating():
    for metric in (deletion, insertion):
        assert metric(sum_of_four(), FLAT).values.isnan().all()


@pytest.mark.parametrize("metric", [deletion, insertion])
def test_broken_calls_are_refused(metric):
    with pytest.raises(ValueError, match="4 players cannot be removed in 5 steps"):
        metric(sum_of_four(), SAID, steps=5)
    with pytest.raises(TypeError, match="Attribution"):
        metric(sum_of_four(), SAID.values)
    with pytest.raises(TypeError, match="Trial"):
        metric(logit(relu_network([4, 2], 0), 0), SAID)


def test_a_row_of_a_table():
    table = zoo.breast_cancer()
    x = torch.stack(table.inputs[:10])
    score = probability(table.model, predicted(table.model, x))
    base = torch.stack(table.inputs).mean(0)
    trial = on_trial(score, x, features(x.shape[1]), base)
    said = input_x_gradient(score, x)
    assert deletion(trial, said).values.shape == (10,)
    one, other = (deletion(trial, Attribution(sign * said.values)) for sign in (1, -1))
    assert one.mean < other.mean


@REAL
def test_lenet_on_digits_put_back_on_a_blur():
    exhibit = zoo.mnist()
    x = torch.stack(exhibit.inputs[:16])
    score = probability(exhibit.model, predicted(exhibit.model, x))
    said = input_x_gradient(score, x)
    players = patches((1, 28, 28), (28, 28))
    drawn = Attribution(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    away = on_trial(score, x, players, torch.zeros(1, 28, 28))
    back = on_trial(score, x, players, blurred(x))
    assert deletion(away, said, steps=28).mean < deletion(away, drawn, steps=28).interval()[0]
    one, other = (insertion(back, a, steps=28, normalized=False) for a in (said, drawn))
    assert one.mean > other.interval()[1]


@pytest.mark.parametrize("metric", [deletion, insertion])
def test_ends_that_differ_by_rounding_alone_are_the_same(metric):
    weights = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    score = logit(lambda x: (x @ weights).softmax(1).sum(1, keepdim=True), 0)
    x = torch.rand(8, 4, generator=torch.Generator().manual_seed(1))
    trial = on_trial(score, x, features(4), torch.zeros(4))
    whole, nothing = trial.ends()
    assert (whole != nothing).any()
    told = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(8, 4))
    assert metric(trial, told).values.isnan().all()
