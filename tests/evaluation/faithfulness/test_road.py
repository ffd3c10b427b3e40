import os
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from quantus_alone import quantus
from removals import FLAT, GROUPED, SAID, grouped_case, in_order, slow_scores, slow_totals
from removals import sum_of_four as four
from unmask import correct, logit, patches, predicted, zoo
from unmask.evaluation import linear_imputation, on_trial, road, road_combined
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def test_means_over_the_shares():
    most = road(four(), SAID, shares=(0.25, 0.5, 1.0))
    assert most.curve.tolist() == [[6.0, 3.0, 0.0]]
    assert most.values.tolist() == [3.0]
    assert not most.higher_is_better
    assert most.at.tolist() == [0.25, 0.5, 1.0]
    least = road(four(), SAID, shares=(0.25, 0.5, 1.0), ascending=True)
    assert least.curve.tolist() == [[9.0, 7.0, 0.0]]
    assert least.higher_is_better
    both = road_combined(four(), SAID, shares=(0.25, 0.5, 1.0))
    assert both.curve.tolist() == [[1.5, 2.0, 0.0]]
    assert both.values.tolist() == pytest.approx([3.5 / 3])
    assert both.higher_is_better
    assert both.evaluations == 2 * most.evaluations == 6


@pytest.mark.parametrize("seed", range(6))
def test_accuracy_follows_the_definition(seed):
    score, x, said, baseline = grouped_case(seed, inputs=5)
    labels = torch.randint(3, (5,), generator=torch.Generator().manual_seed(seed))
    right = correct(score.model, labels)
    trial = on_trial(right, x, GROUPED, baseline, batch_size=1 + seed)
    for ascending in (False, True):
        rating = road(trial, Attribution(said), shares=(0.25, 0.75), ascending=ascending)
        for b in range(5):
            order = in_order(slow_totals(said[b], GROUPED), ascending)
            curve = slow_scores(right, x, b, GROUPED, baseline, [order[:1], order[:3]])
            assert set(curve) <= {0.0, 1.0}
            assert rating.curve[b].tolist() == curve
            assert float(rating.values[b]) == sum(curve) / 2


def test_what_ranks_nothing_has_no_rating():
    assert road(four(), FLAT).values.isnan().all()
    assert road_combined(four(), FLAT).values.isnan().all()


@pytest.mark.parametrize("metric", [road, road_combined])
def test_shares_of_nothing_are_refused(metric):
    with pytest.raises(ValueError, match="Shares of the players lie above 0"):
        metric(four(), SAID, shares=(0.0, 0.5))


@pytest.mark.parametrize("metric", [road, road_combined])
def test_all_pixels_cannot_be_imputed(metric):
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    trial = on_trial(
        correct(network, 0), x, patches((1, 4, 4), (4, 4)), linear_imputation(x, noise=0.0)
    )
    with pytest.raises(ValueError, match="such as shares below 1"):
        metric(trial, Attribution(x), shares=(0.5, 1.0))


def test_imputation_hides_the_hole_that_a_constant_shows():
    """A network that only sees dark pixels: zeros look like evidence, what is imputed does not."""
    x = torch.full((1, 1, 6, 6), 0.8)
    dark = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():  # class 1 where the mean falls below a half
        dark[1].weight.copy_(torch.stack([torch.full((36,), 1 / 36), torch.zeros(36)]))
        dark[1].bias.copy_(torch.tensor([-0.5, 0.0]))
    players, said = patches((1, 6, 6), (6, 6)), Attribution(torch.arange(36.0).view(1, 1, 6, 6))
    score = correct(dark, 0)
    hole = road(on_trial(score, x, players, torch.zeros(1, 6, 6)), said, shares=(0.5,))
    imputed = road(on_trial(score, x, players, linear_imputation(x)), said, shares=(0.5,))
    assert hole.mean == 0.0
    assert imputed.mean == 1.0


def by_lenet(inputs):
    exhibit = zoo.mnist()
    x = torch.stack(exhibit.inputs[:inputs])
    labels = torch.tensor(exhibit.labels[:inputs])
    said = input_x_gradient(logit(exhibit.model, predicted(exhibit.model, x)), x)
    return exhibit.model, x, labels, said


def test_the_digits():
    digits = zoo.digits()
    x = torch.stack(digits.inputs[:40])
    labels = torch.tensor(digits.labels[:40])
    said = input_x_gradient(logit(digits.model, predicted(digits.model, x)), x)
    trial = on_trial(
        correct(digits.model, labels),
        *(x, patches(x.shape[1:], x.shape[-2:]), linear_imputation(x)),
    )
    whole = float(correct(digits.model, labels)(x).mean())
    assert road(trial, said).mean < whole
    assert road_combined(trial, said).interval()[0] > 0


@REAL
def test_lenet_on_digits():
    model, x, labels, said = by_lenet(64)
    trial = on_trial(
        correct(model, labels), x, patches((1, 28, 28), (28, 28)), linear_imputation(x)
    )
    drawn = Attribution(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    one, other = road_combined(trial, said), road_combined(trial, drawn)
    assert one.interval()[0] > other.interval()[1]
    assert other.interval()[0] < 0.02  # at random both orders are alike


@pytest.mark.oracle
@REAL
def test_quantus_on_lenet():
    """It rounds shares down to whole pixels: these are shares of whole ones. No noise, which it
    draws from the global state; ties of the explanation are broken by what it explains."""
    model, x, labels, said = by_lenet(64)
    tie_break = 1e-9 * torch.arange(784, 0, -1).view(1, 28, 28)
    values = said.values.double() + tie_break
    percentages = [100 * k / 784 for k in (8, 39, 78, 196, 392)]
    trial = on_trial(
        correct(model, labels),
        *(x, patches((1, 28, 28), (28, 28)), linear_imputation(x, noise=0.0)),
    )
    ours = road(trial, Attribution(values), shares=[p / 100 for p in percentages])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = quantus().ROAD(
            percentages=[p + 1e-9 for p in percentages],
            noise=0.0,
            normalise=False,
            disable_warnings=True,
        )
        found = metric(model, x.numpy(), labels.numpy(), values.numpy(), device="cpu")
    expected = np.array(list(found.values()))
    assert np.allclose(ours.curve.mean(0), expected, atol=1e-6)
