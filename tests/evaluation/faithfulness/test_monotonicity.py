import itertools
import math
import os

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from quantus_alone import quantus
from strategies import relu_network
from unmask import Game, Players, features, log_odds, logit, predicted
from unmask.evaluation import monotonicity, monotonicity_correlation, on_trial
from unmask.methods.saliency import input_x_gradient
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.zoo import breast_cancer, digits

WEIGHTS = torch.tensor([4.0, 3.0, 2.0, 1.0])
ADD = Game(lambda own: own.double() @ WEIGHTS.double(), tuple("abcd"))
with_data = pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")


def said(*rows):
    return Attribution(torch.tensor(rows, dtype=torch.float64))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(players=5, seed=0):
    score = logit(relu_network([players, 8, 3], seed, dtype=torch.float64), 1)
    x = torch.randn(3, players, generator=seeded(seed), dtype=torch.float64)
    data = torch.randn(7, players, generator=seeded(seed + 1), dtype=torch.float64)
    values = torch.randn(3, players, generator=seeded(seed + 2), dtype=torch.float64)
    return score, x, data, Attribution(values)


def test_of_positive_effects_the_score_rises_whatever_the_order():
    found = monotonicity(ADD, said(WEIGHTS.tolist()))
    assert found.values.tolist() == [1]
    assert found.curve.tolist() == [[0, 1, 3, 6, 10]]
    assert found.at.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.higher_is_better
    assert found.evaluations == 5
    turned = monotonicity(ADD, said([1.0, 2.0, 3.0, 4.0]))
    assert turned.values.tolist() == [1]
    assert turned.curve.tolist() == [[0, 4, 7, 9, 10]]


def test_of_negative_effects_even_the_truth_falls():
    game = Game(lambda own: own.double() @ torch.tensor([4.0, -3, 2, -1]).double(), tuple("abcd"))
    assert monotonicity(game, said([4.0, -3.0, 2.0, -1.0])).mean == 0.5


def test_the_share_of_steps_agrees_with_loops():
    score, x, _, told = network()
    nothing = torch.full((5,), 0.2, dtype=torch.float64)
    found = monotonicity(on_trial(score, x, features(5), nothing), told).values
    for row, values, share in zip(x, told.values.tolist(), found.tolist(), strict=True):
        point, scores = nothing.clone(), []
        for i in [None, *sorted(range(5), key=lambda i: values[i])]:
            if i is not None:
                point[i] = row[i]
            with torch.no_grad():
                scores.append(float(score(point[None])))
        rises = sum(b >= a for a, b in itertools.pairwise(scores))
        assert share == pytest.approx(rises / 5)


def test_players_come_in_steps():
    found = monotonicity(ADD, said(WEIGHTS.tolist()), steps=2)
    assert found.curve.tolist() == [[0, 3, 10]]
    with pytest.raises(ValueError, match="Give a number from 1 to 4"):
        monotonicity(ADD, said(WEIGHTS.tolist()), steps=5)


def test_a_fall_within_rounding_is_none():
    scores = torch.tensor([0.1 + 0.2, 0.3, 0.3], dtype=torch.float64)
    game = Game(lambda own: scores[own.sum(1)], ("a", "b"))
    assert float(scores.diff()[0]) < 0
    assert monotonicity(game, said([1.0, 2.0])).mean == 1


def test_an_explanation_that_ranks_nothing_has_no_rating():
    assert math.isnan(monotonicity(ADD, said([1.0] * 4)).mean)
    score, x, data, _ = network()
    flat = Attribution(torch.tensor([[2.0, -2, 2, -2, 2]]).expand(3, 5))
    found = monotonicity_correlation(score, x, attribution=flat, players=features(5), data=data)
    assert found.undefined == 3


def test_sizes_rank_as_the_mean_square_of_the_change():
    """Of a weighted sum the mean square is w^2 times that of x - r."""
    score = logit(linear_network(WEIGHTS.double()), 0)
    x, data = torch.ones(1, 4).double(), torch.tensor([[0.0] * 4, [3.0] * 4]).double()
    for values, rho in (([4.0, 3.0, 2.0, 1.0], 1), ([-4.0, 3, -2, 1], 1), ([1.0, 2, 3, 4], -1)):
        found = monotonicity_correlation(
            score, x, attribution=said(values), players=features(4), data=data
        )
        assert found.mean == pytest.approx(rho)
        assert found.evaluations == 9


def test_the_correlation_agrees_with_loops_and_scipy():
    score, x, data, told = network()
    owner = Players(torch.tensor([0, 1, 1, 2, -1]), ("a", "b", "c"))
    groups = [[0], [1, 2], [3]]
    found = monotonicity_correlation(score, x, attribution=told, players=owner, data=data)
    for row, values, rho in zip(x, told.values, found.values.tolist(), strict=True):
        moved, sizes = [], []
        for group in groups:
            squares = []
            for other in data:
                point = row.clone()
                point[group] = other[group]
                with torch.no_grad():
                    squares.append(float(score(row[None]) - score(point[None])) ** 2)
            moved.append(sum(squares) / len(squares))
            sizes.append(abs(float(values[group].sum())))
        assert rho == pytest.approx(float(spearmanr(sizes, moved).statistic), abs=1e-9)


def test_a_mean_of_scores_would_not_do():
    """Replaced by 0 or by 2 a player of value 1 changes the mean score by nothing."""
    score = logit(linear_network(WEIGHTS.double()), 0)
    x, data = torch.ones(1, 4).double(), torch.tensor([[0.0] * 4, [2.0] * 4]).double()
    trial = on_trial(score, x, features(4), data)
    assert torch.allclose(trial.under(~torch.eye(4).bool()), trial.ends()[0][:, None])
    found = monotonicity_correlation(
        score, x, attribution=said(WEIGHTS.tolist()), players=features(4), data=data
    )
    assert found.mean == pytest.approx(1)


def test_each_input_has_its_own_class():
    model = relu_network([5, 8, 3], 0, dtype=torch.float64)
    _, x, data, told = network()
    both = log_odds(model, torch.tensor([0, 1, 2]))
    args = {"players": features(5), "data": data}
    together = monotonicity_correlation(both, x, attribution=told, batch_size=4, **args).values
    for i in range(3):
        alone = monotonicity_correlation(
            log_odds(model, i),
            x[i : i + 1],
            attribution=Attribution(told.values[i : i + 1]),
            **args,
        )
        assert float(alone.values) == pytest.approx(float(together[i]), abs=1e-12)


def test_a_constant_score_has_no_correlation():
    _, x, data, told = network()
    flat = logit(linear_network(torch.zeros(5).double(), 0.1), 0)
    found = monotonicity_correlation(flat, x, attribution=told, players=features(5), data=data)
    assert found.undefined == 3


def test_broken_calls_are_refused():
    score, x, data, told = network()
    args = {"players": features(5), "data": data}
    with pytest.raises(ValueError, match="must be finite"):
        monotonicity_correlation(score, x, attribution=said([math.nan] * 5), **args)
    with pytest.raises(ValueError, match="Give a value per position"):
        monotonicity_correlation(score, x, attribution=said([1.0] * 5), **args)
    # The second where types are checked at run time.
    with pytest.raises((ValueError, TypeError), match=r"shaped like one input|parameter 'data'"):
        monotonicity_correlation(
            score, x, attribution=told, players=features(5), data=torch.zeros(7, 3).double()
        )
    with pytest.raises(ValueError, match="Give at least one background"):
        monotonicity_correlation(score, x, attribution=told, players=features(5), data=data[:0])


@pytest.mark.parametrize("exhibit", [breast_cancer, digits])
def test_on_networks(exhibit):
    shown = exhibit()
    x, data = torch.stack(shown.inputs[:4]), torch.stack(shown.inputs[40:60])
    score = log_odds(shown.model, predicted(shown.model, x))
    told = input_x_gradient(score, x)
    trial = on_trial(score, x, shown.players(0), shown.baseline(0))
    found = monotonicity(trial, told)
    assert ((found.values >= 0) & (found.values <= 1)).all()
    shuffled = Attribution(torch.randn(x.shape, generator=seeded(3)))
    args = {"players": shown.players(0), "data": data}
    one = monotonicity_correlation(score, x, attribution=told, **args)
    other = monotonicity_correlation(score, x, attribution=shuffled, **args)
    assert one.values.isfinite().all()
    assert other.values.isfinite().all()


@with_data
@pytest.mark.oracle
@pytest.mark.slow
def test_quantus_asks_for_a_rise_at_every_step_after_the_first():
    """It has no baseline in front: its first score is that of one pixel."""
    from unmask.zoo import mnist

    shown = mnist()
    x = torch.stack(shown.inputs[:8])
    target = predicted(shown.model, x)
    score = logit(shown.model, target)
    pixels = Players(torch.arange(784).view(1, 28, 28), tuple(map(str, range(784))))
    told = input_x_gradient(score, x)
    told = Attribution(told.values + 1e-9 * torch.randn(x.shape, generator=seeded()))  # no ties
    ours = monotonicity(on_trial(score, x, pixels, torch.zeros(1, 28, 28)), told, steps=7)
    metric = quantus().Monotonicity(
        features_in_step=112, normalise=False, disable_warnings=True, return_aggregate=False
    )
    theirs = metric(
        model=shown.model,
        x_batch=x.numpy(),
        y_batch=target.numpy(),
        a_batch=told.values.numpy(),
        device="cpu",
        batch_size=8,
        softmax=False,
    )
    every = (ours.curve[:, 1:].diff(dim=1) >= 0).all(1)
    assert [bool(one) for one in np.array(theirs)] == every.tolist()


def test_players_that_differ_by_rounding_alone_are_alike():
    score = logit(linear_network(torch.full((6,), 0.37)), 0)
    found = monotonicity_correlation(
        score,
        torch.full((1, 6), 0.731),
        attribution=said([6, 5, 4, 3, 2, 1]),
        players=features(6),
        data=torch.rand(20, 1, generator=seeded()).expand(20, 6),
    )
    assert found.values.isnan().all()
