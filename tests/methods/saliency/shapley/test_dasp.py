import math

import pytest
import torch
from torch import nn

from exhibits import exhibit
from strategies import relu_network
from unmask import features, logit, masked, patches, predicted
from unmask.methods.saliency import dasp, shapley_exact
from unmask.methods.saliency.shapley.moments import expected_output


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator).double()


def moments_of(layers, mean, variance):
    """The mean output when the first layer puts out such numbers."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), *layers).double()
    return expected_output(model, torch.ones(1, 1).double(), lambda layer: (mean, variance))


# Moments: closed forms, and very many draws


def test_a_rectified_normal_number():
    one = torch.ones(1, 1).double()
    assert moments_of([nn.ReLU()], one, one).item() == pytest.approx(1.083315, abs=1e-6)
    # Its variance, 0.751088, is what a second rectifier meets.
    twice = moments_of([nn.ReLU(), nn.ReLU()], one, one).item()
    spread = math.sqrt(0.751088)
    ratio = 1.083315 / spread
    expected = 1.083315 * 0.5 * math.erfc(-ratio / math.sqrt(2))
    expected += spread * math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    assert twice == pytest.approx(expected, abs=1e-5)
    assert moments_of([nn.ReLU()], -one, 0 * one).item() == 0


@pytest.mark.parametrize("kink", [nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.LeakyReLU(0.2)])
def test_a_bent_normal_number(kink):
    draws = normal(torch.Generator().manual_seed(0), 2_000_000) * 0.8 + 0.3
    found = moments_of([kink], torch.tensor([[0.3]]).double(), torch.tensor([[0.64]]).double())
    error = 5 * kink(draws).std().item() / math.sqrt(len(draws))
    # A kink is beyond 20 nodes of a quadrature for smooth functions by some thousandths.
    bend = 1e-2 if isinstance(kink, nn.LeakyReLU) else 1e-6
    assert found.item() == pytest.approx(kink(draws).mean().item(), abs=error + bend)


def test_the_largest_of_normal_numbers():
    generator = torch.Generator().manual_seed(0)
    mean, spread = normal(generator, 1, 1, 4, 4), normal(generator, 1, 1, 4, 4).abs()
    draws = mean + spread * normal(generator, 100_000, 1, 4, 4)

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 1, 1).double()

        def forward(self, x):
            return nn.functional.max_pool2d(self.first(x), 2).flatten(1)

    found = expected_output(Pool(), mean, lambda layer: (mean.clone(), spread**2))
    expected = nn.functional.max_pool2d(draws, 2).flatten(1)
    # Clark's formula takes the larger of two for normal: some per cent off among four.
    assert torch.allclose(found[0], expected.mean(0), atol=0.05)
    two = nn.functional.max_pool1d  # of two numbers it is exact
    pair = Pool()
    pair.forward = lambda x: two(pair.first(x)[:, 0], 2).flatten(1)
    found = expected_output(pair, mean, lambda layer: (mean.clone(), spread**2))
    expected = two(draws[:, 0], 2).flatten(1)
    assert torch.allclose(found[0], expected.mean(0), atol=5 * 3 / math.sqrt(100_000))


def test_sums_and_means_of_independent_numbers():
    one = torch.ones(1, 4).double()
    # relu of the mean of four normals (1, 1): mean 1, variance 1/4.
    ratio = 1 / 0.5
    expected = 0.5 * math.erfc(-ratio / math.sqrt(2))
    expected += 0.5 * math.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    layers = [nn.Unflatten(1, (1, 4)), nn.AvgPool1d(4), nn.ReLU(), nn.Flatten()]
    assert moments_of(layers, one, one).item() == pytest.approx(expected)
    layers[1] = nn.AdaptiveAvgPool1d(1)
    assert moments_of(layers, one, one).item() == pytest.approx(expected)
    summed = nn.Linear(4, 1, bias=False)
    summed.weight.data.fill_(0.25)
    assert moments_of([summed, nn.ReLU()], one, one).item() == pytest.approx(expected)


# The method


def test_a_linear_score_is_exact():
    line = nn.Linear(3, 1).double()
    line.weight.data, line.bias.data = (
        torch.tensor([[2.0, -3, 0.5]]).double(),
        torch.ones(1).double(),
    )
    x = torch.tensor([[1.0, 2.0, 4.0]]).double()
    found = dasp(logit(line, 0), x, baseline=torch.zeros(3).double())
    assert found.values.tolist() == [pytest.approx([2, -6, 2])]
    assert found.gap.abs().max() < 1e-12


def test_two_players_are_exact():
    # Of one other player all coalitions are empty or full: nothing is left to chance.
    model = relu_network([2, 16, 16, 1], seed=1)
    x = normal(torch.Generator().manual_seed(0), 1, 2)
    found = dasp(logit(model, 0), x, baseline=torch.zeros(2).double())
    fair = shapley_exact(masked(logit(model, 0), x[0], features(2), torch.zeros(2).double()))
    assert torch.allclose(found.values, fair.values, atol=1e-10)
    only = dasp(logit(relu_network([1, 5, 1], 0), 0), x[:, :1], baseline=torch.zeros(1).double())
    assert only.gap.abs().max() < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_deep_networks_nearly(seed):
    model = relu_network([8, 32, 32, 1], seed)
    x = normal(torch.Generator().manual_seed(seed), 1, 8)
    found = dasp(logit(model, 0), x, baseline=torch.zeros(8).double())
    fair = shapley_exact(masked(logit(model, 0), x[0], features(8), torch.zeros(8).double()))
    assert torch.corrcoef(torch.cat([found.values, fair.values]))[0, 1] > 0.99
    assert (found.values - fair.values).square().mean().sqrt() < 0.1 * fair.values.std()


def slow_expectation(weight, bias, contributions, i, k, with_i):
    """The mean of relu's output for one random coalition of k others, unit by unit."""
    others = [c for j, c in enumerate(contributions) if j != i]
    count = len(others)
    total = 0.0
    for unit in range(len(bias)):
        c = [float(other[unit]) for other in others]
        mean = sum(c) / count
        variance = sum((value - mean) ** 2 for value in c) / count * k * (count - k) / (count - 1)
        mu = float(bias[unit]) + k * mean + (float(contributions[i][unit]) if with_i else 0.0)
        if variance < 1e-15:
            part = max(mu, 0)
        else:
            s = math.sqrt(variance)
            part = mu * 0.5 * math.erfc(-mu / s / math.sqrt(2))
            part += s * math.exp(-((mu / s) ** 2) / 2) / math.sqrt(2 * math.pi)
        total += weight[unit] * part
    return total


@torch.no_grad()
def test_the_slow_twin_agrees():
    model = relu_network([5, 7, 1], seed=2)
    x = normal(torch.Generator().manual_seed(0), 1, 5)
    parts = [model[0].weight[:, j] * x[0, j] for j in range(5)]
    weight, bias = model[2].weight[0].tolist(), model[0].bias

    def change(i, k):
        without = slow_expectation(weight, bias, parts, i, k, False)
        return slow_expectation(weight, bias, parts, i, k, True) - without

    expected = [sum(change(i, k) for k in range(5)) / 5 for i in range(5)]
    found = dasp(logit(model, 0), x, baseline=torch.zeros(5).double())
    assert found.values[0].tolist() == pytest.approx(expected, abs=1e-10)


def convolutional():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
            nn.Linear(6, 2),
        )
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    return model.double().eval()


def test_convolutions_pools_and_norms():
    model = convolutional()
    x = normal(torch.Generator().manual_seed(0), 2, 1, 8, 8)
    base = torch.zeros(1, 8, 8).double()
    players = patches((1, 8, 8), (2, 4))
    score = logit(model, torch.tensor([0, 1]))
    found = dasp(score, x, baseline=base, players=players, batch_size=7)
    assert found.names == players.names
    for row, y in enumerate([0, 1]):
        fair = shapley_exact(masked(logit(model, y), x[row], players, base)).values[0]
        assert torch.corrcoef(torch.stack([found.values[row], fair]))[0, 1] > 0.97
    again = dasp(score, x, baseline=base, players=players)
    assert torch.allclose(again.values, found.values, atol=1e-12)


def test_fewer_sizes_cost_less_and_are_close():
    model = relu_network([12, 32, 32, 1], 0)
    x = normal(torch.Generator().manual_seed(0), 1, 12)
    score, base = logit(model, 0), torch.zeros(12).double()
    whole, some = dasp(score, x, baseline=base), dasp(score, x, baseline=base, sizes=3)
    assert some.evaluations == 2 * 12 * 3 + 2
    assert whole.evaluations == 2 * 12 * 12 + 2
    assert torch.corrcoef(torch.cat([whole.values, some.values]))[0, 1] > 0.99


def test_refusals():
    x, base = torch.ones(1, 4).double(), torch.zeros(4).double()
    with pytest.raises(TypeError, match=r"DASP begins at a linear .* has none\. Use"):
        dasp(logit(lambda x: x.square().sum(1), 0), x, baseline=base)
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1)).double()
    with pytest.raises(TypeError, match=r"no rule for 'layer_norm', which the model runs in '1'"):
        dasp(logit(model, 0), x, baseline=base)
    with pytest.raises(TypeError, match=r"another way than through the first affine layer.* Use"):
        dasp(logit(lambda x: block(x[:, None])[:, 0], 0), x, baseline=base)
    pools = [nn.AvgPool1d(2, padding=1, count_include_pad=False), nn.AvgPool1d(3, ceil_mode=True)]
    for pool in pools:
        line = nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (1, 4)), pool, nn.Flatten()).double()
        with pytest.raises(
            TypeError, match=r"in '2' divides by other numbers .* Count the padding"
        ):
            dasp(logit(line, 0), x, baseline=base)
    beside = torch.ones(len(x), 4).double()
    mixing = nn.Linear(4, 4).double()
    with pytest.raises(TypeError, match=r"does not go on with more rows .* use kernel_shap"):
        dasp(logit(lambda x: mixing(x) * beside.repeat(5, 1), 0), x, baseline=base)
    with pytest.raises(ValueError, match=r"one baseline here, but it is a set of 3\. Give"):
        dasp(logit(relu_network([4, 5, 1], 0), 0), x, baseline=torch.zeros(3, 4).double())
    with pytest.raises(ValueError, match=r"0 coalition sizes are too few"):
        dasp(logit(relu_network([4, 5, 1], 0), 0), x, baseline=base, sizes=0)
    with pytest.raises(ValueError, match=r"shape \(3,\), but one input has shape \(4,\)"):
        dasp(logit(relu_network([4, 5, 1], 0), 0), x, baseline=base, players=features(3))


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_real_networks(name):
    shown = exhibit(name)
    x, players, base = shown.inputs[0], shown.players(0), shown.baseline(0)
    # Without the type of its forward pass, which says that no rows are added on the way.
    model = nn.Sequential(*shown.model.children())
    score = logit(model, int(predicted(shown.model, x[None])))
    found = dasp(score, x[None], baseline=base, players=players)
    fair = shapley_exact(masked(score, x, players, base)).values
    assert torch.corrcoef(torch.cat([found.values, fair.to(found.values)]))[0, 1] > 0.98
