"""The closed forms, against the methods themselves."""

from math import comb

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import features, logit, masked
from unmask.interactions import ALLOCATIONS, TaylorEffects, principles, shared_out, taylor_effects
from unmask.methods.saliency import (
    deeplift,
    deeplift_reveal_cancel,
    expected_gradients,
    grad_cam,
    input_x_gradient,
    integrated_gradients,
    lrp,
    occlusion,
    shapley_exact,
)
from unmask.methods.saliency.propagation.rules import (
    Rules,
    alpha_beta,
    epsilon,
    z_plus,
)
from unmask.planted import Polynomial, linear_network

F = Polynomial({(1, 0, 0): 2.0, (0, 2, 0): 1.0, (1, 1, 0): 3.0, (2, 1, 1): 1.0})
X = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)
BACKGROUNDS = torch.tensor([[0.0, 0, 0], [0, 1, 1]], dtype=torch.float64)
Z = torch.tensor([[1.0, 4.0, -3.0]], dtype=torch.float64)
EPSILON = Rules(epsilon(1e-12, zero_bias=True), epsilon(1e-12, zero_bias=True))
ALPHA = Rules(alpha_beta(epsilon=1e-12, zero_bias=True), alpha_beta(epsilon=1e-12, zero_bias=True))
PLUS = Rules(z_plus(epsilon=1e-12, zero_bias=True), z_plus(epsilon=1e-12, zero_bias=True))


def expanded(x=X, baseline=ZERO, f=F, degree=4):
    return taylor_effects(logit(f, 0), x, baseline=baseline, degree=degree)


def closed(name, effects=None, **options):
    return shared_out(effects or expanded(), ALLOCATIONS[name], **options).values[0]


def averaged(name):
    return sum(closed(name, expanded(baseline=b)) for b in BACKGROUNDS) / 2


# The whole network: the numbers of the specification, and the methods run on the polynomial.


@pytest.mark.parametrize(
    ("name", "expected", "method"),
    [
        ("shapley", [7, 9, 2], lambda: shapley_exact(masked(logit(F, 0), X[0], features(3), ZERO))),
        (
            "integrated_gradients",
            [8, 8.5, 1.5],
            lambda: integrated_gradients(logit(F, 0), X, baseline=ZERO, steps=2),
        ),
        ("gradient_x_input", [20, 20, 6], lambda: input_x_gradient(logit(F, 0), X)),
        (
            "occlusion",
            [14, 16, 6],
            lambda: occlusion(logit(F, 0), X, baseline=ZERO, window=1),
        ),
    ],
)
def test_methods_of_the_whole_network(name, expected, method):
    assert closed(name).tolist() == pytest.approx(expected, abs=1e-12)
    assert method().values[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_occlusion_by_patches():
    found = closed("occlusion_patch", patches=torch.tensor([0, 1, 1]))
    assert found.tolist() == [14, 16, 16]
    score = logit(F, 0)
    whole = score(X) - score(torch.tensor([[1.0, 0, 0]]).double())
    assert float(found[1]) == float(whole)


def test_methods_over_baselines():
    assert averaged("expected_gradients").tolist() == pytest.approx([9.25, 83 / 12, 4 / 3])
    assert averaged("prediction_difference").tolist() == pytest.approx([14, 12.5, 5])
    method = integrated_gradients(logit(F, 0), X, baseline=BACKGROUNDS, steps=2)
    assert method.values[0].tolist() == pytest.approx([9.25, 83 / 12, 4 / 3])
    assert float(averaged("expected_gradients").sum()) == pytest.approx(17.5)
    drawn = expected_gradients(
        logit(F, 0), X, baseline=BACKGROUNDS, samples=4096, generator=torch.Generator()
    )
    assert drawn.errors is not None
    far = (drawn.values[0] - averaged("expected_gradients")).abs() / drawn.errors[0]
    assert (far < 4).all()
    score = logit(F, 0)
    for i in range(3):
        hidden = X.repeat(2, 1)
        hidden[:, i] = BACKGROUNDS[:, i]
        lost = float((score(X) - score(hidden)).mean())
        assert float(averaged("prediction_difference")[i]) == pytest.approx(lost)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_polynomials_at_random(seed):
    generator = torch.Generator().manual_seed(seed)
    degrees = torch.randint(0, 3, (6, 3), generator=generator)
    weights = torch.randn(6, generator=generator)
    f = Polynomial(
        {tuple(k): w for k, w in zip(degrees.tolist(), weights.tolist(), strict=True)}
        | {(1, 1, 1): 1.0}
    )
    x = torch.randn(1, 3, generator=generator).double()
    b = torch.randn(3, generator=generator).double()
    effects = expanded(x, b, f, degree=6)
    score = logit(f, 0)
    for name, values in {
        "integrated_gradients": integrated_gradients(score, x, baseline=b, steps=4).values,
        "occlusion": occlusion(score, x, baseline=b, window=1).values,
        "shapley": shapley_exact(masked(score, x[0], features(3), b)).values,
    }.items():
        assert torch.allclose(closed(name, effects), values[0], rtol=1e-9, atol=1e-9), name


# One module, y = sigma(c + sum of z).


class Power(nn.Module):
    """c + the sum of z, raised to a power by products, whose chords and rules are known."""

    def __init__(self, degree, c, kink=None):
        super().__init__()
        self.sum = nn.Linear(3, 1).double()
        nn.init.ones_(self.sum.weight)
        nn.init.constant_(self.sum.bias, c)
        self.degree, self.kink = degree, kink

    def forward(self, z):
        total = self.sum(z)
        return self.kink(total) if self.kink else total**self.degree


def module_effects(degree, c, z):
    """sigma^(d)(c) / kappa! times z^kappa, written down for sigma = Z^degree."""
    words = torch.cartesian_prod(*[torch.arange(degree + 1)] * 3).tolist()
    kappas = [k for k in words if sum(k) <= degree]
    effects = []
    for kappa in kappas:
        d, many = sum(kappa), 1
        for left, k in zip((d, d - kappa[0], kappa[2]), kappa, strict=True):
            many *= comb(left, k)
        value = comb(degree, d) * c ** (degree - d) * many
        for at, k in zip(z[0].tolist(), kappa, strict=True):
            value *= at**k
        effects.append(value)
    phi = torch.tensor([effects], dtype=torch.float64)
    return TaylorEffects(torch.tensor(kappas), phi, z, torch.zeros(1).double())


MODULES = {
    "square": (Power(2, 0.0), {
        "deeplift_rescale": (2, 8, -6), "deeplift_reveal_cancel": (2, 8, -6),
        "deep_shap": (2, 8, -6), "lrp_epsilon": (2, 8, -6),
        "lrp_alpha_beta": (1.6, 6.4, -4), "deep_taylor": (0.8, 3.2, 0),
    }),
    "relu": (Power(1, 0.0, nn.ReLU()), {
        "deeplift_rescale": (1, 4, -3), "deeplift_reveal_cancel": (0.7, 2.8, -1.5),
        "deep_shap": (5 / 6, 17 / 6, -5 / 3), "lrp_epsilon": (1, 4, -3),
        "lrp_alpha_beta": (0.8, 3.2, -2), "deep_taylor": (0.4, 1.6, 0),
    }),
    "relu of Z + 1": (Power(1, 1.0, nn.ReLU()), {
        "deeplift_rescale": (1, 4, -3), "deeplift_reveal_cancel": (0.8, 3.2, -2),
        "deep_shap": (5 / 6, 10 / 3, -13 / 6), "lrp_epsilon": (1.5, 6, -4.5),
        "lrp_alpha_beta": (1.2, 4.8, -3), "deep_taylor": (0.6, 2.4, 0),
    }),
}  # fmt: skip


def by_method(name, module, z):
    score = logit(module, 0)
    origin = torch.zeros(3, dtype=torch.float64)
    return {
        "deeplift_rescale": lambda: deeplift(score, z, baseline=origin),
        "deeplift_reveal_cancel": lambda: deeplift_reveal_cancel(score, z, baseline=origin),
        "deep_shap": lambda: shapley_exact(masked(score, z[0], features(3), origin)),
        "lrp_epsilon": lambda: lrp(score, z, rules=EPSILON),
        "lrp_alpha_beta": lambda: lrp(score, z, rules=ALPHA),
        "deep_taylor": lambda: lrp(score, z, rules=PLUS),
    }[name]().values[0]


@pytest.mark.parametrize("module", ["relu", "relu of Z + 1"])
@pytest.mark.parametrize("name", list(MODULES["relu"][1]))
def test_one_module_with_a_kink(module, name):
    """No Taylor series: the specification's numbers and the methods' own must agree."""
    network, expected = MODULES[module]
    assert by_method(name, network, Z).tolist() == pytest.approx(expected[name], abs=1e-9)


@pytest.mark.parametrize("name", list(MODULES["square"][1]))
def test_the_square_of_the_specification(name):
    found = closed(name, module_effects(2, 0.0, Z))
    assert found.tolist() == pytest.approx(MODULES["square"][1][name], abs=1e-12)


@pytest.mark.parametrize("c", [0.0, 0.75])
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("name", list(MODULES["square"][1]))
def test_one_module_that_is_a_power(name, degree, c):
    z = torch.tensor([[0.5, 1.25, -0.6]], dtype=torch.float64)
    found = closed(name, module_effects(degree, c, z))
    method = by_method(name, Power(degree, c), z)
    assert found.tolist() == pytest.approx(method.tolist(), abs=1e-9)


def test_the_constant_is_handed_out_by_lrp_alone():
    effects = module_effects(2, 1.0, Z)
    for name, rule in ALLOCATIONS.items():
        given = rule(effects.degrees.double(), Z, torch.arange(3))[0, 0]
        handed = name.startswith("lrp") or name == "deep_taylor"
        assert float(given.sum()) == (1 if handed else 0), name


# The principles.

KEEPING = {
    "deeplift_rescale", "deeplift_reveal_cancel", "deep_shap", "integrated_gradients",
    "expected_gradients", "shapley",
}  # fmt: skip


def test_who_keeps_the_principles():
    effects = module_effects(3, 0.0, Z)
    found = {name: principles(effects, rule).numbers for name, rule in ALLOCATIONS.items()}
    for name, numbers in found.items():
        assert numbers["unexplained"] == pytest.approx(0, abs=1e-12), name
        related = name not in ("lrp_alpha_beta", "deep_taylor")  # a patch of one is occlusion
        assert (numbers["unrelated"] < 1e-12) == related, name
        complete = KEEPING | {"lrp_epsilon", "lrp_alpha_beta", "deep_taylor"}
        assert (numbers["incomplete"] < 1e-12) == (name in complete), name


def test_a_bias_breaks_the_rule_epsilon():
    numbers = principles(module_effects(2, 1.0, Z), ALLOCATIONS["lrp_epsilon"]).numbers
    # (1 + Z)^2 = 1 + 2 Z + Z^2: sizes 2 (1 + 4 + 3) + (1 + 4 + 3)^2, and the constant is 1,
    # which goes to shares of 1/2, 2 and -3/2.
    assert numbers["incomplete"] == pytest.approx(1 / 80)
    assert numbers["unrelated"] == pytest.approx(4 / 80)


def test_the_sizes_of_the_breaches():
    """Effects 2, 4, 6, 6 of 1, 1, 2, 3 columns and degrees 1, 2, 2, 4, in all 18."""
    occluded = principles(expanded(), ALLOCATIONS["occlusion"]).numbers
    assert occluded["incomplete"] == pytest.approx((6 * 1 + 6 * 2) / 18)
    graded = principles(expanded(), ALLOCATIONS["gradient_x_input"]).numbers
    assert graded["incomplete"] == pytest.approx((4 * 1 + 6 * 1 + 6 * 3) / 18)
    patched = principles(
        expanded(), ALLOCATIONS["occlusion_patch"], patches=torch.tensor([0, 1, 1])
    ).numbers
    assert patched["unrelated"] == pytest.approx((4 + 6) / 18)
    short = principles(expanded(degree=2), ALLOCATIONS["shapley"]).numbers
    assert short["unexplained"] == pytest.approx(6 / 12)


def test_gaps_are_what_completeness_leaves_over():
    effects = expanded()
    for name, gap in {"shapley": 0, "occlusion": 18 - 36, "gradient_x_input": 18 - 46}.items():
        found = shared_out(effects, ALLOCATIONS[name])
        assert found.gap is not None
        assert float(found.gap) == pytest.approx(gap, abs=1e-12)


# The identities of whole networks.


def relu_net(bias):
    network = relu_network([3, 8, 6, 1], 4)
    if not bias:
        for layer in network:
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)
    return network


def test_without_biases_the_rule_epsilon_is_gradient_times_input():
    score = logit(relu_net(bias=False), 0)
    rules = Rules(epsilon(1e-12), epsilon(1e-12))
    found = lrp(score, X, rules=rules).values
    assert torch.allclose(found, input_x_gradient(score, X).values, rtol=1e-6, atol=1e-9)
    assert torch.allclose(found.sum(1), score(X), rtol=1e-6)


def test_of_one_module_rescale_is_integrated_gradients():
    z = torch.tensor([[0.5, 1.25, -0.6]], dtype=torch.float64)
    score = logit(Power(3, 0.75), 0)
    line = integrated_gradients(score, z, baseline=ZERO, steps=4).values
    assert torch.allclose(deeplift(score, z, baseline=ZERO).values, line, rtol=1e-6)


def test_of_a_linear_model_they_are_all_the_same():
    weights = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    model = linear_network(weights)
    score, expected = logit(model, 0), (weights * X[0]).tolist()
    effects = expanded(f=model, degree=2)
    for name in ("gradient_x_input", "occlusion", *KEEPING):
        assert closed(name, effects).tolist() == pytest.approx(expected), name
    for values in (
        input_x_gradient(score, X).values,
        occlusion(score, X, baseline=ZERO, window=1).values,
        integrated_gradients(score, X, baseline=ZERO).values,
        deeplift(score, X, baseline=ZERO).values,
        deeplift_reveal_cancel(score, X, baseline=ZERO).values,
        shapley_exact(masked(score, X[0], features(3), ZERO)).values,
    ):
        assert values[0].tolist() == pytest.approx(expected)


def test_grad_cam_on_a_linear_head():
    """y = sum of w_k mean(A^k) + c: the weights are w_k over the positions, the sum is y - c."""
    weights, c = torch.tensor([1.5, -2.0]).double(), 0.7
    maps = torch.rand(1, 2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    head = nn.Linear(2, 1).double()
    with torch.no_grad():
        head.weight.copy_(weights[None])
        head.bias.fill_(c)
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    score = logit(model, 0)
    found = grad_cam(score, maps, layer="0", signed=True, upsample=False).values
    expected = (weights[:, None, None] / 12 * maps[0]).sum(0)
    assert torch.allclose(found.squeeze(), expected, rtol=1e-9)
    assert float(found.sum()) == pytest.approx(score(maps).item() - c)
    # The same from the terms: z are the pooled maps.
    pooled = maps.mean((2, 3))
    effects = taylor_effects(logit(head, 0), pooled, baseline=torch.zeros(2), degree=1)
    by_map = closed("grad_cam", effects)
    spread = (by_map[:, None, None] * maps[0] / maps[0].sum((1, 2), keepdim=True)).sum(0)
    assert torch.allclose(spread, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["relu", "relu of Z + 1", "square"])
def test_reveal_cancel_is_shapley_between_the_signs(name):
    network = MODULES[name][0]
    values = by_method("deeplift_reveal_cancel", network, Z)
    f = [network(torch.tensor([[p, m, 0.0]]).double()).item() for p, m in
         ((0, 0), (5, 0), (0, -3), (5, -3))]  # fmt: skip
    positive = (f[1] - f[0] + f[3] - f[2]) / 2
    assert float(values[Z[0] > 0].sum()) == pytest.approx(positive)
    assert float(values.sum()) == pytest.approx(f[3] - f[0])


def test_the_last_six_are_complete():
    network = relu_net(bias=True)
    score = logit(network, 0)
    change = (score(X) - score(ZERO[None])).item()
    for values in (
        integrated_gradients(score, X, baseline=ZERO, gap=1e-9).values,
        deeplift(score, X, baseline=ZERO).values,
        deeplift_reveal_cancel(score, X, baseline=ZERO).values,
        shapley_exact(masked(score, X[0], features(3), ZERO)).values,
    ):
        assert float(values.sum()) == pytest.approx(change, rel=1e-6)


def test_patches_of_another_size_are_refused():
    with pytest.raises(ValueError, match="number of its patch for each column"):
        closed("occlusion_patch", patches=torch.tensor([0, 1]))
