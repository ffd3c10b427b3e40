from itertools import product

import pytest
import torch
from torch import nn

from unmask import features, logit, masked
from unmask.planted import (
    and_or_network,
    linear_network,
    majority_network,
    parity_network,
    planted_terms,
    relu_network,
    terms_of,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def corners(players):
    return [list(corner) for corner in product([0.0, 1.0], repeat=players)]


def told(terms, corner):
    """The value of a corner of zeros and ones, term by term."""
    value = terms.empty
    for row, is_or, effect in zip(
        terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
    ):
        bits = [there == 1 for there, member in zip(corner, row, strict=True) if member]
        value += effect if (any(bits) if is_or else all(bits)) else 0.0
    return value


@pytest.mark.parametrize("seed", range(4))
def test_a_network_computes_the_planted_game_on_every_corner(seed):
    terms = planted_terms(6, 7, 5, seeded(seed))
    network = and_or_network(terms)
    found = network(torch.tensor(corners(6), dtype=torch.float64))[:, 0].tolist()
    assert found == pytest.approx([told(terms, corner) for corner in corners(6)], abs=1e-12)
    assert any(isinstance(layer, nn.ReLU) for layer in network)


def test_masking_plays_the_planted_game_around_any_baseline():
    terms = planted_terms(5, 6, 4, seeded(2))
    present = torch.tensor([3.0, -1.0, 0.25, 7.0, 0.0], dtype=torch.float64)
    absent = torch.tensor([1.0, 4.0, 0.5, -2.0, 0.1], dtype=torch.float64)
    network = and_or_network(terms, present=present, absent=absent)
    table = masked(logit(network, 0), present, features(5), absent).table()
    for place, value in enumerate(table.tolist()):
        corner = [float(place >> i & 1) for i in range(5)]
        assert value == pytest.approx(told(terms, corner), abs=1e-11)


def test_a_player_that_is_the_same_hidden_is_refused():
    terms = terms_of("ab", ands={("a",): 1.0})
    with pytest.raises(ValueError, match=r"'b' has the same number present and hidden: 1\.0"):
        and_or_network(terms, absent=torch.tensor([0.0, 1.0]))


def test_a_linear_network_is_a_weighted_sum():
    network = linear_network(torch.tensor([2.0, -1.0, 0.5]), bias=3.0)
    x = torch.tensor([[1.0, 1.0, 4.0]], requires_grad=True)
    output = network(x)
    assert output.item() == 6.0
    assert torch.autograd.grad(output.sum(), x)[0].tolist() == [[2.0, -1.0, 0.5]]


def test_unused_inputs_do_not_matter_and_others_do():
    network = relu_network(5, seeded(3), unused=[1, 4])
    x = torch.randn(200, 5, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    moved = x.detach() + 100 * torch.tensor([0, 1, 0, 0, -1])
    assert network(moved).equal(network(x))
    assert (gradient[:, [1, 4]] == 0).all()
    assert (gradient[:, [0, 2, 3]].abs().mean(0) > 0.01).all()


def test_twins_may_change_places():
    network = relu_network(4, seeded(3), twins=[(0, 2)])
    x = torch.randn(100, 4, generator=seeded(1), dtype=torch.float64)
    output = network(x)
    assert torch.allclose(network(x[:, [2, 1, 0, 3]]), output, rtol=0, atol=1e-12)
    assert (network(x[:, [1, 0, 2, 3]]) - output).abs().mean() > 0.01


def test_inputs_are_named_once_and_exist():
    with pytest.raises(ValueError, match=r"Input 4 does not exist: there are 4\."):
        relu_network(4, seeded(), unused=[4])
    with pytest.raises(ValueError, match="Input 1 is named 2 times"):
        relu_network(4, seeded(), unused=[1], twins=[(0, 1)])


@pytest.mark.parametrize("players", range(1, 9))
def test_parity_and_majority_by_counting(players):
    x = torch.tensor(corners(players), dtype=torch.float64)
    ones = [int(sum(corner)) for corner in corners(players)]
    assert parity_network(players)(x)[:, 0].tolist() == [count % 2 for count in ones]
    assert majority_network(players)(x)[:, 0].tolist() == [count > players / 2 for count in ones]


def test_a_network_needs_an_input():
    with pytest.raises(ValueError, match="at least one player"):
        parity_network(0)


def test_networks_are_made_without_global_randomness():
    before = torch.get_rng_state()
    first, second = (relu_network(4, seeded(1)) for _ in range(2))
    and_or_network(planted_terms(4, 2, 1, seeded()))
    assert torch.get_rng_state().equal(before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one.equal(other)
