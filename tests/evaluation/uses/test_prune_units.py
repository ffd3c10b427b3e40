import pytest
import torch
from torch import nn

from exhibits import exhibit
from shortcuts import Largest, digits
from unmask import log_odds
from unmask.evaluation import prune_units
from unmask.evaluation.retrained import parted
from unmask.evaluation.uses.prune_units import Above, unit_importance
from unmask.methods.saliency import input_x_gradient, integrated_gradients
from unmask.results import Attribution


def of_layer(score, h):
    return integrated_gradients(score, h, baseline=torch.zeros_like(h[0]), steps=8)


def planted():
    """Four units: one tells the class, one whispers it, two say much and are not listened to."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Identity(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        first = [[1.0, 0, 0], [0.1, 0, 0], [0, 50, 0], [0, 0, 50]]
        model[0].weight.copy_(torch.tensor(first))
        model[2].weight.copy_(torch.tensor([[1.0, 0.5, 0.0, 0.0]]))
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    return model, x, (x[:, 0] > 0).long()


SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_planted_units():
    model, x, y = planted()
    found = prune_units(
        model, x, labels=y, layer="0", explain=input_x_gradient, shares=SHARES, samples=50
    )
    known = parted(200, torch.Generator().manual_seed(0))[0][:50]
    size = float(x[known, 0].abs().mean())
    expected = [size, 0.05 * size, 0.0, 0.0]  # the score of the class is z or -z
    assert found.curves["importance"].tolist() == pytest.approx(expected, abs=1e-6)
    accuracy = found.curves["accuracy"].tolist()
    assert accuracy[:4] == [1.0] * 4  # the loud units and the whisper can go
    assert accuracy[4] == pytest.approx(0.5, abs=0.2)
    for other in ("output", "weights"):
        # The whisper goes first, then the unit that matters: half of the share in between.
        curve = found.curves[f"accuracy_by_{other}"].tolist()
        assert curve == pytest.approx([1.0, 1.0, *[accuracy[4]] * 3])
    area = (4 * 1.0 - (1 - accuracy[4]) / 2) / 4
    assert found.numbers["area"] == pytest.approx(area)
    other_area = (1.0 + (1 + accuracy[4]) / 2 + 2 * accuracy[4]) / 4
    assert found.numbers["area_by_output"] == pytest.approx(other_area)
    assert found.numbers["gain_over_output"] == pytest.approx(area - other_area)
    assert found.numbers["gain_over_output_low"] > 0
    assert found.numbers["accuracy"] == 1


def slowly(model, layer, x, labels, order, shares):
    """Silence by hand, one setting after another."""
    module = dict(model.named_modules())[layer]
    found = []
    for share in shares:
        gone = order[: int(share * len(order) + 1e-9)]

        def hook(_module, _inputs, output, gone=gone):
            output = output.clone()
            output[:, gone] = 0
            return output

        handle = module.register_forward_hook(hook)
        with torch.no_grad():
            found.append(float((model(x).argmax(1) == labels).double().mean()))
        handle.remove()
    return found


@pytest.mark.parametrize("layer", ["features.3", "classifier.2"])
def test_slow_twin_on_a_real_network(layer):
    model = exhibit("digits").model
    x, y = digits()
    found = prune_units(model, x, labels=y, layer=layer, explain=of_layer, samples=64)
    known, test = parted(len(x), torch.Generator().manual_seed(0))
    known = known[:64]
    module = dict(model.named_modules())[layer]
    outputs = []
    handle = module.register_forward_hook(lambda *call: outputs.append(call[-1]))
    model(x[known])
    handle.remove()
    above = Above(model, x[:1], layer)
    rows = []
    for h, label in zip(outputs[0].detach(), y[known], strict=True):
        said = of_layer(log_odds(above, int(label)), h[None]).values[0].detach()
        rows.append([float(unit.abs().sum()) for unit in said])
    importance = torch.tensor(rows).mean(0)
    assert torch.allclose(found.curves["importance"], importance, rtol=1e-4, atol=1e-5)
    shares = [tenth / 10 for tenth in range(10)]
    order = found.curves["importance"].argsort(stable=True)
    expected = slowly(model, layer, x[test], y[test], order, shares)
    assert found.curves["accuracy"].tolist() == pytest.approx(expected)
    assert found.numbers["gain_over_chance_low"] > 0
    if layer == "features.3":
        assert found.numbers["gain_over_output_low"] > 0
        size = module.weight.detach().abs().flatten(1).sum(1).argsort(stable=True)
        expected = slowly(model, layer, x[test], y[test], size, shares)
        assert found.curves["accuracy_by_weights"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["breast_cancer", "mnist"])
def test_real_networks(name):
    of = exhibit(name)
    x, y = torch.stack(of.inputs), torch.tensor(of.labels)
    layer = {"breast_cancer": "layers.0", "mnist": "features.3"}[name]
    found = prune_units(of.model, x, labels=y, layer=layer, explain=of_layer)
    assert found.numbers["area"] > found.numbers["area_by_chance"]


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(x + self.first(x))


def test_a_way_around_the_layer_is_refused():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Skip()
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 2
    with pytest.raises(ValueError, match=r"'first' alone.* goes around it.* Name a layer"):
        prune_units(model, x, labels=y, layer="first", explain=input_x_gradient)
    found = prune_units(model, x, labels=y, layer="last", explain=input_x_gradient)
    assert len(found.curves["importance"]) == 2


def test_batches_bound_what_the_network_is_given():
    model, x, y = planted()
    large = Largest(model)
    bound = prune_units(
        large, x, labels=y, layer="model.0", explain=input_x_gradient, batch_size=9, shares=SHARES
    )
    assert max(large.seen) == 9
    whole = prune_units(model, x, labels=y, layer="0", explain=input_x_gradient, shares=SHARES)
    assert bound.numbers == pytest.approx(whole.numbers)


def test_half_precision():
    model, x, y = planted()
    found = prune_units(
        model.bfloat16(), x.bfloat16(), labels=y, layer="0", explain=input_x_gradient, shares=SHARES
    )
    assert found.curves["importance"].dtype == torch.float32
    assert found.curves["accuracy"][3] > 0.95


@pytest.mark.parametrize("at", ["explanation", "network"])
def test_an_exception_leaves_no_hook(at):
    model, x, y = planted()

    def fails(score, h):
        if at == "network":
            score(h[:, :2])
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        prune_units(model, x, labels=y, layer="0", explain=fails)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "3"}, "'3' is not in the model.* The nearest"),
        ({"layer": "2"}, r"puts out \(1,\).* no two units.* Name a layer"),
        ({"shares": (0.0,)}, "make no curve.* Give two"),
        ({"shares": (0.5, 0.2)}, "make no curve.* Give two"),
        ({"shares": (0.0, 1.5)}, "make no curve.* Give two"),
        ({"samples": 0}, "0 inputs explain.* Give samples"),
        ({"batch_size": 0}, "batch of 0.* Give at least 1"),
        ({"explain": lambda score, h: Attribution(h[:, :2])}, r"\(140, 2\).* every position"),
    ],
)
def test_bad_input_is_refused(options, said):
    model, x, y = planted()
    settings = {"layer": "0", "explain": input_x_gradient} | options
    with pytest.raises(ValueError, match=said):
        prune_units(model, x, labels=y, **settings)


def test_importance_of_channels_adds_the_sizes_at_their_positions():
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, -1.0, 2.0, 1.0]]))
    x = torch.ones(1, 2, 2)
    found = unit_importance(model, x, x, torch.tensor([1]), "0", input_x_gradient)
    assert found.tolist() == [2.0, 3.0]  # the two positions of the first do not cancel
