import os
import warnings

import numpy as np
import pytest
import torch

from quantus_alone import quantus
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
from unmask import Players, Score, features, logit, masked, predicted, probability, segments, zoo
from unmask.evaluation import irof, on_trial
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def test_area_over_the_curve_of_a_sum():
    rating = irof(sum_of_four(), SAID)
    assert rating.curve[0].tolist() == pytest.approx([1, 0.6, 0.3, 0.1, 0])
    assert rating.values.tolist() == [0.75]
    assert rating.higher_is_better
    assert rating.evaluations == 5
    assert irof(sum_of_four(), REVERSED).values.tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("seed", range(6))
def test_it_follows_the_definition(seed):
    score, x, said, baseline = grouped_case(seed)
    for steps in (None, 2):
        trial = on_trial(score, x, GROUPED, baseline, batch_size=1 + seed)
        rating = irof(trial, Attribution(said), steps=steps)
        for b in range(len(x)):
            order = in_order(slow_totals(said[b], GROUPED, mean=True))
            points = range(1, 5) if steps is None else (2, 4)
            gone = [order[:k] for k in points]
            curve = slow_scores(score, x, b, GROUPED, baseline, gone)
            whole = slow_scores(score, x, b, GROUPED, baseline, [[]])[0]
            area = sum(1 - value / whole for value in curve) / len(curve)
            assert float(rating.values[b]) == pytest.approx(area, abs=1e-9)


def test_segments_rank_by_their_mean_and_not_by_their_size():
    players = Players(torch.tensor([0, 1, 1, 1]), ("small", "large"))
    score = Score(lambda x: x, lambda output, rows: 8 * output[:, 0] + output[:, 1:].sum(1))
    trial = on_trial(score, torch.ones(1, 4), players, torch.zeros(4))
    rating = irof(trial, Attribution(torch.tensor([[2.0, 1.0, 1.0, 1.0]])))  # 2 against 1, 1, 1
    assert rating.curve[0].tolist() == pytest.approx([1, 3 / 11, 0])
    whole = irof(trial, Attribution(torch.tensor([[2.0, 3.0]])))  # of the segments as they are
    assert whole.curve[0].tolist() == pytest.approx([1, 8 / 11, 0])


def test_where_the_score_is_nothing_there_is_no_rating():
    trial = on_trial(
        Score(lambda x: x, lambda output, rows: output.sum(1)),
        *(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), features(2), torch.zeros(2)),
    )
    values = irof(trial, Attribution(torch.tensor([[2.0, 1.0], [2.0, 1.0]]))).values
    assert values[0].isnan()
    assert float(values[1]) == 0.75
    assert irof(sum_of_four(), FLAT).values.isnan().all()


def test_a_game_is_a_trial_of_one_input():
    score, x, said, baseline = grouped_case(7, inputs=1)
    totals = Attribution(torch.tensor([slow_totals(said[0], GROUPED, mean=True)]))
    one = irof(masked(score, x[0], GROUPED, baseline), totals)
    other = irof(on_trial(score, x, GROUPED, baseline), Attribution(said))
    assert torch.allclose(one.values, other.values, atol=1e-12)


def test_broken_calls_are_refused():
    with pytest.raises(ValueError, match="4 players cannot be removed in 9 steps"):
        irof(sum_of_four(), SAID, steps=9)
    with pytest.raises(ValueError, match=r"shape \(1, 3\)"):
        irof(sum_of_four(), Attribution(torch.ones(1, 3)))


def in_strips(x):
    """Four columns, and a fifth made of what is left of them."""
    labels = torch.arange(x.shape[-1]).mul(5).div(x.shape[-1], rounding_mode="floor")
    return labels.expand(*x.shape[-2:]).clone()


def test_the_digits():
    digits = zoo.digits()
    x = torch.stack(digits.inputs[:20])
    score = probability(digits.model, predicted(digits.model, x))
    players = segments(in_strips(x), channels=x.shape[1] if x.ndim == 4 else None)
    colour = x.mean().expand(x.shape[1:])
    trial = on_trial(score, x, players, colour)
    said = input_x_gradient(score, x)
    assert irof(trial, said).mean > irof(trial, Attribution(-said.values)).mean


@pytest.mark.oracle
@REAL
def test_quantus_on_lenet():
    """Its area is that of the trapezoids from the first removal on, taken from the number of
    segments: of the curve (0.6, 0.3, 0.1, 0) it makes 4 - 0.7, where the paper's mean is 0.75."""
    exhibit = zoo.mnist()
    x = torch.stack(exhibit.inputs[:64])
    target = predicted(exhibit.model, x)
    said = input_x_gradient(logit(exhibit.model, target), x)
    labels = in_strips(x)
    trial = on_trial(
        probability(exhibit.model, target), x, segments(labels, channels=1), torch.zeros(1, 28, 28)
    )
    ours = irof(trial, said)

    q = quantus()
    metric = q.IROF(
        normalise=False, perturb_baseline=0.0, return_aggregate=False, disable_warnings=True
    )
    helpers = metric.evaluate_batch.__func__.__globals__["utils"]
    kept = helpers.get_superpixel_segments
    helpers.get_superpixel_segments = lambda img, segmentation_method: labels.numpy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = metric(
                *(exhibit.model, x.numpy(), target.numpy(), said.values.numpy()),
                device="cpu",
                softmax=True,
            )
    finally:
        helpers.get_superpixel_segments = kept
    expected = 5 - torch.trapezoid(ours.curve[:, 1:], dx=1.0)
    assert np.allclose(np.ravel(theirs), expected, atol=1e-5)
