import math

import pytest
import torch
from torch import nn

from unmask import constant, features, log_odds, logit, masked, patches, predicted, zoo
from unmask.evaluation import (
    deletion,
    exactness,
    faithfulness_correlation,
    insertion,
    logic_fidelity,
    on_trial,
    surrogate_r2,
)
from unmask.methods.saliency import (
    gradient,
    input_x_gradient,
    integrated_gradients,
    shapley_exact,
)
from unmask.planted import linear_network, planted_networks
from unmask.results import Attribution

WEIGHTS = torch.tensor([2.0, -1.0, 0.0, 3.0, 0.5], dtype=torch.float64)
BASELINE = torch.tensor([0.5, 0.0, -0.5, 1.0, 2.0], dtype=torch.float64)
LINEAR = logit(linear_network(WEIGHTS), 0)
RANKED = ("deletion", "insertion", "faithfulness_correlation", "sensitivity_n")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(rows=6):
    return BASELINE + torch.randn(rows, 5, generator=seeded(4)).double()


def path(score, x):
    return integrated_gradients(score, x, baseline=BASELINE)


def shapley(score, x):
    games = [
        masked(score.at(torch.tensor([i])), one, features(5), BASELINE) for i, one in enumerate(x)
    ]
    values = torch.cat([shapley_exact(game).values for game in games]).double()
    with torch.no_grad():
        gap = score(x) - score(BASELINE.expand_as(x)) - values.sum(1)
    return Attribution(values, gap)


def rated(explain, x=None, score=LINEAR, **options):
    given = {"baseline": BASELINE, "players": features(5)} | options
    return exactness(score, inputs() if x is None else x, explain=explain, **given)


@pytest.mark.parametrize("explain", [path, shapley], ids=["integrated gradients", "Shapley"])
def test_complete_methods_are_exact_on_a_linear_model(explain):
    found = rated(explain).numbers
    assert found["quantitative"] == 1
    assert found["completeness_gap"] < 1e-6
    assert found["truth_error"] < 1e-6
    assert found["truth_rank"] == pytest.approx(1)
    for name in ("faithfulness_correlation", "sensitivity_n", "surrogate_r2"):
        assert found[name] == pytest.approx(1, abs=1e-6)
    assert found["contribution_fidelity"] == pytest.approx(1, abs=1e-6)
    assert found["removal_infidelity"] == pytest.approx(0, abs=1e-9)


def test_a_gradient_is_not_quantitative():
    found = rated(gradient).numbers
    assert found["quantitative"] == 0
    assert found["completeness_gap"] > 0.1
    assert "truth_error" not in found  # it promises no sum, so that no truth is its own


def test_what_promises_a_sum_and_breaks_it_is_not_quantitative():
    def promising(score, x):
        return Attribution(path(score, x).values * 1.5, gap=torch.zeros(len(x)))

    found = rated(promising).numbers
    assert found["quantitative"] == 0
    assert found["completeness_gap"] == pytest.approx(0.5)
    assert found["truth_error"] == pytest.approx(0.5)
    assert found["truth_rank"] == pytest.approx(1)
    assert rated(promising, tolerance=0.6).numbers["quantitative"] == 1


def test_the_numbers_are_means_of_the_metrics():
    x, score = inputs(), log_odds(_network(), 1)
    found = rated(input_x_gradient, x, score, samples=40, largest=0).numbers
    attribution = Attribution(input_x_gradient(score, x).values)
    trial = on_trial(score, x, features(5), BASELINE)
    assert found["deletion"] == pytest.approx(deletion(trial, attribution, normalized=False).mean)
    assert found["insertion"] == pytest.approx(insertion(trial, attribution, normalized=False).mean)
    # Of five players there are no more sets than samples, so that nothing is left to chance.
    rho = faithfulness_correlation(trial, attribution, samples=40)
    assert found["faithfulness_correlation"] == pytest.approx(rho.mean)
    assert found["surrogate_r2"] == pytest.approx(surrogate_r2(trial, attribution, samples=40).mean)
    assert "logic_fidelity" not in found
    told = rated(input_x_gradient, x[:2], score, logic=True).numbers["logic_fidelity"]
    attribution = Attribution(attribution.values[:2])
    trial = on_trial(score, x[:2], features(5), BASELINE)
    assert told == pytest.approx(logic_fidelity(trial, attribution).mean)


def test_from_a_table_it_is_the_same():
    score = log_odds(_network(), 1)
    table, asked = (rated(input_x_gradient, score=score, largest=n).numbers for n in (5, 4))
    assert set(asked) < set(table)
    for name, value in asked.items():
        assert table[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_the_shapley_values_are_the_truth_of_what_adds_up():
    for network in planted_networks(8, seeded(5)):
        score = logit(network.network, 0)
        x = network.x[None].repeat(2, 1)

        def off(score, x, network=network):
            moved = network.shapley + torch.tensor([0.3, -0.3] + [0.0] * 6)
            return Attribution(moved.expand_as(x), gap=torch.zeros(len(x)))

        given = {"baseline": network.baseline, "players": features(8)}
        found = exactness(score, x, explain=off, **given).numbers
        size = network.shapley.abs().sum().item()
        assert found["truth_error"] == pytest.approx(0.6 / size, abs=1e-7), network.kind
        true = Attribution(network.shapley[None].repeat(2, 1))
        told = exactness(score, x, explain=off, truth=true, **given).numbers
        assert told["truth_error"] == pytest.approx(0.6 / size, abs=1e-7)


def test_a_truth_that_is_given_is_everyones():
    truth = Attribution(WEIGHTS.expand(6, -1))
    found = rated(gradient, truth=truth).numbers
    assert found["truth_error"] == pytest.approx(0, abs=1e-12)
    assert found["quantitative"] == 0
    nothing = rated(gradient, truth=Attribution(torch.zeros(6, 5))).numbers
    assert math.isnan(nothing["truth_error"])
    assert math.isnan(nothing["truth_rank"])


def test_the_truth_leads_the_references_and_noise_does_not():
    x, score = inputs(40), log_odds(_network(), 1)
    good = rated(shapley, x, score).numbers
    for name in RANKED:
        assert good[f"{name}_lead_low"] > 0, name

    def noise(score, x):
        return Attribution(torch.rand(x.shape, generator=seeded(9)).double())

    bad = rated(noise, x, score).numbers
    for name in RANKED:
        assert bad[f"{name}_lead_low"] < 0, name
        better = -1 if name == "deletion" else 1
        assert better * good[name] > better * bad[name]
        assert better * good[name] > better * good[f"random_{name}"]


def test_the_lead_is_over_the_best_of_the_references():
    found = rated(input_x_gradient, inputs(20), log_odds(_network(), 1)).numbers
    for name in RANKED:
        better = -1 if name == "deletion" else 1
        best = max(better * found[f"{other}_{name}"] for other in ("random", "difference"))
        worst = min(better * found[f"{other}_{name}"] for other in ("random", "difference"))
        assert best - worst > 1e-4, name
        assert found[f"{name}_lead"] == pytest.approx(better * found[name] - best), name


def test_images_stand_beside_their_edges():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    x = torch.rand(4, 1, 8, 8, generator=seeded())
    found = exactness(
        log_odds(model, 1),
        x,
        explain=input_x_gradient,
        baseline=constant(x[0]),
        players=patches((1, 8, 8), (4, 4)),
    )
    for name in RANKED:
        assert f"edges_{name}" in found.numbers
        assert f"difference_{name}_low" in found.numbers
    assert found.curves["removed"].tolist() == [i / 16 for i in range(17)]
    assert found.panels["deletion"] == ("removed", "deletion_curve", "random_deletion_curve")


def test_the_model_is_asked_once_for_all_of_few_players():
    asked = []

    def counted(x):
        asked.append(len(x))
        return x @ WEIGHTS[:, None]

    def zero(score, x):
        return Attribution(x - BASELINE)

    rated(zero, score=logit(counted, 0))
    assert sum(asked) == 6 * 2**5


def test_one_input_has_numbers_and_no_intervals():
    found = rated(path, inputs(1)).numbers
    assert found["truth_error"] < 1e-6
    assert math.isnan(found["truth_error_low"])


def test_a_constant_model_has_no_deletion():
    flat = logit(linear_network(torch.zeros(5, dtype=torch.float64), 1.0), 0)
    found = rated(path, score=flat).numbers
    assert math.isnan(found["deletion"])  # nor does the path rank anything
    assert math.isnan(found["faithfulness_correlation"])
    assert found["completeness_gap"] == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="All masks of 21 players"):
        rated(path, largest=21)
    with pytest.raises(ValueError, match=r"tolerance of -1\.0"):
        rated(path, tolerance=-1.0)
    with pytest.raises(TypeError, match=r"The explanation is a Tensor|Type-check"):
        rated(lambda score, x: x)
    with pytest.raises(ValueError, match="The explanation must be finite"):
        rated(lambda score, x: Attribution(x * torch.nan))
    with pytest.raises(ValueError, match=r"attribution has shape \(6, 3\)"):
        rated(lambda score, x: Attribution(x[:, :3]))


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_real_networks(name):
    exhibit = getattr(zoo, name)()
    x = torch.stack(exhibit.inputs[:8])
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    baseline = exhibit.baseline(0)

    def explain(score, x):
        return integrated_gradients(score, x, baseline=baseline, steps=128)

    found = exactness(
        score, x, explain=explain, baseline=baseline, players=exhibit.players(0), samples=50
    ).numbers
    assert found["quantitative"] > 0.9
    for metric in RANKED:
        better = -1 if metric == "deletion" else 1
        assert better * found[metric] > better * found[f"random_{metric}"], metric


def _network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))
    return model.double().eval()


def test_columns_named_after_the_players_are_theirs_whatever_their_order():
    weights = torch.tensor([4.0, 2.0, 1.0])
    players = features(list("abc"), groups={"z": ["c"]})  # z, a, b
    numbers = [
        exactness(
            logit(linear_network(weights), 0),
            torch.ones(2, 3),
            explain=lambda score, x, one=one: one,
            baseline=torch.zeros(3),
            players=players,
            truth=Attribution(weights.expand(2, 3)),
        ).numbers["truth_error"]
        for one in (
            Attribution(weights.expand(2, 3)),
            Attribution(torch.tensor([1.0, 4.0, 2.0]).expand(2, 3), names=players.names),
        )
    ]
    assert numbers == [0, 0]
