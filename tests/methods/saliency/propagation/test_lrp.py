"""Relevance propagation through whole networks; the rules are in test_rules.py."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convolutional import vgg
from propagated import COMPOSITES, ZERO, holds, numbers
from strategies import networks, relu_network, tensors
from unmask import log_odds, logit
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.rules import Rules
from unmask.operations import UnsupportedLayer

each_composite = pytest.mark.parametrize("chosen", COMPOSITES.values(), ids=COMPOSITES)


def times_gradient(score, x):
    point = x.detach().requires_grad_()
    return x * torch.autograd.grad(score(point).sum(), point)[0]


# Without biases


@settings(max_examples=15)
@given(model=networks(), x=tensors(3, 4), which=st.integers(0, 2))
def test_without_biases_and_epsilon_it_is_the_input_times_the_gradient(model, x, which):
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    score = logit(model, which)
    found = lrp(score, x, rules=Rules(rules.epsilon(1e-12), rules.epsilon(1e-12)))
    assert torch.allclose(found.values, times_gradient(score, x), rtol=1e-8, atol=1e-8)
    assert (found.gap.abs() <= 1e-8).all()


def test_a_deep_network_without_biases_keeps_all_of_its_score():
    model, x = vgg(dtype=torch.float64), numbers(2, 3, 32, 32)
    for layer in model:
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    score = logit(model, 3)
    plus = Rules(rules.z_plus(epsilon=0.0), rules.zero())
    for chosen in (ZERO, plus):
        found = lrp(score, x, rules=chosen)
        assert (found.gap.abs() <= 1e-10 * score(x).abs()).all()
    expected = times_gradient(score, x)
    assert torch.allclose(lrp(score, x, rules=ZERO).values, expected, atol=1e-14)


# One network, written in many ways


class Blocks(nn.Module):
    """Convolutions with a shortcut and two things side by side, written in one of several ways."""

    def __init__(self, style):
        super().__init__()
        self.style = style
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(8, 3)
        self.relu = nn.ReLU(inplace=style == "inplace")
        self.norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
        self.norm.running_var.copy_(torch.tensor([0.5, 1.5, 2.0, 1.0]))

    def forward(self, x):
        if self.style == "modules":
            a = self.relu(self.one(x))
            b = self.relu(self.norm(self.two(a)) + a)
            pooled = nn.Flatten()(nn.AdaptiveAvgPool2d(1)(torch.cat([a, b], 1)))
            return self.last(pooled)
        if self.style == "inplace":
            a = self.relu(self.one(x))
            b = self.norm(self.two(a))
            b += a
            self.relu(b)
            return self.last(torch.cat((a, b), dim=1).mean((-1, -2)))
        a = functional.conv2d(x, self.one.weight, self.one.bias, padding=1).clamp(min=0)
        b = functional.conv2d(a, self.two.weight, self.two.bias, padding=1)
        norm = self.norm
        b = functional.batch_norm(b, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        b = torch.relu(torch.add(a, b))
        joined = torch.empty_like(torch.cat([a, a], 1))
        joined[:, :4], joined[:, 4:] = a, b
        pooled = joined.sum((2, 3)).div(joined[0, 0].numel())
        return torch.addmm(self.last.bias, pooled, self.last.weight.T)


@pytest.mark.parametrize("name", ["zero", "epsilon", "alpha2-beta1", "gamma", "box"])
def test_the_way_a_network_is_written_does_not_matter(name):
    torch.manual_seed(0)
    plain = Blocks("modules").double().eval()
    x = numbers(2, 2, 6, 6)
    expected = holds(plain, x, COMPOSITES[name])
    for style in ("inplace", "functions"):
        other = Blocks(style).double().eval()
        other.load_state_dict(plain.state_dict())
        found = holds(other, x, COMPOSITES[name])
        assert torch.allclose(found.values, expected.values, rtol=1e-9, atol=1e-15)


def test_a_product_with_a_constant_is_a_layer():
    layer, x = nn.Linear(4, 3).double(), numbers(2, 4)
    w = layer.weight.detach()
    for dense in (rules.zero(), rules.epsilon(1e-9), rules.z_plus(epsilon=0.0)):
        chosen = Rules(rules.zero(), dense)
        nn.init.zeros_(layer.bias)
        expected = lrp(logit(layer, 1), x, rules=chosen).values
        for model in (
            lambda x: x @ w.T,
            lambda x: (w @ x.T).T,
            lambda x: torch.einsum("bi,oi->bo", x, w),
            lambda x: torch.mm(x, w.T) + 1,
            lambda x: torch.bmm(x[None], w.T[None])[0],
        ):
            found = lrp(logit(model, 1), x, rules=chosen).values
            assert torch.allclose(found, expected, rtol=1e-6)


def test_a_layer_that_is_used_twice_has_its_rule_twice():
    torch.manual_seed(0)
    shared, relu, last = nn.Linear(4, 4).double(), nn.ReLU(inplace=True), nn.Linear(4, 3).double()
    once = nn.Sequential(shared, relu, shared, relu, last)
    twice = nn.Sequential(shared, nn.ReLU(), copy.deepcopy(shared), nn.ReLU(), last)
    x = numbers(3, 4)
    for chosen in (rules.EPSILON, Rules(rules.gamma(), rules.gamma())):
        expected = lrp(logit(twice, 0), x, rules=chosen).values
        assert torch.equal(lrp(logit(once, 0), x, rules=chosen).values, expected)


def test_a_network_in_a_closure_is_the_same_network():
    model, x = vgg(normalised=True, dtype=torch.float64), numbers(2, 3, 32, 32)
    for chosen in (rules.EPSILON_PLUS, rules.epsilon_gamma_box(-5.0, 5.0)):
        expected = lrp(logit(model, 1), x, rules=chosen).values
        found = lrp(logit(lambda x: model(x), 1), x, rules=chosen).values
        assert torch.equal(found, expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


# Batches, types, traces


def test_each_input_has_its_own_class_and_batches_change_nothing():
    model, x = vgg(normalised=True, dtype=torch.float64), numbers(5, 3, 32, 32)
    target, sizes = torch.tensor([1, 7, 3, 0, 9]), []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    for chosen in (rules.EPSILON_PLUS, rules.epsilon_gamma_box(-5.0, 5.0)):
        whole = lrp(log_odds(model, target), x, rules=chosen)
        sizes.clear()
        parts = lrp(log_odds(model, target), x, rules=chosen, batch_size=2)
        assert sizes == [2, 2, 1]
        assert torch.allclose(parts.values, whole.values, rtol=1e-9, atol=1e-15)
        assert torch.allclose(parts.gap, whole.gap, rtol=1e-9, atol=1e-12)
        for i in range(5):
            alone = lrp(log_odds(model, int(target[i])), x[i : i + 1], rules=chosen)
            assert torch.allclose(alone.values[0], whole.values[i], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each_composite
def test_half_precision_is_near_to_single(chosen, dtype):
    model, x = relu_network([4, 16, 16, 3], 0, torch.float32), numbers(2, 4).float()
    expected = lrp(logit(model, 0), x, rules=chosen)
    found = lrp(logit(copy.deepcopy(model).to(dtype), 0), x.to(dtype), rules=chosen)
    assert found.values.dtype == dtype
    size = expected.values.abs().max()
    tolerance = 100 * torch.finfo(dtype).eps  # a few layers of small sums
    assert (found.values.float() - expected.values).abs().max() <= tolerance * size


def test_nothing_is_left_behind_by_a_model_that_fails():
    model = relu_network([4, 8, 3], seed=0)

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            self.model(x)
            raise RuntimeError("out of paper")

    x = numbers(2, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="out of paper"):
        lrp(logit(Fails(), 0), x)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert type(model(x).grad_fn).__name__ == "AddmmBackward0"  # and no mode is on
    with torch.no_grad():
        lrp(logit(model, 0), x)
    assert x.grad is None


# What is refused


def test_operations_without_a_rule_are_named_with_their_layer():
    class Fourier(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x).real

    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Fourier()))
    with pytest.raises(UnsupportedLayer, match=r"'fft_rfft', met in the layer '1\.0'.*affine"):
        lrp(logit(model, 0), torch.ones(1, 4))


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        (Rules(rules.zero(), rules.zero(), named={"3": rules.zero()}), ValueError, "not in the"),
        (Rules(rules.zero(), rules.zero(), named={"1": rules.zero()}), ValueError, "no layer of w"),
        (Rules(rules.zero(), rules.zero(), named={"2": rules.flat()}), ValueError, "is for inputs"),
        (rules.epsilon_gamma_box(0.0, 0.5), ValueError, r"from 0 to 0\.5 at index \(0, 0\).*is 1"),
        (rules.epsilon_gamma_box(torch.zeros(3), torch.ones(3)), ValueError, "does not fit inputs"),
    ],
)
def test_wrong_choices_of_rules_are_refused(chosen, error, words):
    model = relu_network([4, 8, 3], seed=0)
    with pytest.raises(error, match=words):
        lrp(logit(model, 0), torch.ones(2, 4).double(), rules=chosen)


def test_wrong_calls_are_refused():
    model, x = relu_network([4, 8, 3], seed=0), torch.ones(2, 4).double()
    named = Rules(rules.zero(), rules.zero(), named={"0": rules.zero()})
    with pytest.raises(TypeError, match="has layers"):
        lrp(logit(lambda x: model(x), 0), x, rules=named)
    with pytest.raises(ValueError, match="Give at least 1"):
        lrp(logit(model, 0), x, batch_size=0)
    with pytest.raises(ValueError, match="one class per input"):
        lrp(logit(model, torch.tensor([0, 1, 2])), x)
    with pytest.raises(ValueError, match="does not depend on x"):
        lrp(logit(lambda x: torch.ones(len(x), 1), 0), x)
    with pytest.raises(ValueError, match=r"training mode.*eval"):
        lrp(logit(nn.Sequential(nn.BatchNorm1d(4).double()), 0), x)
    mean, size = torch.zeros(4).double(), torch.ones(4).double()
    with pytest.raises(ValueError, match=r"training mode.*eval"):
        lrp(logit(lambda x: functional.batch_norm(x, mean, size, training=True), 0), x)
    with pytest.raises(ValueError, match=r"not finite.*epsilon"):
        lrp(logit(lambda x: (x - 1).log(), 0), x)

    def overwrites(x):
        a = x * 2
        b = model[0](a)
        a += 1
        return b

    with pytest.raises(ValueError, match="writes over the input"):
        lrp(logit(overwrites, 0), x, rules=Rules(rules.gamma(), rules.gamma()))
