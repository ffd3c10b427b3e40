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
from unmask import features, masked, predicted, probability, zoo
from unmask.evaluation import comprehensiveness, on_trial, sufficiency
from unmask.evaluation.faithfulness.pixel_flipping import portions
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def test_what_a_sum_loses():
    kept = sufficiency(sum_of_four(), SAID, shares=(0.25, 0.5, 1.0))
    assert kept.curve.tolist() == [[6.0, 3.0, 0.0]]
    assert kept.values.tolist() == [3.0]
    assert not kept.higher_is_better
    assert kept.evaluations == 3  # the whole is what the share of 1 keeps
    gone = comprehensiveness(sum_of_four(), SAID, shares=(0.25, 0.5, 1.0))
    assert gone.curve.tolist() == [[4.0, 7.0, 10.0]]
    assert gone.values.tolist() == [7.0]
    assert gone.higher_is_better
    assert gone.evaluations == 4
    assert gone.at.tolist() == [0.25, 0.5, 1.0]


def test_the_wrong_order_is_worse():
    assert sufficiency(sum_of_four(), REVERSED).mean > sufficiency(sum_of_four(), SAID).mean
    one, other = (comprehensiveness(sum_of_four(), a).mean for a in (SAID, REVERSED))
    assert one > other


def test_shares_are_of_one_player_at_least_and_the_model_is_asked_once_of_each():
    rating = comprehensiveness(sum_of_four(), SAID)  # 1, 5, 10 and 20 % of four are one, 50 % two
    assert rating.curve.tolist() == [[4.0, 4.0, 4.0, 4.0, 7.0]]
    assert rating.at.tolist() == [0.25, 0.25, 0.25, 0.25, 0.5]
    assert rating.evaluations == 3


def test_shares_are_rounded_to_whole_players():
    assert portions(784, (0.01, 0.5, 1.0)).tolist() == [8, 392, 784]
    assert portions(10, (0.3, 0.24, 0.26)).tolist() == [3, 2, 3]


@pytest.mark.parametrize("seed", range(6))
def test_both_follow_the_definition(seed):
    score, x, said, baseline = grouped_case(seed)
    trial = on_trial(score, x, GROUPED, baseline, batch_size=1 + seed)
    kept = sufficiency(trial, Attribution(said), shares=(0.5, 0.25))
    gone = comprehensiveness(trial, Attribution(said), shares=(0.5, 0.25))
    for b in range(len(x)):
        order = in_order(slow_totals(said[b], GROUPED))
        whole = slow_scores(score, x, b, GROUPED, baseline, [[]])[0]
        without = slow_scores(score, x, b, GROUPED, baseline, [order[:2], order[:1]])
        only = slow_scores(score, x, b, GROUPED, baseline, [order[2:], order[1:]])
        assert kept.curve[b].tolist() == pytest.approx([whole - v for v in only], abs=1e-12)
        assert gone.curve[b].tolist() == pytest.approx([whole - v for v in without], abs=1e-12)
        assert float(kept.values[b]) == pytest.approx(whole - sum(only) / 2, abs=1e-12)
        assert float(gone.values[b]) == pytest.approx(whole - sum(without) / 2, abs=1e-12)


def test_a_game_is_a_trial_of_one_input():
    score, x, said, baseline = grouped_case(7, inputs=1)
    totals = Attribution(torch.tensor([slow_totals(said[0], GROUPED)]))
    game, trial = masked(score, x[0], GROUPED, baseline), on_trial(score, x, GROUPED, baseline)
    for metric in (sufficiency, comprehensiveness):
        one, other = metric(game, totals), metric(trial, Attribution(said))
        assert torch.allclose(one.values, other.values, atol=1e-12)


@pytest.mark.parametrize("metric", [sufficiency, comprehensiveness])
def test_what_ranks_nothing_has_no_rating(metric):
    assert metric(sum_of_four(), FLAT).values.isnan().all()


@pytest.mark.parametrize("metric", [sufficiency, comprehensiveness])
@pytest.mark.parametrize("shares", [(), (0.0,), (0.5, 1.1), (-0.1,)])
def test_shares_of_nothing_or_of_more_than_all_are_refused(metric, shares):
    with pytest.raises(ValueError, match="Shares of the players lie above 0 and are 1 at most"):
        metric(sum_of_four(), SAID, shares=shares)


@pytest.mark.parametrize("name", ["breast_cancer", pytest.param("adult", marks=REAL)])
def test_rows_of_tables(name):
    table = getattr(zoo, name)()
    x = torch.stack(table.inputs[:30])
    score = probability(table.model, predicted(table.model, x))
    trial = on_trial(score, x, features(x.shape[1]), torch.stack(table.inputs).mean(0))
    said = input_x_gradient(score, x)
    drawn = Attribution(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    assert sufficiency(trial, said).mean < sufficiency(trial, drawn).mean
    assert comprehensiveness(trial, said).mean > comprehensiveness(trial, drawn).mean
