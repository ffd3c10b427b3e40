import os
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from quantus_alone import quantus
from removals import FLAT, GROUPED, SAID, grouped_case, in_order, slow_scores, slow_totals
from removals import sum_of_four as four
from strategies import relu_network
from unmask import Game, Score, features, log_odds, logit, masked, patches, predicted, zoo
from unmask.evaluation import on_trial, pixel_flipping
from unmask.evaluation.association import spearman
from unmask.methods.saliency import input_x_gradient, shapley_values
from unmask.results import Attribution

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def test_a_sum_falls_by_its_parts():
    rating = pixel_flipping(four(), SAID)
    assert rating.curve.tolist() == [[10.0, 6.0, 3.0, 1.0, 0.0]]
    assert rating.at.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert rating.values.tolist() == [6.0]
    assert rating.higher_is_better
    assert rating.evaluations == 5


def test_the_least_relevant_may_go_first():
    rating = pixel_flipping(four(), SAID, ascending=True)
    assert rating.curve.tolist() == [[10.0, 9.0, 7.0, 4.0, 0.0]]
    assert rating.values.tolist() == [4.0]
    assert not rating.higher_is_better


def test_steps_are_equal_to_within_one_player():
    rating = pixel_flipping(four(), SAID, steps=3)  # 1, 2 and 4 of the four
    assert rating.curve.tolist() == [[10.0, 6.0, 3.0, 0.0]]
    assert rating.values.tolist() == [(0 + 4 + 7 + 10) / 4]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_curve_follows_the_definition(seed, ascending, absolute):
    score, x, said, baseline = grouped_case(seed)
    steps = 1 + seed % 4
    for batch_size in (None, 1, 2):
        trial = on_trial(score, x, GROUPED, baseline, batch_size=batch_size)
        rating = pixel_flipping(
            trial, Attribution(said), steps=steps, ascending=ascending, absolute=absolute
        )
        for b in range(len(x)):
            totals = slow_totals(said[b], GROUPED)
            order = in_order([abs(t) if absolute else t for t in totals], ascending)
            gone = [order[: 4 * k // steps] for k in range(steps + 1)]
            curve = slow_scores(score, x, b, GROUPED, baseline, gone)
            assert rating.curve[b].tolist() == pytest.approx(curve, abs=1e-12)
            aopc = sum(curve[0] - value for value in curve) / (steps + 1)
            assert float(rating.values[b]) == pytest.approx(aopc, abs=1e-12)


def test_a_game_is_a_trial_of_one_input():
    score, x, said, baseline = grouped_case(7, inputs=1)
    game = masked(score, x[0], GROUPED, baseline)
    totals = torch.tensor([slow_totals(said[0], GROUPED)])
    one = pixel_flipping(game, Attribution(totals))
    other = pixel_flipping(on_trial(score, x, GROUPED, baseline), Attribution(said))
    assert torch.allclose(one.curve, other.curve, atol=1e-12)


def test_regions_are_replaced_by_draws_and_averaged():
    """Region perturbation: regions of the image, uniform noise, the mean over the draws."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 6, 6, generator=generator, dtype=torch.float64)
    draws = torch.rand(10, 1, 6, 6, generator=generator, dtype=torch.float64)
    score = logit(nn.Sequential(nn.Flatten(), relu_network([36, 8, 2], 3)), 1)
    players, said = patches((1, 6, 6), (2, 2)), x - 0.5
    rating = pixel_flipping(on_trial(score, x, players, draws), Attribution(said))
    for b in range(2):
        order = in_order(slow_totals(said[b], players))
        gone = [order[:k] for k in range(5)]
        each = [slow_scores(score, x, b, players, draw, gone) for draw in draws]
        mean = np.mean(each, axis=0)
        assert rating.curve[b].tolist() == pytest.approx(mean.tolist(), abs=1e-12)


def test_ties_go_in_the_order_of_the_players():
    rating = pixel_flipping(four(), Attribution(torch.tensor([[1.0, 2.0, 2.0, 1.0]])))
    assert rating.curve.tolist() == [[10.0, 7.0, 5.0, 1.0, 0.0]]


def test_what_ranks_nothing_has_no_rating():
    rating = pixel_flipping(four(), FLAT)
    assert rating.values.isnan().all()
    assert rating.undefined == 1
    mirror = Attribution(torch.tensor([[1.0, -1.0, 1.0, -1.0]]))
    assert pixel_flipping(four(), mirror, absolute=True).values.isnan().all()
    assert pixel_flipping(four(), mirror).values.isfinite().all()


def test_only_the_order_counts():
    said = SAID.values
    one = pixel_flipping(four(), Attribution(said.exp() - 100))
    assert torch.equal(one.curve, pixel_flipping(four(), SAID).curve)


def test_a_constant_score_falls_nowhere():
    trial = on_trial(
        Score(lambda x: x, lambda output, rows: output[:, 0] * 0 + 3),
        *(torch.ones(2, 4), features(4), torch.zeros(4)),
    )
    assert pixel_flipping(trial, Attribution(torch.rand(2, 4))).values.tolist() == [0.0, 0.0]


def test_noise_in_the_explanation_lowers_its_rating():
    """Of additive games the true contributions are known, and the best there are."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    trial = on_trial(
        Score(lambda x: x, lambda output, rows: output.sum(1)),
        *(true, features(8), torch.zeros(8, dtype=torch.float64)),
    )
    levels = torch.linspace(0, 1, 11, dtype=torch.float64)
    means = [
        pixel_flipping(trial, Attribution((1 - level) * true + level * noise)).mean
        for level in levels
    ]
    assert spearman(levels[None], torch.tensor([means])) < -0.9
    assert abs(means[-1] - float(true.sum(1).mean() / 2)) < 0.5  # at random: the straight line


def test_the_model_never_sees_more_than_a_batch():
    seen = []
    network = relu_network([7, 9, 3], 0)
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    _, x, said, baseline = grouped_case(0)
    trial = on_trial(logit(network, 1), x, GROUPED, baseline, batch_size=4)
    rating = pixel_flipping(trial, Attribution(said))
    assert max(seen) == 4
    assert sum(seen) == rating.evaluations == 15


@pytest.mark.parametrize("steps", [0, 5])
def test_steps_that_cannot_be_taken_are_refused(steps):
    with pytest.raises(ValueError, match=rf"4 players cannot be removed in {steps} steps"):
        pixel_flipping(four(), SAID, steps=steps)


def test_what_is_no_explanation_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3\), but the inputs \(1, 4\)"):
        pixel_flipping(four(), Attribution(torch.ones(1, 3)))
    with pytest.raises(ValueError, match=r"nan at index \(0, 1\)"):
        pixel_flipping(four(), Attribution(torch.tensor([[1.0, torch.nan, 0.0, 0.0]])))
    game = Game(lambda own: own.float().sum(1), features(3).names)
    with pytest.raises(ValueError, match="The game has 3 players"):
        pixel_flipping(game, SAID)


def test_shapley_values_of_the_digits_beat_chance():
    digits = zoo.digits()
    x = torch.stack(digits.inputs[:12])
    score = log_odds(digits.model, predicted(digits.model, x))
    players = patches(x.shape[1:], (3, 3))
    trial = on_trial(score, x, players, torch.zeros(()).expand(x.shape[1:]))
    values = torch.cat(
        [
            shapley_values(masked(score.at(torch.tensor([i])), x[i], players, x[i] * 0)).values
            for i in range(len(x))
        ]
    )
    drawn = torch.rand(5, len(x), 9, generator=torch.Generator().manual_seed(0))
    chance = np.mean([pixel_flipping(trial, Attribution(values=d)).mean for d in drawn])
    assert pixel_flipping(trial, Attribution(values)).interval()[0] > chance


def lenet(inputs):
    exhibit = zoo.mnist()
    x = torch.stack(exhibit.inputs[:inputs])
    target = predicted(exhibit.model, x)
    return exhibit.model, x, target, input_x_gradient(logit(exhibit.model, target), x)


@REAL
def test_lenet_on_digits():
    model, x, target, said = lenet(16)
    trial = on_trial(
        log_odds(model, target), x, patches((1, 28, 28), (28, 28)), torch.zeros(1, 28, 28)
    )
    drawn = Attribution(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))
    one, other = (pixel_flipping(trial, a, steps=28) for a in (said, drawn))
    assert one.mean > other.interval()[1]


def by_quantus(model, x, target, said, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = quantus().PixelFlipping(
            normalise=False, perturb_baseline=0.0, disable_warnings=True, **options
        )
        found = metric(
            *(model, x.numpy(), target.numpy(), said.numpy()), softmax=False, device="cpu"
        )
    return torch.as_tensor(np.array(found))


@pytest.mark.oracle
@REAL
def test_quantus_on_lenet():
    """Its curve leaves out the whole input, k = 0. Its "black" is the least number of an image."""
    model, x, target, said = lenet(64)
    trial = on_trial(
        logit(model, target), x, patches((1, 28, 28), (28, 28)), torch.zeros(1, 28, 28)
    )
    ours = pixel_flipping(trial, said, steps=28)
    theirs = by_quantus(model, x, target, said.values, features_in_step=28)
    # Where values tie, such as on the black margin, its sort has an order of its own: no matter,
    # for black is replaced by black.
    assert torch.allclose(ours.curve[:, 1:].double(), theirs.double(), atol=1e-4)


@pytest.mark.oracle
def test_quantus_takes_probabilities_unless_told_otherwise():
    q = quantus()
    weights = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    with torch.no_grad():
        network[1].weight.copy_(weights)
    x, target = torch.ones(1, 1, 2, 2), torch.tensor([0])
    said = SAID.values.view(1, 1, 2, 2)
    plain = by_quantus(network, x, target, said)
    assert plain.flatten().tolist() == pytest.approx([6.0, 3.0, 1.0, 0.0], abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = q.PixelFlipping(normalise=False, perturb_baseline=0.0, disable_warnings=True)
        found = metric(network, x.numpy(), target.numpy(), said.numpy(), device="cpu")
    expected = [0.9975274, 0.9525741, 0.7310586, 0.5]
    assert np.ravel(found).tolist() == pytest.approx(expected, abs=1e-6)
