import math
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional

from strategies import relu_network
from unmask import features, log_odds, masked, patches
from unmask.interactions import (
    bottleneck,
    encourage_orders,
    nested_masks,
    order_window,
    penalise_orders,
)

WINDOWS = [(0.5, 1.0), (0.0, 0.5), (0.0, 1.0), (1 / 6, 0.5), (1 / 3, 2 / 3), (0.2, 0.9)]


def slow_interaction(table, i, j, m):
    n = len(table).bit_length() - 1
    others = [k for k in range(n) if k not in (i, j)]
    found = []
    for context in combinations(others, m):
        s = sum(2**k for k in context)
        found.append(float(table[s + 2**i + 2**j] - table[s + 2**i] - table[s + 2**j] + table[s]))
    return sum(found) / len(found)


def slow_change(table, small, large):
    """The mean over all nested pairs of sets, one by one."""
    n = len(table).bit_length() - 1
    found = []
    for outer in combinations(range(n), large):
        for inner in combinations(outer, small):
            ratio = large / small if small else 1
            s1, s2 = (sum(2**k for k in some) for some in (inner, outer))
            found.append(float(table[s2] - ratio * table[s1]))
    return sum(found) / len(found)


@pytest.mark.parametrize(("lower", "upper"), WINDOWS)
def test_the_window_says_which_orders_count(lower, upper):
    n = 6
    table = torch.randn(2**n, generator=torch.Generator().manual_seed(0)).double()
    small, large = round(lower * n), round(upper * n)
    mean = [
        sum(slow_interaction(table, i, j, m) for i, j in combinations(range(n), 2)) / 15
        for m in range(n - 1)
    ]
    window = order_window(n, lower, upper)
    explained = float(window @ torch.tensor(mean).double())
    if small:
        explained += (1 - large / small) * float(table[0])
    else:
        explained += large / n * sum(float(table[2**i] - table[0]) for i in range(n))
    assert slow_change(table, small, large) == pytest.approx(explained)
    assert (window[max(0, large - 1) :] == 0).all()
    assert (window[: large - 1] > 0).all()
    if small:
        assert int(window.argmax()) == small - 1
    else:
        assert window.tolist() == [max(0, large - 1 - m) for m in range(n - 1)]


@pytest.mark.parametrize(("lower", "upper"), WINDOWS)
def test_sets_are_nested_and_every_pair_is_as_likely(lower, upper):
    n, count = 6, 20000
    generator = torch.Generator().manual_seed(0)
    small, large = nested_masks(n, lower, upper, count, generator=generator)
    assert small.shape == large.shape == (count, n)
    assert (small.sum(1) == round(lower * n)).all()
    assert (large.sum(1) == round(upper * n)).all()
    assert (large >= small).all()
    for masks in (small, large):
        share = masks.double().mean(0)
        p = float(share.mean())
        assert (share - p).abs().max() <= 4.5 * math.sqrt(p * (1 - p) / count) + 1e-12
    kinds, seen = torch.cat([small, large], 1).unique(dim=0, return_counts=True)
    every = math.comb(n, round(upper * n)) * math.comb(round(upper * n), round(lower * n))
    assert len(kinds) == every
    expected = count / every
    # The mean of the statistic is what is subtracted, its variance twice that.
    statistic = float(((seen - expected) ** 2 / expected).sum())
    assert abs(statistic - (every - 1)) <= 5 * math.sqrt(2 * every) + 1e-9


class Recorded(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.network(x)


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 10, generator=generator).double()
    return x, torch.tensor([0, 2, 1, 1, 0]), relu_network([10, 7, 3], 0)


@pytest.mark.parametrize(("lower", "upper"), [(0.3, 0.7), (0.0, 0.5), (0.7, 1.0)])
def test_the_losses_are_of_two_masked_runs(lower, upper):
    x, labels, network = batch()
    baseline = torch.linspace(-1, 1, 10).double()
    options = {"players": features(10), "baseline": baseline, "lower": lower, "upper": upper}
    masks = nested_masks(10, lower, upper, 5, generator=torch.Generator().manual_seed(3))
    logits = []
    for which in masks:
        rows = [[x[b, i] if which[b, i] else baseline[i] for i in range(10)] for b in range(5)]
        logits.append(network(torch.tensor(rows).double()))
    ratio = round(10 * upper) / round(10 * lower) if lower else 1
    change = logits[1] - ratio * logits[0]
    recorded = Recorded(network)
    found = encourage_orders(
        recorded, x, labels, **options, generator=torch.Generator().manual_seed(3)
    )
    assert len(recorded.seen) == 2
    chances = (change.exp() / change.exp().sum(1, keepdim=True)).detach()
    wanted = -sum(math.log(chances[b, labels[b]]) for b in range(5)) / 5
    assert found.detach().item() == pytest.approx(wanted)
    found = penalise_orders(network, x, **options, generator=torch.Generator().manual_seed(3))
    wanted = sum(float(p) * math.log(p) for p in chances.flatten()) / 5
    assert found.detach().item() == pytest.approx(wanted)


def test_what_single_players_do_cancels():
    """A linear network, of players that are told apart by nothing but their own weight."""
    linear = nn.Linear(10, 2, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 10))
    options = {"players": features(10), "baseline": torch.zeros(10).double()}
    loss = penalise_orders(linear, torch.ones(3, 10).double(), **options, lower=0.25, upper=0.95)
    assert loss.detach().item() == pytest.approx(
        -math.log(2)
    )  # logits of zero, though 0.25 was rounded


def test_gradients_reach_the_parameters_and_nothing_else_is_left():
    x, labels, network = batch()
    options = {"players": features(10), "baseline": torch.zeros(10), "lower": 0.3, "upper": 0.7}
    before = torch.get_rng_state()
    for loss in (
        encourage_orders(network, x, labels, **options),
        penalise_orders(network, x, **options),
    ):
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients[:1])
        assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    again = encourage_orders(network, x, labels, **options)
    assert again.detach().item() == encourage_orders(network, x, labels, **options).detach().item()
    moving = torch.Generator().manual_seed(0)
    two = {
        encourage_orders(network, x, labels, **options, generator=moving).detach().item()
        for _ in range(2)
    }
    assert len(two) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    x, labels, network = batch()
    options = {"players": features(10), "baseline": torch.zeros(10), "lower": 0.3, "upper": 0.7}
    found = encourage_orders(network.to(dtype), x.to(dtype), labels, **options)
    assert found.dtype == torch.float32
    wanted = encourage_orders(network.double(), x.to(dtype).double(), labels, **options)
    # The network itself works in half precision.
    assert found.detach().item() == pytest.approx(wanted.detach().item(), rel=0.05)


def test_images_are_masked_by_patches():
    recorded = Recorded(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)))
    x = torch.ones(4, 3, 4, 4)
    options = {"players": patches((3, 4, 4), (2, 2)), "baseline": torch.zeros(3, 4, 4)}
    penalise_orders(recorded, x, **options, lower=0.25, upper=0.75)
    few, many = recorded.seen
    assert few.flatten(1).sum(1).tolist() == [12] * 4
    assert many.flatten(1).sum(1).tolist() == [36] * 4
    assert (many >= few).all()


def test_what_makes_no_sense_is_refused():
    x, labels, network = batch()
    options = {"players": features(10), "baseline": torch.zeros(10), "lower": 0.3, "upper": 0.7}
    for lower, upper in ((0.5, 0.5), (0.7, 0.3), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="0 <= lower < upper <= 1"):
            penalise_orders(network, x, **options | {"lower": lower, "upper": upper})
    with pytest.raises(ValueError, match="of 10 players are both 3"):
        order_window(10, 0.3, 0.31)
    with pytest.raises(ValueError, match="labels of shape"):
        encourage_orders(network, x, labels[:3], **options)
    with pytest.raises(ValueError, match="two classes at least"):
        penalise_orders(relu_network([10, 1], 0), x, **options)
    with pytest.raises(ValueError, match="one input"):
        penalise_orders(network, x, **options | {"players": features(9)})
    with pytest.raises(ValueError, match="must be finite"):
        penalise_orders(network, x * torch.nan, **options)
    with pytest.raises(ValueError, match="one baseline"):
        penalise_orders(network, x, **options | {"baseline": torch.zeros(2, 10)})


@pytest.mark.slow
def test_a_network_learns_the_orders_that_it_is_made_to():
    """Digits, three seeds: penalised from seven tenths on, it makes less of large contexts."""
    from unmask import zoo

    exhibit = zoo.digits()
    players = patches((1, 8, 8), (4, 4))
    baseline = exhibit.baseline(0)
    x, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    assert len(x) == len(labels) > 100

    def trained(seed, penalty):
        generator = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), relu_network([64, 48, 10], seed))
        model = model.float()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(250):
            rows = torch.randint(len(x), (64,), generator=generator)
            loss = functional.cross_entropy(model(x[rows]), labels[rows])
            if penalty:
                loss = loss + penalise_orders(
                    model, x[rows], players=players, baseline=baseline, lower=0.7, upper=1.0,
                    generator=generator,
                )  # fmt: skip
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        right = float((model(x).argmax(1) == labels).double().mean())
        games = [masked(log_odds(model, int(labels[i])), x[i], players, baseline) for i in range(8)]
        pairs = torch.combinations(torch.arange(16))[::8]
        curves = bottleneck(games, pairs=pairs, samples=20, orders=[0, 4, 7, 10, 14]).curves
        return right, curves["strength"]

    for seed in range(3):
        free, plain = trained(seed, penalty=False)
        bound, changed = trained(seed, penalty=True)
        assert min(free, bound) > 0.9
        share = [float(strength[3:].sum() / strength.sum()) for strength in (plain, changed)]
        assert share[1] < share[0]
