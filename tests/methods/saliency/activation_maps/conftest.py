"""Networks that activation maps are drawn of."""

import os
import sys
import types

import pytest
import torch
from torch import nn


@pytest.fixture
def camnet():
    """Two channels relu(x) and relu(-x), their means, and a matrix; all can be done by hand."""
    conv, matrix = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        matrix.weight.copy_(torch.tensor([[1.0, -0.5], [-1.0, 2.0]]))
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), matrix)


@pytest.fixture
def image():
    return torch.tensor([[[[1.0, 2.0], [-1.0, -3.0]]]])


@pytest.fixture
def convnet():
    """A maker of networks of random weights; layer 4 is the last with positions, 6 x 5 of them.

    On top a mean and a matrix (which `cam` reads), or a hidden layer over all positions.
    """

    def make(seed, *, hidden=False, size=1.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            top = (
                (nn.Flatten(), nn.Linear(5 * 30, 8), nn.ReLU(), nn.Linear(8, 3))
                if hidden
                else (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
            )
            network = nn.Sequential(
                *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
                *(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace=True), *top),
            ).double()
        with torch.no_grad():
            network[-1].weight *= size
        return network.eval()

    return make


@pytest.fixture
def images():
    return torch.randn(3, 2, 12, 10, generator=torch.Generator().manual_seed(3)).double()


@pytest.fixture
def real_data():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")


@pytest.fixture
def peer(monkeypatch):
    """pytorch_grad_cam; an empty torchvision stands in for the parts that are not used here."""
    names = ("", ".models", ".models.resnet", ".transforms", ".transforms.functional", ".ops")
    empty = {f"torchvision{name}": types.ModuleType(f"torchvision{name}") for name in names}
    transforms = empty["torchvision.transforms"]
    for name in ("Compose", "Normalize", "ToTensor"):
        setattr(transforms, name, object)
    empty["torchvision.transforms.functional"].resize = None
    for name, module in empty.items():
        monkeypatch.setitem(sys.modules, name, module)
    yield pytest.importorskip("pytorch_grad_cam")
    for name in [name for name in sys.modules if name.startswith("pytorch_grad_cam")]:
        del sys.modules[name]
