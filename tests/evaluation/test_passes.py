import pytest
import torch
from torch import nn

from exhibits import exhibit
from shortcuts import leave_one_out
from unmask import features, log_odds, logit, masked, predicted
from unmask.evaluation.passes import passes_of
from unmask.methods.saliency import ablation, gradient, integrated_gradients, smoothgrad
from unmask.results import Attribution


def network(columns=6):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(columns, 5), nn.Tanh(), nn.Linear(5, 3)).eval()


def fifty(score, x):
    return integrated_gradients(score, x, baseline=torch.zeros_like(x[0]), steps=50)


def by_games(score, x):
    games = (
        masked(score.at(torch.tensor([i])), row, features(len(row)), torch.zeros_like(row))
        for i, row in enumerate(x)
    )
    return Attribution(torch.cat([ablation(game).values for game in games]))


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize(
    ("explain", "forward", "backward"),
    [
        (gradient, 1, 1),
        (fifty, 50 + 2, 50),  # 150 units, and the two ends of the path
        (leave_one_out, 6 + 1, 0),
        (lambda score, x: smoothgrad(score, x, samples=10), 10, 10),
        (lambda score, x: Attribution(x), 0, 0),
    ],
)
def test_passes_are_those_of_the_method(explain, forward, backward, as_function):
    model, x = network(), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    score = logit((lambda x: model(x)) if as_function else model, 1)
    passes, values = passes_of(score, x, explain)
    assert (passes.forward, passes.backward) == (4 * forward, 4 * backward)
    assert passes.units == 4 * (forward + 2 * backward)
    assert torch.equal(values, explain(score, x).values.detach())


def test_ablation_of_a_game_is_one_more_than_the_players():
    model, x = network(), torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    passes, _ = passes_of(logit(model, 1), x, by_games)
    assert (passes.forward, passes.backward) == (6 + 1, 0)


def test_batches_of_inputs_are_added_up():
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    passes, _ = passes_of(logit(network(), 1), x, fifty, batch_size=2)
    assert passes.units == 5 * 152


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "mnist", "cifar10"])
def test_real_networks(name):
    of = exhibit(name)
    x = torch.stack(of.inputs[:3])
    score = log_odds(of.model, predicted(of.model, x))
    passes, _ = passes_of(score, x, fifty)
    assert passes.units == 3 * 152


def test_nothing_is_left_behind_when_the_explanation_fails():
    model = network()

    def fails(score, x):
        score(x)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        passes_of(logit(model, 0), torch.zeros(2, 6), fails)
    assert not model._forward_hooks
