"""The rules of relevance propagation against plain loops, layer by layer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from convolutional import unsettled
from propagated import numbers
from strategies import relu_network, tensors
from unmask import logit
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.rules import InputRule, Rules

BARE = {"epsilon": 0.0}
RULES = {
    "zero": rules.zero(),
    "epsilon": rules.epsilon(0.3),
    "gamma": rules.gamma(0.5, **BARE),
    "alpha2 beta1": rules.alpha_beta(2.0, 1.0, **BARE),
    "alpha1.5 beta0.5": rules.alpha_beta(1.5, 0.5, **BARE),
    "z+": rules.z_plus(**BARE),
    "w^2": rules.w_square(**BARE),
    "flat": rules.flat(**BARE),
    "z^B": rules.box(-9.0, 9.0, **BARE),
}


def of(rule):
    """The rule at every layer, or at the input if it is for that."""
    if isinstance(rule, InputRule):
        return Rules(rules.zero(), rules.zero(), first=rule)
    return Rules(rule, rule)


def plus(v):
    return max(v, 0.0)


def minus(v):
    return min(v, 0.0)


def shares(name, a, w, b):
    """What each input gets of the relevance 1 of one output: the table of rules, in loops."""
    inputs = range(len(a))
    z = sum(a[j] * w[j] for j in inputs) + b

    def of_parts(parts, bias):
        total = sum(parts) + bias
        return [part / total if total else 0.0 for part in parts]

    if name == "zero":
        return of_parts([a[j] * w[j] for j in inputs], b)
    if name == "epsilon":
        return [a[j] * w[j] / (z + (0.3 if z >= 0 else -0.3)) for j in inputs]
    if name == "gamma":
        if z == 0:
            return [0.0 for _ in inputs]
        favoured = plus if z > 0 else minus
        parts = [a[j] * w[j] + 0.5 * favoured(a[j] * w[j]) for j in inputs]
        return of_parts(parts, b + 0.5 * favoured(b))
    if name.startswith("alpha") or name == "z+":
        alpha, beta = {"z+": (1, 0), "alpha2 beta1": (2, 1), "alpha1.5 beta0.5": (1.5, 0.5)}[name]
        up = of_parts([plus(a[j] * w[j]) for j in inputs], plus(b))
        down = of_parts([minus(a[j] * w[j]) for j in inputs], minus(b))
        return [alpha * up[j] - beta * down[j] for j in inputs]
    if name == "w^2":
        return of_parts([w[j] ** 2 for j in inputs], 0)
    if name == "flat":
        return of_parts([1.0 for _ in inputs], 0)
    return of_parts([a[j] * w[j] + 9 * plus(w[j]) - 9 * minus(w[j]) for j in inputs], 0)


def slow(layers, x, names, target):
    """Relevance of one input; layers are (weights, bias), with a ReLU between."""
    activations = [x.tolist()]
    for i, (weight, bias) in enumerate(layers):
        z = [
            sum(a * w for a, w in zip(activations[-1], row, strict=True)) + b
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        activations.append(z if i == len(layers) - 1 else [max(v, 0.0) for v in z])
    relevance = [v if k == target else 0.0 for k, v in enumerate(activations[-1])]
    for (weight, bias), a, name in zip(layers[::-1], activations[-2::-1], names[::-1], strict=True):
        below = [0.0] * len(a)
        for row, b, r in zip(weight.tolist(), bias.tolist(), relevance, strict=True):
            if r:
                for j, share in enumerate(shares(name, a, row, b)):
                    below[j] += share * r
        relevance = below
    return torch.tensor(relevance, dtype=torch.float64)


def dense(layer, shape):
    """The matrix and the bias of an affine layer on flat inputs."""
    size = int(torch.tensor(shape).prod())
    with torch.no_grad():
        bias = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = layer(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1)
    return (columns - bias).T, bias


def neuron(bias=0.0):
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -1.0]]))
        model.bias.fill_(bias)
    return model


def shared(rule, x, bias=0.0, **options):
    """The relevance of a neuron of output 1."""
    model, x = neuron(bias), torch.tensor([x]).double()
    found = lrp(logit(model, 0), x, rules=of(rule), **options).values[0] / model(x).detach()
    return found.flatten().tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.zero(), (3, -2)),
        (rules.epsilon(0.0), (3, -2)),
        (rules.epsilon(1.0), (1.5, -1)),
        (rules.gamma(1.0, **BARE), (1.5, -0.5)),
        (rules.gamma(0.25, **BARE), (15 / 7, -8 / 7)),
        (rules.alpha_beta(2.0, 1.0, **BARE), (2, -1)),
        (rules.alpha_beta(1.0, 0.0, **BARE), (1, 0)),
        (rules.z_plus(**BARE), (1, 0)),
        (rules.w_square(**BARE), (0.9, 0.1)),
        (rules.flat(**BARE), (0.5, 0.5)),
        (rules.box(0.0, 3.0, **BARE), (0.75, 0.25)),
    ],
)
def test_one_neuron(rule, expected):
    assert shared(rule, (1, 2)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rule", "x", "bias", "expected"),
    [
        (rules.zero(), (1, 2), 1, (1.5, -1)),
        (rules.zero(zero_bias=True), (1, 2), 1, (3, -2)),
        (rules.epsilon(1.0, zero_bias=True), (1, 2), 1, (1.5, -1)),
        (rules.alpha_beta(2.0, 1.0, **BARE), (1, 2), 1, (1.5, -1)),
        (rules.alpha_beta(2.0, 1.0, **BARE), (2, 2), -1, (2, -2 / 3)),
        (rules.alpha_beta(2.0, 1.0, **BARE, zero_bias=True), (2, 2), -1, (2, -1)),
        (rules.gamma(1.0, **BARE), (1, -2), 0, (0.6, 0.4)),
        (rules.gamma(1.0, epsilon=1.0), (1, 2), 0, (1.2, -0.4)),
        (rules.gamma(1.0, epsilon=1.0), (-1, -2), 0, (1.2, -0.4)),
        (rules.alpha_beta(2.0, 1.0, epsilon=1.0), (1, 2), 0, (1.5, -2 / 3)),
        (rules.z_plus(**BARE), (-1, 2), 0, (0, 0)),
        (rules.alpha_beta(2.0, 1.0, **BARE), (-1, 2), 0, (-0.6, -0.4)),
        (rules.alpha_beta(2.0, 1.0, **BARE, renormalise=True), (-1, 2), 0, (0.6, 0.4)),
        (rules.alpha_beta(2.0, 1.0, **BARE, renormalise=True), (1, -2), 0, (0.6, 0.4)),
        (rules.alpha_beta(2.0, 1.0, **BARE, renormalise=True), (1, 2), 0, (2, -1)),
    ],
)
def test_one_neuron_with_a_bias_or_a_sign(rule, x, bias, expected):
    assert shared(rule, x, float(bias)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.zero(), (6, -1)),
        (rules.z_plus(**BARE), (4, 1)),
        (rules.gamma(0.25, **BARE), (16 / 3, -1 / 3)),
        (rules.alpha_beta(2.0, 1.0, **BARE), (16, 0)),  # more than there is: the known trap
        (rules.alpha_beta(2.0, 1.0, **BARE, renormalise=True), (6, -1)),
    ],
)
def test_two_layers(rule, expected):
    first, last = nn.Linear(2, 2, bias=False).double(), nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        last.weight.copy_(torch.tensor([[1.0, 2.0]]))
    model = nn.Sequential(first, nn.ReLU(), last)
    found = lrp(logit(model, 0), torch.tensor([[2.0, 1.0]]).double(), rules=of(rule))
    assert found.values[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert float(found.gap) == pytest.approx(5 - sum(expected), abs=1e-12)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), x=tensors(2, 4), which=st.integers(0, 2))
@pytest.mark.parametrize("name", RULES)
def test_perceptrons_follow_the_table_of_rules(name, seed, x, which):
    model = relu_network([4, 6, 5, 3], seed)
    found = lrp(logit(model, which), x, rules=of(RULES[name]))
    layers = [(m.weight, m.bias) for m in model if isinstance(m, nn.Linear)]
    first = isinstance(RULES[name], InputRule)
    names = [name, "zero", "zero"] if first else [name] * 3
    for row, values in zip(x, found.values, strict=True):
        expected = slow(layers, row, names, which)
        assert torch.allclose(values, expected, rtol=1e-7, atol=1e-9 * (1 + expected.abs().max()))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=2),
        lambda: nn.Conv2d(2, 3, 2, dilation=2),
        lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2),
    ],
    ids=["grouped", "dilated", "transposed"],
)
def test_convolutions_are_large_dense_layers(layer, name, signed):
    torch.manual_seed(0)
    shape = (2, 4, 4)
    layer = layer().double()
    head = nn.Linear(dense(layer, shape)[0].shape[0], 2).double()
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), head)
    x = torch.randn(2, *shape).double() if signed else torch.rand(2, *shape).double()
    found = lrp(logit(model, 1), x, rules=of(RULES[name])).values
    first = isinstance(RULES[name], InputRule)
    names = [name, "zero"] if first else [name, name]
    for row, values in zip(x, found, strict=True):
        matrix, bias = dense(layer, shape)
        if name == "flat":  # to the inputs in the window, not to all of the picture
            matrix = (matrix != 0).double()
            z = layer(row[None]).flatten().detach()
            expected = _flat(matrix, head, z)
        else:
            expected = slow([(matrix, bias), (head.weight, head.bias)], row.flatten(), names, 1)
        assert torch.allclose(values.flatten(), expected, rtol=1e-7, atol=1e-9)


def _flat(window, head, z):
    with torch.no_grad():
        above = head.weight[1] * z.clamp(min=0)  # by the rule zero the bias takes what is its own
        return (window / window.sum(1, keepdim=True) * above[:, None]).sum(0)


def _by_hand(layer, norm):
    """One layer that does what a layer and a batch normalisation do."""
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight, groups = layer.weight, getattr(layer, "groups", 1)
        if isinstance(layer, nn.ConvTranspose2d):
            per_output = scale.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
            weight.mul_(per_output[:, :, None, None])
        else:
            weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter((bias - norm.running_mean) * scale + norm.bias)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (lambda b: nn.Conv2d(2, 4, 3, groups=2, bias=b), nn.BatchNorm2d, (2, 5, 5)),
        (lambda b: nn.ConvTranspose2d(4, 6, 3, groups=2, bias=b), nn.BatchNorm2d, (4, 3, 3)),
        (lambda b: nn.Linear(7, 4, bias=b), nn.BatchNorm1d, (7,)),
    ],
    ids=["convolution", "transposed", "dense"],
)
def test_batch_normalisation_is_merged_into_the_layer_before_it(layer, norm, shape, name, bias):
    torch.manual_seed(0)
    x = torch.randn(3, *shape).double()
    layer = layer(bias).double()
    norm = unsettled(norm(layer(x).shape[1])).double().eval()
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
    apart = nn.Sequential(layer, norm, head)
    apart(x)
    found = lrp(logit(apart, 2), x, rules=of(RULES[name]))
    merged = nn.Sequential(_by_hand(layer, norm), head)
    expected = lrp(logit(merged, 2), x, rules=of(RULES[name]))
    assert torch.allclose(found.values, expected.values, rtol=1e-9, atol=1e-10)
    assert torch.allclose(found.gap, expected.gap, atol=1e-9)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), x=tensors(2, 4))
@pytest.mark.parametrize(
    "rule",
    [
        rules.zero(zero_bias=True),
        rules.gamma(0.25, **BARE, zero_bias=True),
        rules.alpha_beta(2.0, 1.0, **BARE, zero_bias=True, renormalise=True),
    ],
    ids=["zero", "gamma", "alpha-beta"],
)
def test_nothing_is_lost_where_biases_take_nothing(rule, seed, x):
    model = relu_network([4, 6, 5, 3], seed)
    with torch.no_grad():
        for layer in model[::2]:  # or a unit may be alive without any contribution to share by
            layer.bias.mul_(1e-6)
    x = x + 0.1 * (x == 0)
    found = lrp(logit(model, 0), x, rules=of(rule))
    size = 1 + found.values.abs().amax(1)
    assert (found.gap.abs() <= 1e-6 * size).all()


def test_wrong_rules_are_refused():
    for make, words in (
        (lambda: rules.alpha_beta(2.0, 0.5), r"alpha = 1 \+ beta"),
        (lambda: rules.alpha_beta(0.0, -1.0), "beta of 0 or more"),
        (lambda: rules.epsilon(-1e-3), "Give 0 or more"),
        (lambda: rules.gamma(-1.0), "Give 0 or more"),
        (lambda: rules.box(1.0, 0.0), "lowest value first"),
        (lambda: rules.box(torch.zeros(2), torch.tensor([1.0, -1.0])), "lowest value first"),
        (lambda: shared(rules.box(0.0, 1.0), (0.5, 2)), r"x is 2 there.*1 such"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


@pytest.mark.parametrize("boxed", [False, True])
def test_layers_that_do_not_fit_into_a_cache(boxed):
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 4, 3, padding=1, bias=False).double()
    x = numbers(5, 1, 120, 120).sigmoid()  # two inputs at a time, and one that is left over
    first = rules.box(0.0, 1.0, epsilon=0.0) if boxed else None
    chosen = Rules(rules.z_plus(epsilon=0.0), rules.zero(), first)
    found = lrp(logit(lambda x: layer(x).relu().sum((2, 3)), 1), x, rules=chosen)
    w = layer.weight.detach()[1:2]
    terms = [(x, w.clamp(min=0)), (x - 1, w.clamp(max=0))][: 2 if boxed else 1]
    total = sum(functional.conv2d(u, v, padding=1) for u, v in terms)
    share = (functional.conv2d(x, w, padding=1).relu() / total).nan_to_num()  # 0 / 0 in corners
    expected = sum(u * functional.conv_transpose2d(share, v, padding=1) for u, v in terms)
    assert torch.allclose(found.values, expected, rtol=1e-9, atol=1e-12)
