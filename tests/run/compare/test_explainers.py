"""Explain functions of the whole catalogue: what fits, what is left out and why, what it costs."""

import pytest
import torch
from torch import nn

from supplies import SCENES
from unmask import constant, features, log_odds, logit, masked, predicted
from unmask.methods.saliency import input_x_gradient, integrated_gradients, shapley_exact
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.run.compare import Supplies, explainers
from unmask.run.compare.explainers import pooled

WEIGHTS = torch.tensor([4.0, 3.0, 2.0, 1.0])


@pytest.fixture
def line():
    """A linear network, whose attributions are known: w (x - baseline)."""
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0], [2.0, 1.0, -1.0, 0.25], [0.5, 0.5, 1.5, -1.0]])
    return logit(linear_network(WEIGHTS), 0), x, Supplies(torch.zeros(4), features(4))


def scene(name):
    """A network with inputs of one kind."""
    of = SCENES[name](torch.float32, 3)
    supplies = Supplies(of["baseline"], of["players"], of["data"], of["labels"])
    return log_odds(of["model"], predicted(of["model"], of["x"])), of["x"], supplies


@pytest.mark.parametrize(
    "name",
    [
        *("integrated_gradients", "input_x_gradient", "shapley_exact", "kernel_shap", "deeplift"),
        *("lrp", "ablation", "inclusion", "occlusion", "permutation_shapley", "dasp", "idgi"),
    ],
)
def test_on_a_linear_network_they_say_what_is_known(line, name):
    score, x, supplies = line
    values = explainers(score, x, supplies, names=[name]).explain[name](score, x).values
    values = values.to(x)  # games are summed in float64
    if name == "idgi":  # shares by squared gradients, so that only the sum is known
        torch.testing.assert_close(values.sum(1), (WEIGHTS * x).sum(1))
    else:
        torch.testing.assert_close(values, WEIGHTS * x)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("gradient", 1 + 2),  # forward, and twice as much back
        ("ablation", 4 + 1),  # all, and each player hidden alone
        ("shapley_exact", 2**4),
        ("integrated_gradients", 64 * 3 + 2),  # nodes, and both ends of the line for the gap
    ],
)
def test_the_passes_of_one_input_are_counted(line, name, passes):
    score, x, supplies = line
    assert explainers(score, x, supplies, names=[name]).passes == {name: passes}


def test_a_model_without_gradients_leaves_out_what_needs_them(line):
    _, x, supplies = line

    def machine(x):
        return torch.tensor((x.detach().numpy() @ WEIGHTS.numpy())[:, None])

    lineup = explainers(logit(machine, 0), x, supplies)
    assert {"shapley_exact", "ablation", "occlusion"} <= set(lineup.explain)
    assert {"integrated_gradients", "gradient", "lrp", "deeplift"} <= set(lineup.left_out)
    assert not set(lineup.explain) & set(lineup.left_out)
    made = lineup.explain["shapley_exact"](logit(machine, 0), x)
    torch.testing.assert_close(made.values.to(x), WEIGHTS * x)


def test_whoever_is_left_out_says_why(line):
    score, x, supplies = line
    left_out = explainers(score, x, supplies).left_out
    assert "explains pictures" in left_out["grad_cam"]
    assert "explains sequences" in left_out["attention_rollout"]
    assert "set of data as a whole" in left_out["permutation_importance"]
    assert "'data', a batch of inputs to learn from" in left_out["qii"]
    assert "one [nodes width] at a time" in left_out["gnn_explainer"]
    many = Supplies(torch.zeros(1, 13), features(13))
    wide = logit(linear_network(torch.ones(13)), 0)
    left_out = explainers(wide, torch.ones(1, 13), many, names=["shapley_exact"]).left_out
    assert "all coalitions of 13 players" in left_out["shapley_exact"]


def test_data_let_more_methods_in(line):
    score, x, supplies = line
    data = torch.cat([x, -x])
    with_data = Supplies(supplies.baseline, supplies.players, data=data)
    names = ["qii", "feature_omission"]
    assert set(explainers(score, x, with_data, names=names).explain) == set(names)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("batch channels height width", {"grad_cam", "occlusion", "blur_integrated_gradients"}),
        ("batch tokens width", {"lrp_rnn", "shapley_exact", "gradient"}),
        ("", {"qii", "kernel_shap", "lrp"}),
    ],
)
def test_every_kind_of_input_has_its_methods(kind, wanted):
    score, x, supplies = scene(kind)
    lineup = explainers(score, x, supplies, names=sorted(wanted))
    assert set(lineup.explain) == wanted, lineup.left_out
    for name, explain in lineup.explain.items():
        values = pooled(score, x, explain(score, x), supplies.players, supplies.baseline)
        assert values.shape == (len(x), len(supplies.players.names)), name
        assert values.isfinite().all()


@pytest.mark.parametrize("name", ["kernel_shap", "smoothgrad", "qii", "rise"])
def test_the_same_call_draws_the_same_numbers(name):
    score, x, supplies = scene("batch channels height width" if name == "rise" else "")
    explain = explainers(score, x, supplies, names=[name]).explain[name]
    assert torch.equal(explain(score, x).values, explain(score, x).values)


def test_they_explain_other_weights_and_other_rows(line):
    score, x, supplies = line
    names = ["integrated_gradients", "shapley_exact"]
    lineup = explainers(score, x, supplies, names=names)
    other, rows = logit(linear_network(torch.tensor([1.0, 0.0, -5.0, 2.0])), 0), -2 * x[:2]
    for name in names:
        made = lineup.explain[name](other, rows).values.to(x)
        torch.testing.assert_close(made, torch.tensor([1.0, 0.0, -5.0, 2.0]) * rows)


def test_every_input_has_the_class_of_its_own():
    of = SCENES[""](torch.float32, 4)
    model, x = of["model"], of["x"]
    classes = torch.tensor([2, 0, 1, 2])
    supplies = Supplies(constant(x[0]), of["players"])
    lineup = explainers(log_odds(model, classes), x, supplies, names=["shapley_exact", "gradient"])
    made = lineup.explain["shapley_exact"](log_odds(model, classes), x)
    assert made.gap is not None
    for i, target in enumerate(classes.tolist()):
        game = masked(log_odds(model, target), x[i], of["players"], supplies.baseline)
        torch.testing.assert_close(made.values[i : i + 1], shapley_exact(game).values)
        alone = lineup.explain["gradient"](log_odds(model, target), x[i : i + 1]).values
        both = lineup.explain["gradient"](log_odds(model, classes), x).values
        torch.testing.assert_close(both[i : i + 1], alone)


def test_maps_are_added_up_for_each_player():
    x = torch.arange(8.0).view(2, 4)
    players = features(4, {"ab": (0, 1), "cd": (2, 3)})
    score = logit(linear_network(torch.ones(4)), 0)
    found = pooled(score, x, input_x_gradient(score, x), players, torch.zeros(4))
    assert found.tolist() == [[1.0, 5.0], [9.0, 13.0]]


def test_a_coarse_map_is_shared_out_evenly():
    score, x, supplies = scene("batch channels height width")
    fine = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    expected = fine.view(3, 2, 6, 2, 6).sum((2, 4)).flatten(1)  # four patches
    for values in (fine, fine[:, 0], fine.expand(-1, 2, -1, -1) / 2):
        found = pooled(score, x, Attribution(values), supplies.players, supplies.baseline)
        torch.testing.assert_close(found, expected)
    score, x, supplies = scene("batch tokens width")
    told = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    found = pooled(score, x, Attribution(told), supplies.players, supplies.baseline)
    torch.testing.assert_close(found, told)
    with pytest.raises(ValueError, match=r"attribution has shape \(3, 7\)"):
        pooled(score, x, Attribution(torch.ones(3, 7)), supplies.players, supplies.baseline)


def test_the_model_is_left_as_it_was():
    score, x, supplies = scene("batch channels height width")
    model = score.model
    assert isinstance(model, nn.Module)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    explainers(score, x, supplies, names=["grad_cam", "gradient", "occlusion", "cam", "lrp"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_an_unknown_name_is_told_its_neighbours(line):
    score, x, supplies = line
    with pytest.raises(ValueError, match=r"no method 'integrated_gradient'.*integrated_gradients"):
        explainers(score, x, supplies, names=["integrated_gradient"])


def test_a_method_that_fails_on_one_input_is_tried_on_the_next(line):
    _, x, supplies = line
    inner = linear_network(WEIGHTS)

    def touchy(x):
        if (x[:, 0] == 1).any():
            raise RuntimeError("one is too much")
        return inner(x)

    lineup = explainers(logit(touchy, 0), x, supplies, names=["ablation"])
    assert set(lineup.explain) == {"ablation"}
    always = explainers(logit(touchy, 0), x[:1], supplies, names=["ablation"])
    assert always.left_out == {"ablation": "RuntimeError: one is too much"}


def test_the_catalogue_agrees_with_the_function_itself(line):
    score, x, supplies = line
    made = explainers(score, x, supplies, names=["integrated_gradients"])
    direct = integrated_gradients(score, x, baseline=supplies.baseline)
    assert torch.equal(made.explain["integrated_gradients"](score, x).values, direct.values)
