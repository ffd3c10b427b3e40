import math
import sys
from itertools import combinations

import pytest
import torch
from torch import nn

from unmask import features, masked, zoo
from unmask.baselines import constant
from unmask.interactions import and_interaction
from unmask.methods.dynamics import MeanField, bayesian_concepts, fit_mean_field
from unmask.planted import linear_network
from unmask.score import Score, log_odds, predicted
from unmask.zoo.mlp import MLP
from unmask.zoo.training import fresh


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small(seed=0):
    """A network of three classes, inputs and labels of them."""
    model = fresh(lambda: MLP((4, 8, 3)).double(), seed)
    x = torch.randn(20, 4, generator=seeded(1)).double()
    return model, x, torch.arange(20) % 3


def mean_sizes(effects, n):
    """The mean |a| of each order, from effects by set."""
    by_order = [
        [abs(a) for group, a in effects.items() if len(group) == k] for k in range(1, n + 1)
    ]
    return [sum(one) / len(one) for one in by_order]


def slow_effects(function, x, baseline):
    n = len(x)
    values = {
        group: function([x[i] if i in group else baseline[i] for i in range(n)])
        for size in range(n + 1)
        for group in combinations(range(n), size)
    }
    return {
        group: sum(
            (-1) ** (len(group) - size) * values[some]
            for size in range(len(group) + 1)
            for some in combinations(group, size)
        )
        for group in values
        if group
    }


def test_strengths_are_of_the_mean_over_draws():
    model, x, labels = small()
    baseline = torch.tensor([0.1, 0.0, -0.2, 0.3]).double()
    rest = {"steps": 15, "minibatch": 6, "weight": 0.01, "rate": 0.02}
    found = bayesian_concepts(
        model, x[:2], data=x, labels=labels, players=features(4), baseline=baseline, samples=5,
        generator=seeded(7), **rest,
    )  # fmt: skip
    network, generator = MeanField(model), seeded(7)
    fit_mean_field(network, x, labels, generator=generator, **rest)
    draws = [network.draw(generator) for _ in range(5)]
    classes = predicted(model, x[:2]).tolist()

    def odds(output, y):
        others = [z for c, z in enumerate(output) if c != y]
        return output[y] - math.log(sum(math.exp(z) for z in others))

    own, mean = [], []
    with torch.no_grad():
        for row, y in zip(x[:2].tolist(), classes, strict=True):

            def of_model(numbers, y=y):
                return odds(model(torch.tensor([numbers]).double())[0].tolist(), y)

            def of_draws(numbers, y=y):
                point = torch.tensor([numbers]).double()
                return sum(odds(network(point, w)[0].tolist(), y) for w in draws) / 5

            own.append(mean_sizes(slow_effects(of_model, row, baseline.tolist()), 4))
            mean.append(mean_sizes(slow_effects(of_draws, row, baseline.tolist()), 4))
    own = [sum(pair) / 2 for pair in zip(*own, strict=True)]
    mean = [sum(pair) / 2 for pair in zip(*mean, strict=True)]
    assert found.curves["deterministic"].tolist() == pytest.approx(own)
    assert found.curves["bayesian"].tolist() == pytest.approx(mean)
    ratio = [b / a for a, b in zip(own, mean, strict=True)]
    assert found.curves["ratio"].tolist() == pytest.approx(ratio)
    logs = [math.log(one) for one in ratio]
    slope = sum((k - 2.5) * log for k, log in zip((1, 2, 3, 4), logs, strict=True)) / 5
    assert found.numbers["slope"] == pytest.approx(slope)
    assert found.numbers["evaluations"] == 2 * 16 * 6
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(x), labels)
        bayesian = nn.functional.cross_entropy(network(x), labels)
    assert found.numbers["loss"] == pytest.approx(float(loss))
    assert found.numbers["bayesian_loss"] == pytest.approx(float(bayesian))


def test_the_given_network_is_read_as_a_game_of_its_own_class():
    model, x, labels = small()
    found = bayesian_concepts(
        model, x[:3], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
        steps=1, samples=2,
    )  # fmt: skip
    total = 0
    for row in x[:3]:
        score = log_odds(model, int(predicted(model, row[None])))
        total = (
            total + and_interaction(masked(score, row, features(4), constant(row))).effects.abs()
        )
    order = and_interaction(masked(score, x[0], features(4), constant(x[0]))).order
    expected = [float(total[order == k].mean()) / 3 for k in (1, 2, 3, 4)]
    assert found.curves["deterministic"].tolist() == pytest.approx(expected)


def test_a_linear_network_keeps_its_single_players_and_has_no_others():
    x = torch.randn(30, 3, generator=seeded()).double()
    model = linear_network(torch.tensor([1.0, -2.0, 0.5]).double())
    found = bayesian_concepts(
        model, x[:4], data=x, labels=model(x)[:, 0].detach(), players=features(3),
        baseline=torch.zeros(3), steps=200, samples=400, weight=1e-4,
    )  # fmt: skip
    assert float(found.curves["deterministic"][0]) == pytest.approx(
        float((x[:4] * torch.tensor([1.0, -2.0, 0.5])).abs().mean())
    )
    assert float(found.curves["ratio"][0]) == pytest.approx(1, abs=0.05)
    assert found.curves["ratio"][1:].isnan().all()
    assert math.isnan(found.numbers["slope"])
    assert float(found.curves["bayesian"][1:].abs().max()) < 1e-12
    # Each weight w of deviation s moves x_i w by |x_i| s.
    expected = float(x[:4].abs().mean()) * found.numbers["mean_deviation"]
    assert float(found.curves["error"][0]) * 20 == pytest.approx(expected, rel=0.15)


def test_noise_of_few_draws_is_no_strength():
    """A network that has nothing to learn, so that its mean effects are those of the given one."""
    model, x, labels = small(3)
    rest = {
        "data": x, "labels": labels, "players": features(4), "baseline": constant(x[0]),
        "steps": 1, "deviation": 0.1, "rate": 1e-9,
    }  # fmt: skip
    few = [
        bayesian_concepts(model, x, samples=4, generator=seeded(seed), **rest) for seed in range(30)
    ]
    many = bayesian_concepts(model, x, samples=500, **rest)
    plain = torch.stack([one.curves["ratio"] for one in few]).mean(0)
    assert bool((plain > 1.05 * many.curves["ratio"]).any())
    # Of four players some estimates are cut at zero, which moves their mean.
    squares = torch.stack([one.curves["power_ratio"][:3] ** 2 for one in few])
    assert bool((squares > 0).all())
    away = (squares.mean(0) - many.curves["power_ratio"][:3] ** 2).abs()
    assert bool((away < 3 * squares.std(0) / 30**0.5).all())


def test_a_target_of_ones_own_and_numbers_as_labels():
    model, x, labels = small()
    rest = {
        "data": x, "players": features(4), "baseline": constant(x[0]), "steps": 2, "samples": 2,
    }  # fmt: skip
    one = bayesian_concepts(model, x[:2], labels=labels, target=1, **rest)
    two = bayesian_concepts(model, x[:2], labels=labels, target=torch.tensor([1, 1]), **rest)
    assert one.curves["bayesian"].tolist() == pytest.approx(two.curves["bayesian"].tolist())
    game = masked(log_odds(model, 1), x[0], features(4), constant(x[0]))
    other = masked(log_odds(model, 1), x[1], features(4), constant(x[0]))
    size = sum(float(and_interaction(g).effects[-1].abs()) for g in (game, other)) / 2
    assert float(one.curves["deterministic"][-1]) == pytest.approx(size)

    numbers = fresh(lambda: MLP((4, 8, 1)).double(), 0)
    found = bayesian_concepts(numbers, x[:1], labels=x.sum(1), **rest)
    score = Score(numbers, lambda output, rows: output[:, 0])
    effects = and_interaction(masked(score, x[0], features(4), constant(x[0]))).effects
    assert float(found.curves["deterministic"][-1]) == pytest.approx(float(effects[-1].abs()))
    with torch.no_grad():
        loss = (numbers(x)[:, 0] - x.sum(1)).square().mean()
    assert found.numbers["loss"] == pytest.approx(float(loss))
    assert math.isnan(found.numbers["slope_low"])  # of one input


def test_a_set_of_backgrounds():
    model, x, labels = small()
    rest = {
        "data": x, "labels": labels, "players": features(4), "steps": 3, "samples": 3,
    }  # fmt: skip
    both = bayesian_concepts(model, x[:1], baseline=x[5:7], **rest)
    games = [
        masked(log_odds(model, int(predicted(model, x[:1]))), x[0], features(4), b) for b in x[5:7]
    ]
    effects = sum(and_interaction(game).effects for game in games) / 2
    assert float(both.curves["deterministic"][-1]) == pytest.approx(float(effects[-1].abs()))
    assert both.numbers["evaluations"] == 16 * 2 * 4


def test_batches_bound_what_a_network_sees():
    model, x, labels = small()
    sizes = []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    bayesian_concepts(
        model, x[:3], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
        steps=2, samples=2, batch_size=7, minibatch=5,
    )  # fmt: skip
    assert max(sizes) == 7
    assert len(model._forward_hooks) == 1


def test_an_error_inside_the_network_leaves_it_as_it_was():
    model, x, labels = small()

    def broken(module, inputs):
        if len(inputs[0]) == 16:
            raise RuntimeError("no more")

    model.register_forward_pre_hook(broken)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="no more"):
        bayesian_concepts(
            model, x[:3], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
            steps=2, samples=2, batch_size=16,
        )  # fmt: skip
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "training of 0 steps"),
        ({"samples": 1}, "samples is 1"),
        ({"labels": torch.zeros(5).long()}, "each with a label"),
        ({"data": torch.zeros(20, 5).double()}, "learns from inputs like x"),
        ({"players": features(3)}, "label positions of shape"),
        ({"deviation": 0.0}, "deviation of a weight"),
        ({"batch_size": 0}, "batch of 0"),
        ({"model": nn.BatchNorm1d(4)}, "batch normalisation in training"),
    ],
)
def test_what_is_refused(change, words):
    model, x, labels = small()
    given = {
        "model": model, "x": x[:2], "data": x, "labels": labels, "players": features(4),
        "baseline": constant(x[0]), "steps": 1,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=words):
        bayesian_concepts(**given)


@pytest.mark.parametrize("exhibit", [zoo.breast_cancer, zoo.digits])
def test_real_networks_give_up_complex_concepts(exhibit):
    made = exhibit()
    x = torch.stack(made.inputs)
    shown = 8 if made.name == "breast_cancer" else 2
    found = bayesian_concepts(
        made.model, x[:shown], data=x[shown:], labels=torch.tensor(made.labels[shown:]),
        players=made.players(0), baseline=made.baseline(0), steps=300, samples=10, weight=0.01,
    )  # fmt: skip
    curves = found.curves
    assert float(curves["ratio"][-3:].nanmean()) < 0.7 * float(curves["ratio"][0])
    assert found.numbers["slope_high"] < 0


@pytest.mark.skipif("beartype" in sys.modules, reason="the types refuse it first")
def test_a_function_is_no_network():
    model, x, labels = small()
    with pytest.raises(TypeError, match=r"Give an nn\.Module"):
        bayesian_concepts(
            lambda rows: model(rows), x, data=x, labels=labels, players=features(4),
            baseline=constant(x[0]), steps=1, 
        )  # fmt: skip
