import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from exhibits import exhibit
from strategies import relu_network
from unmask import log_odds, logit, predicted
from unmask.methods.features import deconvnet, guided_backprop
from unmask.methods.saliency import gradient

BOTH = pytest.mark.parametrize("method", [guided_backprop, deconvnet])
RULES = {
    guided_backprop: lambda z, s: s * (z > 0) * (s > 0),
    deconvnet: lambda z, s: s * (s > 0),
}


@BOTH
def test_a_unit_that_lowers_is_not_followed(method):
    score = logit(lambda x: functional.relu(x[:, 0]) - functional.relu(x[:, 1]), 0)
    x = torch.ones(1, 2)
    assert method(score, x).values.tolist() == [[1, 0]]
    assert gradient(score, x).values.tolist() == [[1, -1]]


def test_only_the_deconvolution_passes_what_is_shut():
    score = logit(lambda x: x.relu().sum(1), 0)
    x = torch.tensor([[-1.0, 1.0]])
    assert gradient(score, x).values.tolist() == [[0, 1]]
    assert guided_backprop(score, x).values.tolist() == [[0, 1]]
    assert deconvnet(score, x).values.tolist() == [[1, 1]]


@BOTH
def test_the_slow_twin_agrees(method):
    """The way back in plain matrices."""
    model = relu_network([4, 9, 8, 3], seed=2)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    first, second, third = (model[i] for i in (0, 2, 4))
    for row, found in zip(x, method(logit(model, 1), x).values, strict=True):
        z1 = first.weight @ row + first.bias
        z2 = second.weight @ z1.clamp_min(0) + second.bias
        s = RULES[method](z2, third.weight[1])
        s = RULES[method](z1, second.weight.T @ s)
        assert torch.allclose(found, first.weight.T @ s, atol=1e-12)


class Spelled(nn.Module):
    """The same network with its ReLU as a module, a function, a method, in place and reused."""

    def __init__(self, spelling):
        super().__init__()
        self.spelling = spelling
        self.relu = nn.ReLU(inplace=True)
        self.layers = nn.ModuleList(relu_network([4, 9, 8, 3], seed=2)[i] for i in (0, 2, 4))

    def forward(self, x):
        for layer in self.layers[:2]:
            x = layer(x)
            if self.spelling == "in place, and only there":
                x.relu_()
            else:
                x = SPELLINGS[self.spelling](self, x)
        return self.layers[2](x)


SPELLINGS = {
    "reused module in place": lambda self, x: self.relu(x),
    "function": lambda self, x: functional.relu(x),
    "function in place": lambda self, x: functional.relu(x, inplace=True),
    "torch": lambda self, x: torch.relu(x),
    "method": lambda self, x: x.relu(),
    "in place, and only there": None,
}


@BOTH
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_relu_is_met(method, spelling):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    expected = method(logit(relu_network([4, 9, 8, 3], seed=2), 1), x).values
    found = method(logit(Spelled(spelling), 1), x).values
    assert torch.equal(found, expected)
    assert not torch.allclose(found, gradient(logit(Spelled(spelling), 1), x).values)


@BOTH
def test_without_a_relu_it_is_the_gradient_and_says_so(method):
    score = logit(lambda x: x @ torch.tensor([[1.0], [-2.0]]), 0)
    with pytest.warns(UserWarning, match=r"no ReLU on the way .* Use gradient"):
        assert method(score, torch.ones(1, 2)).values.tolist() == [[1, -2]]


@BOTH
@pytest.mark.parametrize("kink", [nn.GELU, nn.Tanh, nn.LeakyReLU])
def test_other_activations_are_refused_by_their_place(method, kink):
    model = relu_network([4, 9, 3], seed=2, kink=kink)
    with pytest.raises(TypeError, match=r"runs '\w+' in '1'\. Use gradient"):
        method(logit(model, 1), torch.ones(2, 4).double())
    assert torch.relu(torch.tensor(-1.0)) == 0  # nothing stays replaced
    assert all(p.requires_grad for p in model.parameters())


@BOTH
@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_real_networks_hide_what_lowers(method, name):
    shown = exhibit(name)
    x = torch.stack(shown.inputs[:3])
    score = log_odds(shown.model, predicted(shown.model, x))
    found = method(score, x).values
    assert found.shape == x.shape
    assert found.abs().flatten(1).sum(1).min() > 0
    assert not torch.allclose(found, gradient(score, x).values)


@pytest.mark.oracle
@BOTH
def test_captum_agrees(method):
    captum = pytest.importorskip("captum.attr")
    model = exhibit("digits").model
    x = torch.stack(exhibit("digits").inputs[:8])
    y = predicted(model, x)
    theirs = captum.GuidedBackprop if method is guided_backprop else captum.Deconvolution
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(model).attribute(x, target=y)
    assert torch.allclose(method(logit(model, y), x).values, expected, atol=1e-6)
