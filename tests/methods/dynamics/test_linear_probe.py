import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional

from unmask.methods.dynamics import fit_probe
from unmask.methods.dynamics.linear_probe import LARGEST, features_of, flat, read_by_weights
from unmask.zoo.lenet import LeNet
from unmask.zoo.training import fresh


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_the_fit_is_the_least_of_its_loss(classes, ridge):
    x = 3 * torch.randn(60, 5, generator=seeded()).double() + 2
    labels = torch.arange(60) % classes
    x[:, 0] += labels
    probe = fit_probe(x, labels, ridge=ridge)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    free = 1 if classes == 2 else classes  # of two classes only the difference is fitted

    def objective(flat_):
        weight = torch.tensor(flat_[: free * 5]).view(free, 5)
        logits = z @ weight.T + torch.tensor(flat_[free * 5 :])
        if free == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        return float(functional.cross_entropy(logits, labels) + ridge / 2 * weight.square().sum())

    least = minimize(objective, torch.zeros(free * 6).double().numpy(), tol=1e-10)
    weight = (probe.weight if classes > 2 else probe.weight[1:]) * x.std(0, correction=0)
    bias = (probe.bias if classes > 2 else probe.bias[1:]) + (
        probe.weight if classes > 2 else probe.weight[1:]
    ) @ x.mean(0)
    ours = objective(torch.cat([weight.flatten(), bias]).numpy())
    assert ours == pytest.approx(least.fun, abs=1e-7)
    accuracy = (probe(x).argmax(1) == labels).double().mean()
    assert probe.accuracy == pytest.approx(float(accuracy))


def test_features_that_never_change_are_not_used():
    x = torch.randn(30, 3, generator=seeded())
    x[:, 1] = 7.3
    probe = fit_probe(x, (x[:, 0] > 0).long(), ridge=0.01)
    assert probe.weight[:, 1].tolist() == [0, 0]
    assert probe.weight.isfinite().all()
    assert probe.accuracy > 0.95


def test_large_maps_are_averaged_over_places():
    maps = torch.randn(3, 8, 64, 64, generator=seeded())
    found = flat(maps)
    assert found.shape[1] <= LARGEST
    side = int((LARGEST / 8) ** 0.5)
    expected = functional.adaptive_avg_pool2d(maps, side)
    assert torch.equal(found, expected.flatten(1))
    words = torch.randn(2, 100, 64, generator=seeded())
    assert torch.allclose(flat(words), words.mean(1))
    small = torch.randn(2, 3, 4, 4, generator=seeded())
    assert torch.equal(flat(small), small.flatten(1))
    assert flat(torch.zeros(1, 5000, 2, 2)).shape == (1, 5000)


def test_what_the_weights_of_lenet_read():
    """After each pooling, after flattening and after each rectification."""
    found = read_by_weights(fresh(LeNet, 0), torch.zeros(1, 1, 28, 28))
    assert found == ("features.2", "classifier.0", "classifier.2", "classifier.4")


def test_features_are_those_of_a_pass_whatever_the_batches():
    model = fresh(LeNet, 0)
    data = torch.rand(7, 1, 28, 28, generator=seeded())
    names = ("features.2", "classifier.2")
    expected = [model.features[:3](data).flatten(1), model.classifier[:3](model.features(data))]
    for size in (1, 3, 100):
        found = features_of(model, names, data, size)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-6)
    assert all(not module._forward_hooks for module in model.modules())


def test_no_hook_is_left_when_the_model_breaks_down():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("no more")

    model = nn.Sequential(nn.Linear(2, 2), Broken())
    for run in (
        lambda: features_of(model, ["0"], torch.zeros(3, 2)),
        lambda: read_by_weights(model, torch.zeros(3, 2)),
    ):
        with pytest.raises(RuntimeError, match="no more"):
            run()
        assert all(not module._forward_hooks for module in model.modules())


class Odd(nn.Module):
    """A layer that never runs, and layers that put out no rows of numbers."""

    def __init__(self):
        super().__init__()
        self.idle, self.total = nn.Linear(2, 2), nn.Identity()
        self.places = nn.Identity()

    def forward(self, x):
        self.total(x.sum())
        self.places(x.argmax(1, keepdim=True))
        return x


@pytest.mark.parametrize(
    ("name", "words"),
    [("idle", "does not run"), ("total", "puts out"), ("places", "puts out torch.int64")],
)
def test_layers_without_features_are_refused(name, words):
    with pytest.raises(ValueError, match=words):
        features_of(Odd(), [name], torch.zeros(3, 2))
