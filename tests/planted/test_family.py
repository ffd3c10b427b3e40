from itertools import permutations
from math import factorial

import pytest
import torch

from unmask import features, logit, masked
from unmask.methods.saliency import shapley_exact
from unmask.planted import planted_networks

NETWORKS = planted_networks(12, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.kind)
def test_the_shapley_values_are_those_of_the_game(network):
    players = len(network.x)
    game = masked(logit(network.network, 0), network.x, features(players), network.baseline)
    assert torch.allclose(shapley_exact(game).values[0], network.shapley, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS[:4], ids=lambda network: network.kind)
def test_the_shapley_values_are_means_over_orders(network):
    players = len(network.x)
    masks = (torch.arange(2**players)[:, None] >> torch.arange(players) & 1).bool()
    with torch.no_grad():
        v = network.network(torch.where(masks, network.x, network.baseline))[:, 0].tolist()
    total = [0.0] * players
    for order in permutations(range(players)):
        present = 0
        for player in order:
            total[player] += v[present | 1 << player] - v[present]
            present |= 1 << player
    expected = [one / factorial(players) for one in total]
    assert network.shapley.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.kind)
def test_what_is_unused_changes_nothing(network):
    assert network.unused.sum() >= 2
    assert network.shapley[network.unused].abs().max() == 0
    other = torch.where(network.unused, network.x + 5, network.x)
    with torch.no_grad():
        one, two = network.network(torch.stack([network.x, other]))
    assert one.item() == pytest.approx(two.item(), abs=1e-12)


def test_the_kinds_take_turns_and_chance_is_the_callers():
    assert [one.kind for one in NETWORKS] == ["linear", "AND-OR", "majority", "ReLU"] * 3
    again = planted_networks(12, torch.Generator().manual_seed(3))
    for one, other in zip(NETWORKS, again, strict=True):
        assert torch.equal(one.shapley, other.shapley)
    assert len({float(one.shapley.sum()) for one in NETWORKS}) == 12


def test_no_networks_are_refused():
    with pytest.raises(ValueError, match="0 networks were asked for"):
        planted_networks(0, torch.Generator())
