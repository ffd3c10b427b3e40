"""How relevance passes between the layers of weights, and from the first of them to x."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from propagated import COMPOSITES, holds, numbers
from unmask import Score, logit
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.rules import Rules

# Between the layers


def relevance_of(function, u):
    """The relevance that a function of numbers hands to them, each output having its own value."""
    return lrp(Score(function, lambda output, rows: output.flatten(1).sum(1)), u)


@pytest.mark.parametrize(
    "curve",
    [
        functional.gelu,
        functional.silu,
        torch.tanh,
        functional.softplus,
        functional.relu6,
        functional.hardswish,
        torch.exp,
        lambda u: functional.leaky_relu(u, 0.2),
        functional.elu,
        lambda u: u**3,
        lambda u: 1 / u,
        torch.reciprocal,
        lambda u: functional.hardtanh(u.clone(), -1, 1, inplace=True),
    ],
)
def test_activations_pass_relevance_on_unchanged(curve):
    u = 4 * numbers(2, 5)
    found = relevance_of(curve, u)
    assert torch.allclose(found.values, curve(u), rtol=1e-12)
    assert (found.gap.abs() < 1e-12).all()


def test_an_activation_at_zero_gets_nothing():
    u = torch.zeros(1, 2).double()
    for curve in (torch.tanh, torch.exp, functional.gelu):
        assert torch.equal(relevance_of(curve, u).values, u)


def test_factors_share_alike():
    x = torch.tensor([[2.0, 3.0]]).double()
    for product in (
        lambda x: x[:, :1] * x[:, 1:],
        lambda x: torch.einsum("bi,bj->bij", x[:, :1], x[:, 1:]),
        lambda x: x[:, None, :1] @ x[:, 1:, None],
        lambda x: torch.addcmul(torch.zeros(1, 1).double(), x[:, :1], x[:, 1:]),
        lambda x: torch.baddbmm(
            torch.ones(1, 1, 1).double(), x[:, None, :1], x[:, 1:, None], beta=0
        ),
        lambda x: functional.linear(x[:, :1], x[0, 1:, None]),
        lambda x: x[:, :1].clone().mul_(x[:, 1:]),
    ):
        assert relevance_of(product, x).values.tolist() == [[3.0, 3.0]]
    assert relevance_of(lambda x: x * x, x).values.tolist() == [[4.0, 9.0]]
    three = relevance_of(lambda x: torch.einsum("bi,bi,bi->b", x, x, x)[:, None], x)
    assert three.values.tolist() == [[8.0, 27.0]]


def test_a_quotient_is_its_numerators():
    x = torch.tensor([[2.0, 4.0]]).double()
    for quotient in (
        lambda x: x[:, :1] / x[:, 1:],
        lambda x: torch.div(x[:, :1], other=x[:, 1:]),
        lambda x: x[:, :1].clone().div_(x[:, 1:]),
        lambda x: torch.addcdiv(torch.zeros(1, 1).double(), x[:, :1], x[:, 1:]),
    ):
        assert relevance_of(quotient, x).values.tolist() == [[0.5, 0.0]]


def test_what_a_normalisation_divides_by_is_a_constant():
    x = numbers(2, 4, 6)
    weight, bias = numbers(6, seed=1), numbers(6, seed=2)
    for normalise in (
        lambda x: functional.rms_norm(x, (6,), weight, 1e-3),
        lambda x: weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)),
        lambda x: functional.normalize(x, dim=-1),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
        lambda x: x / (x.var(-1, keepdim=True) + 1e-3).sqrt(),
        lambda x: functional.local_response_norm(x, 2),
    ):
        found = relevance_of(normalise, x)
        assert torch.allclose(found.values, normalise(x), rtol=1e-10)

    def centred(x):
        size = x.var(-1, unbiased=False, keepdim=True).add(1e-5).sqrt()
        return weight * (x - x.mean(-1, keepdim=True)) / size

    whole = relevance_of(centred, x)
    layer = relevance_of(lambda x: functional.layer_norm(x, (6,), weight, bias), x)
    assert torch.allclose(layer.values, whole.values, atol=1e-12)
    assert (whole.gap.abs() < 1e-12).all()  # a mean is a sum like any other
    assert torch.allclose(layer.gap, 4 * bias.sum(), atol=1e-10)
    for grouped in (
        lambda x: functional.group_norm(x, 4),
        lambda x: functional.instance_norm(x),
        lambda x: (x - x.mean(-1, keepdim=True)) / x.std(-1, unbiased=False, keepdim=True),
    ):
        expected = relevance_of(lambda x: functional.layer_norm(x, (6,)), x).values
        assert torch.allclose(relevance_of(grouped, x).values, expected, atol=1e-4)  # eps: 1e-5


def test_batch_normalisation_by_itself():
    torch.manual_seed(0)
    norm, last = nn.BatchNorm1d(3).double(), nn.Linear(3, 1).double()
    norm.running_var.copy_(torch.tensor([0.5, 2.0, 1.0]))
    nn.init.normal_(norm.bias)
    x = numbers(2, 3)
    alone = nn.Sequential(nn.Linear(3, 3).double(), nn.Tanh(), norm, last).eval()
    z = alone[:2](x).detach()
    y, total = norm(z).detach(), alone(x).detach()
    y_relevance = y * last.weight / total * total
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = y_relevance * (z * scale / y)
    found = lrp(Score(nn.Sequential(norm, last).eval(), lambda o, rows: o[:, 0]), z)
    # What reads the input is how the input is prepared: the bias takes its part, without epsilon.
    assert torch.allclose(found.values, expected.detach(), rtol=1e-4)  # of the last layer: 1e-6
    holds(alone, x, target=0)
    # What a ReLU wrote over is no longer what the layer put out, and is not merged with it.
    relus = (nn.ReLU(), nn.ReLU(inplace=True))
    models = [nn.Sequential(alone[0], relu, norm, last).eval() for relu in relus]
    found = [lrp(logit(model, 0), x, rules=COMPOSITES["gamma"]).values for model in models]
    assert torch.equal(*found)


@pytest.mark.parametrize("weights", [True, False])
def test_attention_is_the_same_fused_and_written_out(weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()

    class Attention(nn.Module):
        def forward(self, x):
            return layer(x, x, x, need_weights=weights)[0].mean(1)

    def out(x):
        q, k, v = functional.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (q, k, v))
        mixed = (q @ k.mT / 2).softmax(-1) @ v
        return layer.out_proj(mixed.transpose(1, 2).flatten(2)).mean(1)

    x = numbers(2, 5, 8)
    expected = lrp(logit(out, 0), x).values
    assert torch.allclose(lrp(logit(Attention(), 0), x).values, expected, rtol=1e-6, atol=1e-9)


# The input


def test_the_rule_of_the_input_reaches_through_how_it_is_prepared():
    torch.manual_seed(0)
    layer, mean, size = nn.Conv2d(3, 4, 3).double(), 0.4, torch.tensor([0.2, 0.5, -2.0]).double()
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LazyLinear(2).double())

    def prepared(x):
        return functional.pad((x.flip(1) - mean) / size[:, None, None], (1, 0, 0, 1))

    model = nn.Sequential(layer, head)
    x = numbers(2, 3, 6, 6).sigmoid()
    x[:, :, 0] = 0
    model(prepared(x))
    low, high = prepared(torch.zeros_like(x)), prepared(torch.ones_like(x))
    bounds = torch.minimum(low, high), torch.maximum(low, high)
    for inner, outer in (
        (rules.flat(), rules.flat()),
        (rules.w_square(), rules.w_square()),
        (rules.box(*bounds), rules.box(0.0, 1.0)),
    ):
        expected = lrp(
            logit(model, 0), prepared(x), rules=Rules(rules.gamma(), rules.epsilon(), inner)
        )
        found = lrp(
            logit(lambda x: model(prepared(x)), 0),
            x,
            rules=Rules(rules.gamma(), rules.epsilon(), outer),
        )
        inside = expected.values[:, :, :-1, 1:].flip(1)
        assert torch.allclose(found.values, inside, rtol=1e-6, atol=1e-9)
        assert found.values[:, :, 0].abs().max() > 0  # black pixels count
        assert torch.equal(
            found.values,
            lrp(
                logit(lambda x: model(prepared(x)), 0),
                x,
                batch_size=1,
                rules=Rules(rules.gamma(), rules.epsilon(), outer),
            ).values,
        )


def test_copies_of_a_pixel_are_added_up_and_routes_beside_the_first_layer_count():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 2, 1, bias=False).double()
    x = numbers(1, 1, 2, 2)

    def model(x):
        return layer(x.expand(-1, 3, -1, -1)).relu().mean((2, 3)) + 5 * x.mean((2, 3))

    found = lrp(logit(model, 0), x, rules=Rules(rules.zero(), rules.zero(), rules.w_square()))
    expected = layer(x.expand(-1, 3, -1, -1)).relu()[:, 0] / 4 + 5 * x[:, 0] / 4
    assert torch.allclose(found.values[:, 0], expected.detach(), atol=1e-6)


def test_a_route_beside_the_first_layer_may_share_how_the_input_is_prepared():
    torch.manual_seed(0)
    layer, size = nn.Conv2d(1, 2, 1, bias=False).double(), numbers(2, 2, seed=1)
    x = numbers(1, 1, 2, 2)
    chosen = Rules(rules.zero(), rules.zero(), rules.w_square(epsilon=0.0))

    def model(x):
        ready = x * size
        return layer(ready).relu().mean((2, 3)) + 5 * ready.mean((2, 3))

    found = lrp(logit(model, 0), x, rules=chosen)
    expected = layer(x * size).relu()[:, 0] / 4 + 5 * (x * size)[:, 0] / 4
    assert torch.allclose(found.values[:, 0], expected.detach(), atol=1e-6)


def test_only_what_reads_the_input_is_first():
    torch.manual_seed(0)
    left, right = nn.Linear(2, 3).double(), nn.Linear(2, 3).double()
    last = nn.Linear(3, 1).double()
    x = numbers(2, 2)
    chosen = Rules(rules.zero(), rules.zero(), rules.flat(epsilon=0.0))
    found = lrp(logit(lambda x: last(left(x).relu() + right(x.abs())), 0), x, rules=chosen)
    kept = last.weight * (left(x).relu() + right(x))
    total = (last.weight * (left(x).relu() + right(x.abs()))).sum(1, keepdim=True)
    assert kept.shape == (2, 3)
    assert torch.allclose(found.values, (total / 2).expand(2, 2).detach(), atol=1e-9)


def test_layers_have_rules_by_name():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)
    ).double()
    x = numbers(2, 4).abs()
    plus, base = rules.z_plus(), rules.epsilon()

    def by(**named):
        named = {name.replace("_", "."): rule for name, rule in named.items()}
        return lrp(logit(model, 0), x, rules=Rules(base, base, named=named)).values

    whole = {"0": plus, "2": plus}
    all_plus = lrp(logit(model, 0), x, rules=Rules(plus, plus)).values
    named = lrp(logit(model, 0), x, rules=Rules(base, base, named=whole)).values
    assert torch.equal(named, all_plus)
    inner = lrp(logit(model, 0), x, rules=Rules(base, base, named={"0": plus, "0.2": base})).values
    only = lrp(logit(model, 0), x, rules=Rules(base, base, named={"0.0": plus})).values
    assert torch.equal(inner, only)
    assert not torch.equal(inner, named)
    flat = lrp(logit(model, 0), x, rules=Rules(base, base, named={"0.0": rules.flat()})).values
    assert torch.allclose(flat, flat[:, :1].expand(2, 4), rtol=1e-6)
