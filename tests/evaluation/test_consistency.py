from math import isfinite, isnan

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Attribution, constant, features, log_odds, logit, predicted, zoo
from unmask.evaluation import (
    consistency,
    implementation_invariance,
    neighbour_similarity,
    run_to_run,
)
from unmask.methods.saliency import gradient, input_x_gradient, integrated_gradients, smoothgrad
from unmask.planted import linear_network

ALWAYS = (
    *("neighbour_similarity", "class_similarity", "neighbour_lead"),
    *("max_sensitivity", "local_lipschitz", "surrogate_r2"),
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(rows, columns=4, seed=0):
    return torch.randn(rows, columns, generator=seeded(seed)).double()


def asked(score, x, explain, **options):
    usual = {"data": x, "baseline": torch.zeros_like(x[0]), "players": features(x.shape[1])}
    return consistency(score, x, explain=explain, **(usual | options)).numbers


def test_the_gradient_of_a_linear_model_has_the_best_of_every_line_but_two():
    weights = torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
    network = linear_network(weights).double()
    first, second = nn.Linear(4, 4, bias=False).double(), nn.Linear(4, 1, bias=False).double()
    turn = torch.linalg.qr(cloud(4, 4, seed=1))[0]
    with torch.no_grad():
        first.weight.copy_(turn)
        second.weight.copy_(network[0].weight @ turn.T)
    rewritten = logit(nn.Sequential(first, second), 0)
    x = cloud(40)
    found = asked(logit(network, 0), x, gradient, rewritten=rewritten, runs=[gradient] * 2)
    assert found["neighbour_similarity"] == pytest.approx(1, abs=1e-9)
    assert found["max_sensitivity"] == 0
    assert found["local_lipschitz"] == 0
    assert found["implementation_change"] < 1e-6
    assert found["run_to_run"] == pytest.approx(1, abs=1e-9)
    assert found["neighbour_lead"] == pytest.approx(0, abs=1e-9)
    assert found["surrogate_r2"] < 0.9  # a gradient is no share of a score
    exact = asked(logit(network, 0), x, input_x_gradient)
    assert exact["surrogate_r2"] == pytest.approx(1, abs=1e-9)


def test_of_a_product_the_shapley_values_explain_a_third():
    """Coalition values 0, 0, 0, 6 against 0, 3, 3, 6: 1 - 18/27."""
    score = logit(lambda x: 6 * x[:, :1] * x[:, 1:], 0)
    x = torch.ones(2, 2).double()

    def halves(score, x):
        return Attribution((score(x) / 2)[:, None].expand(-1, 2))

    found = asked(score, x, halves, data=torch.cat([x, cloud(5, 2).abs()]))
    assert found["surrogate_r2"] == pytest.approx(1 / 3, abs=1e-9)
    assert isnan(found["neighbour_similarity"])  # the same of both players ranks none
    assert found["neighbour_similarity_undefined"] == 2
    assert "surrogate_r2_undefined" not in found


def test_chance_is_alike_by_chance_and_unstable():
    x = cloud(60, 30)

    def chance(score, x):
        """Numbers that a hash of the input makes: far apart for inputs that are close."""
        return Attribution(torch.sin(1e7 * x + 1e7 * x.roll(1, 1)))

    found = asked(logit(lambda x: x[:, :1].exp(), 0), x, chance)
    pairs = 60 * 5
    assert abs(found["neighbour_similarity"]) < 3 / pairs**0.5
    assert found["neighbour_lead_low"] < 0 < found["neighbour_lead_high"]
    # Independent vectors of like length are the root of two apart.
    assert 1.2 < found["max_sensitivity"] < 2


def test_each_line_is_what_its_metric_says():
    network = relu_network([4, 8, 3], seed=0, dtype=torch.float64)
    x, data = cloud(6), cloud(30, seed=3)
    score = log_odds(network, predicted(network, x))
    runs = [
        lambda score, x, i=i: smoothgrad(score, x, samples=8, generator=seeded(i)) for i in range(3)
    ]
    rewritten = log_odds(nn.Sequential(network, nn.Identity()), predicted(network, x))
    found = asked(
        score, x, input_x_gradient, data=data, runs=runs, rewritten=rewritten, neighbours=3
    )
    wanted = {
        "neighbour_similarity": neighbour_similarity(
            score, x, data=data, explain=input_x_gradient, neighbours=3
        ),
        "run_to_run": run_to_run(score, x, runs=runs),
        "implementation_change": implementation_invariance(
            score, x, rewritten=rewritten, explain=input_x_gradient
        ),
    }
    for name, rating in wanted.items():
        assert found[name] == pytest.approx(rating.mean, abs=1e-12)
    lead = found["neighbour_similarity"] - found["class_similarity"]
    assert found["neighbour_lead"] == pytest.approx(lead, abs=1e-12)
    assert found["inputs"] == 6
    for name in (*ALWAYS, "run_to_run"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert set(asked(score, x, input_x_gradient, data=data)) == {
        "inputs", *(name + end for name in ALWAYS for end in ("", "_low", "_high"))
    }  # fmt: skip


def test_the_curve_shows_what_more_points_find():
    network = relu_network([4, 8, 3], seed=0, dtype=torch.float64)
    x = cloud(6)
    result = consistency(
        log_odds(network, 1), x, data=x, explain=input_x_gradient, baseline=torch.zeros(4).double(),
        players=features(4), samples=7,
    )  # fmt: skip
    curve = result.curves["max-sensitivity"]
    assert result.curves["points"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (curve.diff() >= 0).all()
    assert float(curve[-1]) == pytest.approx(result.numbers["max_sensitivity"])


def test_of_one_input_no_interval_is_known():
    x = cloud(30)
    found = asked(logit(lambda x: x[:, :1], 0), x[:1], lambda score, x: Attribution(x), data=x)
    assert isnan(found["neighbour_lead_low"])
    assert isfinite(found["neighbour_lead"])


def test_no_more_than_a_batch_is_explained_at_a_time():
    sizes = []

    def explain(score, x):
        sizes.append(len(x))
        return Attribution(x)

    x = cloud(10)
    asked(logit(lambda x: x[:, :1], 0), x, explain, runs=[explain] * 2, batch_size=4)
    assert max(sizes) == 4


def test_broken_questions_are_refused():
    x = cloud(5)
    score = logit(lambda x: x[:, :1], 0)
    with pytest.raises(ValueError, match="there are 1"):
        asked(score, x, gradient, runs=[gradient])
    with pytest.raises(ValueError, match="is another function"):
        asked(score, x, gradient, rewritten=logit(lambda x: 1 + x[:, :1], 0))
    with pytest.raises(ValueError, match="The baseline has shape"):
        asked(score, x, gradient, baseline=torch.zeros(3))
    with pytest.raises(ValueError, match="radius is 0"):
        asked(score, x, gradient, radius=0.0)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_on_real_networks_an_explanation_is_told_from_chance(name):
    """Integrated gradients of 30 inputs, against the same numbers dealt out at random."""
    found = getattr(zoo, name)()
    x = torch.stack(found.inputs[:30])
    score = log_odds(found.model, predicted(found.model, x))
    baseline = constant(x[0]) if name == "digits" else found.baseline(0)
    deal = torch.rand(x[0].numel(), generator=seeded(0)).argsort()

    def paths(score, x):
        return integrated_gradients(score, x, baseline=baseline, steps=8)

    def dealt(score, x):
        values = paths(score, x).values
        return Attribution(values.flatten(1)[:, deal].view_as(values))

    asked = {
        "data": x, "baseline": baseline, "players": found.players(0), "coalitions": 64,
        "samples": 3, "neighbours": 2,
    }  # fmt: skip
    good = consistency(score, x, explain=paths, **asked).numbers
    bad = consistency(score, x, explain=dealt, **asked).numbers
    assert good["neighbour_lead_low"] > 0
    assert good["surrogate_r2"] > bad["surrogate_r2"]
    # What is dealt alike for all is as stable: stability by itself shows nothing.
    assert bad["max_sensitivity"] == pytest.approx(good["max_sensitivity"], rel=1e-4)
    assert bad["neighbour_similarity"] == pytest.approx(good["neighbour_similarity"], abs=1e-3)
