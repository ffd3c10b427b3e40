"""What is not shared, or turns out wrong, is done the plain way."""

import pytest
import torch
from torch import nn

from shareable import definition, eager, image, is_shared, small
from unmask import Game, features, log_odds, masked, patches
from unmask.sharing import rows_run
from unmask.sharing.convolutions import colouring
from unmask.zoo.lenet import LeNet


@pytest.fixture(name="always")
def _always(monkeypatch):
    eager(monkeypatch)


def test_layers_that_see_everything_are_not_shared(always):
    torch.manual_seed(0)
    x = image(2, 12, 12)
    players = patches((2, 12, 12), (2, 4))
    for first in (nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), nn.Softmax2d()):
        model = nn.Sequential(first, small()).double().eval()
        score = log_odds(model, 0)
        game = masked(score, x, players, 0 * x)
        assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12
        local = isinstance(first, nn.Softmax2d)  # over the channels of each place
        assert is_shared(game) == local


class Squashed(nn.Module):
    """Loses NaN on the way: what it depends on cannot be seen."""

    def __init__(self):
        super().__init__()
        self.body = small()

    def forward(self, x):
        return self.body(torch.nan_to_num(x))


def test_a_model_that_hides_what_it_depends_on(always):
    x, players = image(2, 12, 12), patches((2, 12, 12), (2, 4))
    score = log_odds(Squashed().eval(), 0)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12
    assert not is_shared(game)


class Coarse(nn.Module):
    """Puts out numbers of which a wrong one is hardly told from one that is rounded."""

    def __init__(self):
        super().__init__()
        self.body = small()

    def forward(self, x):
        return self.body(x).bfloat16()


def test_coarse_outputs_cannot_be_checked(always):
    x, players = image(2, 12, 12), patches((2, 12, 12), (2, 4))
    score = log_odds(Coarse().eval(), 0)
    game = masked(score, x, players, 0 * x)
    assert torch.equal(game.table(), definition(score, x, players, 0 * x).to(game.table()))
    assert not is_shared(game)
    fine = masked(log_odds(Coarse().eval().body, 0), x, players, 0 * x)
    fine.table()
    assert is_shared(fine)


def test_small_work_is_left_alone_before_anything_is_traced(monkeypatch):
    def never(_model):
        raise AssertionError("the model was traced")

    monkeypatch.setattr(colouring, "chain", never)
    x = torch.zeros(1, 28, 28)
    game = masked(log_odds(LeNet().eval(), 0), x, patches((1, 28, 28), (2, 4)), x)
    game.table()
    assert rows_run(game) == {"all": 256}
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    game = masked(log_odds(mlp, 0), x, patches((1, 28, 28), (2, 4)), x)
    game.table()
    assert rows_run(game) == {"all": 256}


def test_what_fails_only_when_shared_is_done_the_plain_way(always, monkeypatch):
    def fails(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(colouring, "_gathered", fails)
    x, players = image(2, 12, 12), patches((2, 12, 12), (2, 4))
    score = log_odds(small(), 0)
    game = masked(score, x, players, 0 * x)
    assert (game.table() - definition(score, x, players, 0 * x)).abs().max() <= 1e-12
    assert rows_run(game)["all"] == 256


def test_a_game_that_no_model_plays_tells_nothing():
    assert rows_run(Game(lambda masks: masks.double().sum(1), ("a",))) == {}
    x = torch.zeros(4)
    game = masked(log_odds(nn.Linear(4, 2), 0), x, features(4), x)
    assert rows_run(game) == {}
    game.table()
    assert rows_run(game) == {"all": 16}
