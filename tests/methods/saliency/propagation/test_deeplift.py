import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from exhibits import exhibit
from strategies import relu_network, tensors
from unmask import features, log_odds, logit, masked, predicted, probability
from unmask.methods.saliency import deeplift, deeplift_reveal_cancel, gradient, shapley_exact

BOTH = pytest.mark.parametrize("method", [deeplift, deeplift_reveal_cancel])
RELU = functional.relu


def dense(first, bias, second):
    """Linear, ReLU, linear, with given weights and no bias at the end."""
    model = nn.Sequential(
        nn.Linear(len(first[0]), len(first)), nn.ReLU(), nn.Linear(len(first), 1, bias=False)
    ).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(first))
        model[0].bias.copy_(torch.tensor(bias))
        model[2].weight.copy_(torch.tensor([second]))
    return model


def values(method, model, x, baseline=0.0, target=0):
    x = torch.tensor([x]).double()
    found = method(logit(model, target), x, baseline=torch.full_like(x[0], baseline))
    assert found.gap.abs().max() < 1e-9
    return found.values[0].tolist()


# Numbers worked out by hand


@BOTH
def test_a_linear_score_is_shared_by_its_weights(method):
    found = values(method, lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, [1.0, 2, 4])
    assert found == pytest.approx([2, -6, 2])


@BOTH
def test_a_hinge_is_shared_equally(method):
    assert values(method, dense([[1.0, 1]], [-1.0], [1.0]), [1.0, 1]) == pytest.approx([0.5, 0.5])


def test_the_minimum_tells_the_rules_apart():
    least = dense([[1.0, -1], [1, 0]], [0.0, 0], [-1.0, 1])
    assert values(deeplift, least, [3.0, 1]) == pytest.approx([0, 1])
    assert values(deeplift_reveal_cancel, least, [3.0, 1]) == pytest.approx([0.5, 0.5])


def test_reveal_cancel_of_one_unit():
    # Of relu(x1 - x2) at (3, 1): dz+ = 3, dz- = -1, dy+ = 2.5, dy- = -0.5.
    unit = dense([[1.0, -1]], [0.0], [1.0])
    assert values(deeplift_reveal_cancel, unit, [3.0, 1]) == pytest.approx([2.5, -0.5])
    # x2 is as at the baseline: it takes the mean of both multipliers, times no difference.
    assert values(deeplift_reveal_cancel, unit, [3.0, 0]) == pytest.approx([3, 0])


def test_reveal_cancel_of_two_players_is_shapley():
    # Two inputs of opposite influence on one bend: the rule is their Shapley value.
    unit = dense([[2.0, -1.5]], [0.3], [1.7])
    x, baseline = torch.tensor([1.2, 0.9]).double(), torch.tensor([-0.4, 0.1]).double()
    found = deeplift_reveal_cancel(logit(unit, 0), x[None], baseline=baseline)
    fair = shapley_exact(masked(logit(unit, 0), x, features(2), baseline))
    assert torch.allclose(found.values, fair.values)


def test_a_saturated_unit_is_seen_though_its_gradient_is_zero():
    model = lambda x: 1 - RELU(1 - x[:, :1])  # noqa: E731
    assert values(deeplift, model, [2.0]) == pytest.approx([1])
    assert gradient(logit(model, 0), torch.tensor([[2.0]])).values.item() == 0


def test_a_product_gives_each_factor_the_mean_of_the_other():
    # 1/2 (u + u0) dv + 1/2 (v + v0) du at (2, 3) from (1, -1): 1.5 * 4 and 1 * 1.
    x, baseline = torch.tensor([[2.0, 3.0]]), torch.tensor([1.0, -1.0])
    found = deeplift(logit(lambda x: x[:, :1] * x[:, 1:], 0), x, baseline=baseline)
    assert found.values[0].tolist() == pytest.approx([1, 6])


def test_a_smooth_bend_has_the_slope_of_its_chord():
    x, baseline = torch.tensor([[1.0, 0.5]]).double(), torch.tensor([0.0, 0]).double()
    found = deeplift(
        logit(lambda x: torch.sigmoid(5 * x[:, :1] - 2 * x[:, 1:]), 0), x, baseline=baseline
    )
    slope = (torch.sigmoid(torch.tensor(4.0)) - 0.5).item() / 4
    assert found.values[0].tolist() == pytest.approx([5 * slope, -slope], rel=1e-6)


def test_a_maximum_is_shared_by_its_two_winners():
    # max(x1, x2) from (0, 1) to (3, 0): the change 2 in proportion to 3 : 1.
    pool = lambda x: functional.max_pool1d(x[:, None], 2)[:, 0]  # noqa: E731
    x, baseline = torch.tensor([[3.0, 0.0]]), torch.tensor([0.0, 1.0])
    found = deeplift(logit(pool, 0), x, baseline=baseline)
    assert found.values[0].tolist() == pytest.approx([1.5, 0.5])
    # The winner at the baseline falls, the winner here does not move: all is due to the fall.
    x, baseline = torch.tensor([[1.0, 0.0]]), torch.tensor([1.0, 4.0])
    assert deeplift(logit(pool, 0), x, baseline=baseline).values[0].tolist() == [0, -3]


def test_where_nothing_moves_the_derivative_stands_in():
    # x1 is as at the baseline and holds the second unit still; x2 must not be given its share.
    model = dense([[1.0, 0], [0, 1]], [0.0, 0], [1.0, 1])
    assert values(deeplift, model, [1.0, 2], baseline=1.0) == pytest.approx([0, 1])


# A second derivation: the rule in plain loops


def slow_rescale(layers, x, x0):
    """Forward twice, then multipliers backward, unit by unit."""
    a, a0 = [x.tolist()], [x0.tolist()]
    for layer in layers:
        for kept in (a, a0):
            before = kept[-1]
            if isinstance(layer, nn.Linear):
                weight, bias = layer.weight.tolist(), layer.bias.tolist()
                kept.append(
                    [sum(w * b for w, b in zip(row, before, strict=True)) + c
                     for row, c in zip(weight, bias, strict=True)]
                )  # fmt: skip
            else:
                kept.append(layer(torch.tensor(before, dtype=torch.float64)).tolist())
    m = [1.0 if k == 1 else 0.0 for k in range(len(a[-1]))]
    for depth in range(len(layers) - 1, -1, -1):
        layer, before, before0 = layers[depth], a[depth], a0[depth]
        if isinstance(layer, nn.Linear):
            weight = layer.weight.tolist()
            m = [sum(m[k] * weight[k][j] for k in range(len(m))) for j in range(len(before))]
        else:
            m = [
                m[j] * (a[depth + 1][j] - a0[depth + 1][j]) / (before[j] - before0[j])
                for j in range(len(m))
            ]
    return torch.tensor([m[i] * (a[0][i] - a0[0][i]) for i in range(len(m))]).double()


@pytest.mark.parametrize("kink", [nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU, nn.SiLU])
def test_the_slow_twin_agrees(kink):
    model = relu_network([5, 7, 6, 3], seed=3, kink=kink)
    generator = torch.Generator().manual_seed(0)
    x, baseline = (torch.randn(4, 5, generator=generator).double() for _ in range(2))
    found = deeplift(logit(model, 1), x, baseline=baseline[0])
    for row, expected in zip(found.values, x, strict=True):
        assert torch.allclose(row, slow_rescale(list(model), expected, baseline[0]), atol=1e-9)


# Completeness, of whatever is in a network


@BOTH
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), x=tensors(3, 4), baseline=tensors(4))
def test_the_differences_are_complete(method, seed, x, baseline):
    score = logit(relu_network([4, 9, 9, 3], seed), 1)
    found = method(score, x, baseline=baseline)
    change = score(x) - score(baseline[None])
    assert torch.allclose(found.values.sum(1), change, atol=1e-10)
    assert found.gap.abs().max() < 1e-10


class Everything(nn.Module):
    """In place and reused activations, functions, joins, a norm, attention and recurrence."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.deeper = nn.Conv2d(4, 4, 3, padding=1)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        h = self.relu(self.norm(self.convolution(x)))
        h = self.relu(self.deeper(h) + h)  # the same module again, behind a residual sum
        h = torch.cat([functional.max_pool2d(h, 2), functional.avg_pool2d(h, 2)], 1)
        h = h.flatten(2).transpose(1, 2)
        h, _ = self.lstm(functional.gelu(h))
        h = self.block(h)
        h += h.mean(1, keepdim=True)
        return self.head(h.softmax(1).mul(h).sum(1))


def everything():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Everything()
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
    return model.double().eval()


@BOTH
def test_ordinary_models_need_no_rewriting(method):
    model = everything()
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    score = log_odds(model, torch.tensor([0, 1, 2]))
    found = method(score, x, baseline=torch.zeros(2, 6, 6).double())
    change = score(x) - score(torch.zeros(3, 2, 6, 6).double())
    assert torch.allclose(found.values.flatten(1).sum(1), change, atol=1e-8)
    alone = method(log_odds(model, 1), x[1:2], baseline=torch.zeros(2, 6, 6).double())
    assert torch.allclose(alone.values[0], found.values[1], atol=1e-10)


class Folded(nn.Module):
    """Folds inputs into another axis: a single reference no longer stands beside each of them."""

    def __init__(self):
        super().__init__()
        self.inner = relu_network([2, 5, 1], seed=0)

    def forward(self, x):
        return self.inner(x.view(-1, 2)).view(len(x), 3).square().sum(1, keepdim=True)


def test_inputs_folded_into_another_axis():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    baselines = torch.randn(3, 6, generator=torch.Generator().manual_seed(1)).double()
    score = logit(Folded().double(), 0)
    found = deeplift(score, x, baseline=baselines)
    by_one = [deeplift(score, x, baseline=one).values for one in baselines]
    assert torch.allclose(found.values, sum(by_one) / 3)
    assert found.gap.abs().max() < 1e-9


@pytest.mark.parametrize("read", [logit, log_odds, probability])
def test_the_reading_of_the_score_is_handed_back_too(read):
    model = relu_network([4, 8, 3], seed=1)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    score = read(model, predicted(model, x))
    found = deeplift(score, x, baseline=torch.zeros(4).double())
    change = score(x) - score(torch.zeros(5, 4).double())
    assert torch.allclose(found.values.sum(1), change, atol=1e-7)


def test_dtype_and_values_of_half_precision():
    model = relu_network([4, 8, 3], seed=1, dtype=torch.float32)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    full = deeplift(logit(model, 1), x, baseline=torch.zeros(4)).values
    half = deeplift(logit(model.bfloat16(), 1), x.bfloat16(), baseline=torch.zeros(4)).values
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), full, atol=0.05 * float(full.abs().max()))


# Several baselines


@pytest.mark.parametrize("batch_size", [None, 1, 2, 5, 100])
def test_a_set_of_baselines_is_averaged_over(batch_size):
    model = everything().float()
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    baselines = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    score = log_odds(model, torch.tensor([0, 1, 2]))
    each = [deeplift(score, x, baseline=one) for one in baselines]
    found = deeplift(score, x, baseline=baselines, batch_size=batch_size)
    assert torch.allclose(found.values, sum(one.values for one in each) / 5, atol=1e-5)
    assert found.gap.abs().max() < 1e-4


def test_the_model_runs_on_the_inputs_once():
    rows = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = relu_network([4, 8, 3], seed=1)

        def forward(self, x):
            rows.append(len(x))
            return self.inner(x)

    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).double()
    found = deeplift(logit(Counted(), 1), x, baseline=x[:8])
    assert sorted(rows) == [1] * 8 + [64]
    assert found.evaluations == 72


# Bad input


def test_a_course_that_depends_on_the_values_is_refused():
    def fickle(x):
        return (x.relu() if bool((x != 0).any()) else x.tanh()).sum(1, keepdim=True)

    score = logit(fickle, 0)
    with pytest.raises(ValueError, match=r"'relu' on the inputs, but not on the baseline\."):
        deeplift(score, torch.ones(1, 2), baseline=torch.zeros(2))


def test_what_cannot_be_explained_is_refused():
    model = relu_network([4, 8, 3], seed=1, dtype=torch.float32)
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"does not depend on x"):
        deeplift(logit(lambda x: x.detach() @ torch.ones(4, 1), 0), x, baseline=torch.zeros(4))
    with pytest.raises(ValueError, match=r"shape \(5,\), one input \(4,\)"):
        deeplift(logit(model, 0), x, baseline=torch.zeros(5))
    with pytest.raises(ValueError, match=r"of 3 inputs, but x holds 2"):
        deeplift(logit(model, torch.tensor([0, 1, 2])), x, baseline=torch.zeros(4))
    with pytest.raises(ValueError, match=r"batch of 0 inputs is too small"):
        deeplift(logit(model, 0), x, baseline=torch.zeros(4), batch_size=0)
    with pytest.raises((TypeError, ValueError), match=r"embeddings|parameter 'x'"):
        deeplift(logit(model, 0), x.long(), baseline=torch.zeros(4))


def test_an_error_within_the_model_leaves_no_trace():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = relu_network([4, 8, 3], seed=1, dtype=torch.float32)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("broken")
            return self.inner(x)

    model = Failing()
    with pytest.raises(RuntimeError, match="broken"):
        deeplift(logit(model, 0), torch.ones(2, 4), baseline=torch.zeros(4))
    assert all(p.requires_grad for p in model.parameters())
    x = torch.full((1, 4), -1.0)
    assert torch.equal(torch.relu(x), torch.zeros(1, 4))  # no operation stays replaced


# Real networks, and a package of others


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_real_networks(name):
    shown = exhibit(name)
    x = torch.stack(shown.inputs[:4])
    score = log_odds(shown.model, predicted(shown.model, x))
    found = deeplift(score, x, baseline=shown.baseline(0))
    change = score(x) - score(shown.baseline(0).expand_as(x))
    assert (found.gap.abs() <= 1e-4 * change.abs()).all()
    assert torch.allclose(found.values.flatten(1).sum(1), change, rtol=1e-3)


def without_pools():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, stride=2), nn.Tanh()),
            *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 9), nn.Sigmoid(), nn.Linear(9, 3)),
        ).double()


@pytest.mark.oracle
def test_captum_agrees():
    captum = pytest.importorskip("captum.attr")
    model = without_pools()
    generator = torch.Generator().manual_seed(0)
    x, baselines = (torch.randn(k, 2, 11, 11, generator=generator).double() for k in (4, 3))
    target = torch.tensor([0, 1, 2, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = captum.DeepLift(model).attribute(x, baselines[:1], target=target)
        many = captum.DeepLiftShap(model).attribute(x[:1], baselines, target=0)
    found = deeplift(logit(model, target), x, baseline=baselines[0])
    assert torch.allclose(found.values, one, atol=1e-9)
    found = deeplift(logit(model, 0), x[:1], baseline=baselines)
    assert torch.allclose(found.values, many, atol=1e-9)


@pytest.mark.oracle
def test_captum_agrees_on_pools_whose_winners_stay():
    captum = pytest.importorskip("captum.attr")
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 1)).double()
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.DeepLift(model).attribute(x, x * 0.5, target=0)
    # A baseline of half the input has its winners where the input has them.
    score = logit(model, 0)
    ours = [deeplift(score, one[None], baseline=one / 2).values for one in x]
    assert torch.allclose(torch.cat(ours), theirs, atol=1e-9)
