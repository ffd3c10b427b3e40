import pytest
import torch

from unmask import Players, features, logit, masked
from unmask.methods.dynamics.tables import hidden_for, tables
from unmask.planted import relu_network


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [1, 7, 1000, None])
@pytest.mark.parametrize("backgrounds", [1, 3])
def test_every_input_plays_the_game_that_it_plays_alone(size, backgrounds):
    networks = [relu_network(4, seeded(i)) for i in range(2)]
    x = torch.randn(3, 4, generator=seeded(5)).double()
    behind = torch.randn(backgrounds, 4, generator=seeded(6)).double()
    players = Players(torch.tensor([1, 0, -1, 1]), ("a", "b"))

    def read(rows, source):
        return torch.cat([network(rows) for network in networks] + [source[:, None].double()], 1)

    found = tables(read, x, players, hidden_for(x, behind), size)
    assert found.shape == (3, 3, 4)
    for i, network in enumerate(networks):
        for j in range(3):
            expected = masked(logit(network, 0), x[j], players, behind).table()
            assert torch.allclose(found[i, j], expected, atol=1e-12)
    assert torch.allclose(found[2], torch.arange(3).double()[:, None].expand(3, 4))


def test_every_input_may_have_a_background_of_its_own():
    network = relu_network(3, seeded())
    x = torch.randn(2, 3, generator=seeded(5)).double()
    behind = torch.randn(2, 1, 3, generator=seeded(6)).double()
    found = tables(lambda rows, source: network(rows), x, features(3), behind)
    for j in range(2):
        expected = masked(logit(network, 0), x[j], features(3), behind[j, 0]).table()
        assert torch.allclose(found[0, j], expected, atol=1e-12)


def test_no_graph_is_kept_and_nothing_is_written_on():
    network = relu_network(3, seeded())
    x = torch.randn(2, 3, generator=seeded(5)).double()
    before = x.clone()

    def read(rows, source):
        return network(rows.add_(1))

    found = tables(read, x, features(3), hidden_for(x, torch.zeros(1, 3).double()))
    assert not found.requires_grad
    assert torch.equal(x, before)


def test_too_many_players():
    x = torch.zeros(1, 21)
    with pytest.raises(ValueError, match="21 players have"):
        tables(lambda rows, source: rows[:, :1], x, features(21), hidden_for(x, x))
