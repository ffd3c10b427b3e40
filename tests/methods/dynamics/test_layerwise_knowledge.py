import math
import os
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import features, masked, zoo
from unmask.baselines import constant
from unmask.interactions import and_or
from unmask.methods.dynamics import fit_probe, interaction_flow, layerwise_knowledge
from unmask.score import log_odds, predicted
from unmask.zoo.mlp import MLP
from unmask.zoo.training import fresh

with_data = pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="UNMASK_DATA is not set")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small():
    """A network of two hidden layers, and data that it does not separate."""
    model = fresh(lambda: MLP((4, 8, 6, 3)).double(), 0)
    x = torch.randn(90, 4, generator=seeded(1)).double()
    labels = (x[:, 0] * x[:, 1] + torch.randn(90, generator=seeded(2)) > 0).long()
    labels[:30] = 2
    return model, x, labels


def test_every_layer_is_a_game_of_its_own():
    model, x, labels = small()
    baseline = torch.tensor([0.1, 0.0, -0.2, 0.3]).double()
    found = layerwise_knowledge(
        model, x[:3], data=x, labels=labels, players=features(4), baseline=baseline,
        layers=["layers.1", "layers.3"], tau=0.0, ridge=0.02, precision=1e-8,
    )  # fmt: skip
    classes = predicted(model, x[:3]).tolist()
    parts = model.layers
    terms = []
    for depth in (2, 4, None):
        trunk = parts if depth is None else parts[:depth]
        read = nn.Identity()
        if depth is not None:
            with torch.no_grad():
                hidden = trunk(x)
            probe = fit_probe(hidden, labels, ridge=0.02)
            read = nn.Linear(hidden.shape[1], 3).double()
            with torch.no_grad():
                read.weight.copy_(probe.weight)
                read.bias.copy_(probe.bias)
                named = read(trunk(x)).argmax(1)
            name = f"layers.{depth - 1}"
            accuracy = float((named == labels).double().mean())
            assert found.numbers[f"accuracy {name}"] == pytest.approx(accuracy)
            agreed = float((named[:3] == torch.tensor(classes)).double().mean())
            assert found.numbers[f"agreement {name}"] == pytest.approx(agreed)
        whole = nn.Sequential(trunk, read)
        games = [
            masked(log_odds(whole, y), row, features(4), baseline)
            for row, y in zip(x[:3], classes, strict=True)
        ]
        terms.append([and_or(game, precision=1e-8) for game in games])
        moved = [float((game.table()[-1] - game.table()[0]).abs()) for game in games]
        name = "output" if depth is None else f"layers.{depth - 1}"
        assert found.numbers[f"scale {name}"] == pytest.approx(sum(moved) / 3)
    names = ("layers.1", "layers.3", "output")
    for i, j in ((0, 1), (1, 2)):
        flow = interaction_flow(terms[i], other=terms[j], tau=0.0)
        for part in ("overlap", "forget", "new"):
            curve = found.curves[f"{part} {names[i]} to {names[j]}"]
            assert curve.tolist() == pytest.approx(flow.curves[part].tolist(), abs=1e-5)
    for i in (0, 1):
        flow = interaction_flow(terms[i], other=terms[2], tau=0.0)
        for part in ("completeness", "redundancy"):
            number = found.numbers[f"{part} {names[i]}"]
            assert number == pytest.approx(flow.numbers[part], abs=1e-5)
    for i, name in enumerate(names):
        mass = sum(float(one.effects.abs().sum()) for one in terms[i]) / 3
        assert float(found.curves[f"strength {name}"].sum()) == pytest.approx(mass, abs=1e-5)
    assert found.numbers["accuracy output"] == pytest.approx(
        float((predicted(model, x) == labels).double().mean())
    )
    assert found.numbers["evaluations"] == 3 * 16


def test_layers_that_put_out_the_same_keep_everything():
    _, x, labels = small()
    model = fresh(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Tanh(), nn.Linear(8, 3)), 0
    ).double()
    found = layerwise_knowledge(
        model, x[:4], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
        layers=["0", "1"],
    )  # fmt: skip
    curves = found.curves
    assert curves["overlap 0 to 1"].tolist() == pytest.approx(curves["strength 0"].tolist())
    assert curves["forget 0 to 1"].tolist() == curves["new 0 to 1"].tolist() == [0] * 4
    # The probe of a linear layer is linear in x: nothing but single players, against other classes.
    assert found.numbers["completeness 0"] == found.numbers["completeness 1"]


def converged(width, seed):
    """A network trained as long as it takes, on labels of which one in ten is wrong."""
    generator = seeded(seed)
    x = torch.randn(400, 6, generator=generator).double()
    truth = x[:, 0] * x[:, 1] + x[:, 2].abs() - 0.8 + 0.5 * x[:, 3]
    labels = (truth > 0).long()
    wrong = torch.rand(400, generator=generator) < 0.1
    labels = torch.where(wrong, 1 - labels, labels)
    model = fresh(lambda: MLP((6, 16, width, 2)).double(), seed)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=600, history_size=30, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        decay = sum(p.square().sum() for p in model.parameters())
        value = functional.cross_entropy(model(x), labels) + 2e-3 * decay
        value.backward()
        return value

    optimiser.step(loss)
    model.zero_grad()
    return model, x, labels


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_probe_before_a_linear_head_knows_what_the_output_knows(seed):
    model, x, labels = converged(4, seed)
    found = layerwise_knowledge(
        model, x[:10], data=x, labels=labels, players=features(6), baseline=torch.zeros(6),
        ridge=1e-3,
    )  # fmt: skip
    assert set(found.curves) >= {"strength layers.1", "strength layers.3", "strength output"}
    assert found.numbers["completeness layers.3"] > 0.9
    assert found.numbers["completeness layers.3"] > found.numbers["completeness layers.1"]
    assert found.numbers["agreement layers.3"] == 1


def test_a_layer_that_says_nothing():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.nothing, self.head = nn.Identity(), nn.Linear(4, 2)

        def forward(self, x):
            self.nothing(x * 0 + 1)
            return self.head(x)

    _, x, labels = small()
    model = fresh(Blind, 0).double()
    found = layerwise_knowledge(
        model, x[:3], data=x, labels=labels.clamp(max=1), players=features(4),
        baseline=constant(x[0]), layers=["nothing"],
    )  # fmt: skip
    assert found.curves["strength nothing"].tolist() == [0] * 4
    assert found.numbers["completeness nothing"] == 0
    assert math.isnan(found.numbers["redundancy nothing"])
    assert found.numbers["scale nothing"] == 0


def test_layers_on_one_scale():
    """A head that doubles what the probe reads is no news once both are brought to one scale."""
    model, x, labels = small()
    rest = {
        "data": x, "labels": labels, "players": features(4), "baseline": constant(x[0]),
        "layers": ["layers.3"], "target": 1,
    }  # fmt: skip
    louder = fresh(lambda: MLP((4, 8, 6, 3)).double(), 0)
    with torch.no_grad():
        for p in (louder.layers[2].weight, louder.layers[2].bias):
            p *= 3  # a rectified layer is three times as large, which its probe does not see
    one = layerwise_knowledge(model, x[:3], scaled=True, **rest)
    two = layerwise_knowledge(louder, x[:3], scaled=True, **rest)
    raw = layerwise_knowledge(model, x[:3], **rest)
    strength = "strength layers.3"
    assert two.curves[strength].tolist() == pytest.approx(one.curves[strength].tolist(), rel=1e-3)
    by_hand = raw.curves[strength] / raw.numbers["scale layers.3"]
    assert one.curves[strength].tolist() == pytest.approx(by_hand.tolist(), rel=2e-2)  # two gaps


def test_one_class_for_all_or_one_for_each():
    model, x, labels = small()
    rest = {
        "data": x, "labels": labels, "players": features(4), "baseline": constant(x[0]),
        "layers": ["layers.1"],
    }  # fmt: skip
    all_of_one = layerwise_knowledge(model, x[:2], target=1, **rest)
    each = layerwise_knowledge(model, x[:2], target=torch.tensor([1, 1]), **rest)
    other = layerwise_knowledge(model, x[:2], target=torch.tensor([1, 2]), **rest)
    name = "strength layers.1"
    assert torch.equal(all_of_one.curves[name], each.curves[name])
    assert not torch.allclose(all_of_one.curves[name], other.curves[name])


def test_a_set_of_backgrounds_and_single_inputs():
    model, x, labels = small()
    found = layerwise_knowledge(
        model, x[:1], data=x, labels=labels, players=features(4), baseline=x[3:6], tau=0.0,
        layers=["layers.1"], precision=1e-8,
    )  # fmt: skip
    game = masked(log_odds(model, int(predicted(model, x[:1]))), x[0], features(4), x[3:6])
    mass = float(and_or(game, precision=1e-8).effects.abs().sum())
    assert float(found.curves["strength output"].sum()) == pytest.approx(mass, abs=1e-5)
    assert found.numbers["evaluations"] == 3 * 16
    assert math.isnan(found.numbers["completeness layers.1_low"])


def test_batches_bound_what_the_network_sees():
    model, x, labels = small()
    sizes = []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    layerwise_knowledge(
        model, x[:3], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
        batch_size=7,
    )  # fmt: skip
    assert max(sizes) == 7
    assert len(model._forward_hooks) == 1
    assert all(not module._forward_hooks for module in model.layers)


def test_an_error_inside_the_network_leaves_no_hook():
    model, x, labels = small()
    calls = []

    def broken(module, inputs):
        calls.append(0)
        if len(calls) > 3:
            raise RuntimeError("no more")

    model.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="no more"):
        layerwise_knowledge(
            model, x[:3], data=x, labels=labels, players=features(4), baseline=constant(x[0]),
            batch_size=32, layers=["layers.1"],
        )  # fmt: skip
    assert all(not module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": []}, "Name one at least"),
        ({"layers": ["layers.1", "layers.1"]}, "each once"),
        ({"layers": ["output"]}, "added of itself"),
        ({"layers": ["layers.9"]}, "nearest names"),
        ({"ridge": 0.0}, "ridge above 0"),
        ({"labels": torch.zeros(90).long()}, "data of all classes"),
        ({"labels": torch.full((90,), 0.5)}, "each with a class"),
        ({"labels": torch.zeros(7).long()}, "each with a class"),
        ({"players": features(3)}, "label positions of shape"),
        ({"batch_size": 0}, "batch of 0"),
        ({"tau": -1.0}, "tau is a share"),
    ],
)
def test_what_is_refused(change, words):
    model, x, labels = small()
    given = {
        "model": model, "x": x[:2], "data": x, "labels": labels, "players": features(4),
        "baseline": constant(x[0]), "layers": ["layers.1"],
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=words):
        layerwise_knowledge(**given)


@pytest.mark.parametrize("name", ["breast_cancer", pytest.param("mnist", marks=with_data)])
def test_real_networks_come_nearer_to_their_output(name):
    made = getattr(zoo, name)()
    x, labels = torch.stack(made.inputs), torch.tensor(made.labels)
    shown = 10 if name == "breast_cancer" else 2
    found = layerwise_knowledge(
        made.model, x[:shown], data=x[shown:], labels=labels[shown:], players=made.players(0),
        baseline=made.baseline(0), scaled=True,
    )  # fmt: skip
    layers = [one.removeprefix("accuracy ") for one in found.numbers if one.startswith("accuracy")]
    first, last = layers[0], layers[-2]
    assert found.numbers[f"completeness {last}"] > found.numbers[f"completeness {first}"]
    for one, two in pairwise(layers):
        curves = {part: found.curves[f"{part} {one} to {two}"] for part in ("overlap", "new")}
        total = sum(curves.values()).tolist()
        assert total == pytest.approx(found.curves[f"strength {two}"].tolist())
    assert found.numbers["largest_gap"] <= 1e-2


@pytest.mark.skipif("beartype" in sys.modules, reason="the types refuse it first")
def test_a_function_is_no_network():
    model, x, labels = small()
    with pytest.raises(TypeError, match=r"Give an nn\.Module"):
        layerwise_knowledge(
            lambda rows: model(rows), x, data=x, labels=labels, players=features(4),
            baseline=constant(x[0]), 
        )  # fmt: skip
