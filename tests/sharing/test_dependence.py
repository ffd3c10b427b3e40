import pytest
import torch
from torch import nn
from torch.nn import functional

from shareable import definition, eager
from unmask import Players, Score, features, masked, patches
from unmask.sharing.chain import chain
from unmask.sharing.dependence import measured
from unmask.zoo.resnet import ResNet20


@torch.no_grad()
def found(model, x, players, rows=64):
    cuts, total = measured(chain(model.eval()), x, players, rows)
    return {cut.place: cut for cut in cuts}, total


def test_dependence_by_hand():
    """Two convolutions of width 3 over nine pixels in a row, of three players."""
    model = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv1d(2, 1, 3, stride=2))
    players = features(9, {"a": [0, 1, 2], "b": [3, 4, 5], "c": [6, 7, 8]})
    cuts, _ = found(model, torch.zeros(1, 9), type(players)(players.owner[None], players.names))
    first, second, last = cuts.values()
    one = [[1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1, 1]]
    assert first.depends.int().tolist() == second.depends.int().tolist() == one
    assert last.depends.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]]
    assert first.shape == (2, 9)
    assert last.shape == (1, 4)


def test_a_weight_of_zero_and_dead_units_still_depend():
    """What a player shows may differ from what it shows here."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1)
    cuts, _ = found(model, torch.zeros(1, 6, 6), patches((1, 6, 6), (2, 2)))
    assert [int(cut.depends.sum()) for cut in cuts.values()] == [64, 64, 100]


def test_what_is_measured_is_what_changes():
    """Against two inputs that differ in one player, on a network with shortcuts."""
    torch.manual_seed(0)
    model, x = ResNet20().eval(), torch.rand(3, 32, 32)
    players = patches((3, 32, 32), (3, 4))
    cuts, total = found(model, x, players)
    operations = chain(model)
    for place, cut in cuts.items():
        run = operations.piece(None, place)
        for player in (0, 5, 11):
            other = torch.where(players.owner == player, torch.rand(3, 32, 32), x)
            with torch.no_grad():
                changed = (run(other[None]) != run(x[None])).any(1).flatten()
            assert not (changed & ~cut.depends[player]).any()
            # Where the receptive field is small it is nearly all that may change.
            assert place > 10 or changed.sum() >= 0.8 * cut.depends[player].sum()
    spent = [cut.spent for cut in cuts.values()]
    assert spent == sorted(spent)
    assert 0 < spent[0] < spent[-1] <= total


def test_batches_change_nothing():
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU()), torch.rand(1, 9, 9)
    players = patches((1, 9, 9), (3, 3))
    cuts, total = found(model, x, players)
    for rows in (1, 2, 5):
        others, other = found(model, x, players, rows)
        assert other == pytest.approx(total, rel=1e-12)
        for place, cut in cuts.items():
            assert torch.equal(others[place].depends, cut.depends)
            assert others[place].shape == cut.shape


def test_costs_are_a_function_of_shapes():
    """A convolution of 64 to 64 channels on 8 x 8 places: 2.36 million products."""
    torch.manual_seed(0)
    x = torch.rand(64, 8, 8)
    players = patches((64, 8, 8), (2, 2))
    _, total = found(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)), x, players)
    products = 64 * 64 * 9 * 64
    assert 0.01 * products <= total <= 0.012 * products
    _, again = found(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1)), 100 * x, players)
    assert again == total


class Rare(nn.Module):
    """Adds up nine patches, and tells something apart only if all of them are there."""

    def __init__(self, tell):
        super().__init__()
        self.tell, self.sum = tell, nn.Conv2d(1, 1, 9)
        nn.init.ones_(self.sum.weight)
        nn.init.constant_(self.sum.bias, -80.5)

    def forward(self, x):
        return self.tell(self.sum(x)).flatten(1)


def written(y):
    y.masked_fill_(torch.zeros_like(y) + y > 0, 3)
    return y + 0


def seen_from_elsewhere(y):
    view = y[:, 0]
    view.sign_()
    return y + 0


def compared_in_place(y):
    y.gt_(0)
    return y + 0


def asked_for(y):
    """A query looks up one of two numbers."""
    query = torch.cat([100 * y, 0 * y], 3)
    two = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64) + torch.zeros_like(y)
    return functional.scaled_dot_product_attention(query, two, two)


def warped(y):
    """A place inside the map or beyond it."""
    return torch.cat([2 + 2 * y.clamp(-1, 0), 0 * y.clamp(-1, 0)], 1).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    "tell",
    [
        lambda y: torch.where(y > 0, y, torch.zeros_like(y)),
        lambda y: (y > 0).double(),
        lambda y: y.sign(),
        lambda y: torch.cat([y, y - 1], 1).sort(1)[0],
        lambda y: torch.cat([y, y - 1, 0 * y], 1).max(1, keepdim=True).indices.double(),
        lambda y: y**0 * (y > 0),
        lambda y: (0 * y).masked_fill(y > 0, 2),
        written,
        seen_from_elsewhere,
        compared_in_place,
        lambda y: functional.grid_sample(0 * y + 1, warped(y), mode="nearest", align_corners=False),
        lambda y: torch.linalg.vector_norm(y.relu(), 0, dim=1, keepdim=True),
        lambda y: torch.fake_quantize_per_tensor_affine(y.relu().float(), 0.1, 0, 0, 255).double(),
    ],
)
def test_what_makes_a_number_of_nan_is_not_trusted(monkeypatch, tell):
    """One of 512 coalitions is unlike the others: a check of 64 would hardly meet it."""
    eager(monkeypatch)
    x, players = torch.ones(1, 9, 9, dtype=torch.float64), patches((1, 9, 9), (3, 3))
    model = Rare(tell).double().eval()
    assert model(x[None])[0, 0] != model(0 * x[None])[0, 0]
    score = Score(model, lambda output, rows: output[:, 0])
    true = definition(score, x, players, 0 * x)
    assert torch.equal(masked(score, x, players, 0 * x).table(), true)


@pytest.mark.parametrize(
    "tell",
    [asked_for, lambda y: torch.cdist(y.relu(), torch.zeros_like(y), p=float("inf"))],
)
def test_what_is_not_trusted_is_no_place_to_cut(tell):
    x, players = torch.ones(1, 9, 9, dtype=torch.float64), patches((1, 9, 9), (3, 3))
    cuts, _ = found(Rare(tell).double(), x, players)
    assert [bool(cut.depends.all()) for cut in cuts.values()] == [True]  # the convolution


def test_numbers_that_keep_nan_are_trusted():
    """Powers, and a comparison that has nothing to do with the way."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Squared(), nn.ReLU())
    cuts, _ = found(model, torch.ones(1, 6, 6), patches((1, 6, 6), (2, 2)))
    assert len(cuts) == 4  # the convolution, the power, the sum, and the last layer


class Squared(nn.Module):
    def forward(self, x):
        return x**2 + (torch.ones(2, 1, 1) > 0)


def test_players_of_token_ids():
    """What a window of three sees of five words, of which the first and the last are one player."""
    model = nn.Sequential(nn.Embedding(9, 3), Turned(), nn.Conv1d(3, 2, 3))
    x = torch.tensor([1, 0, 8, 3, 2])
    cuts, _ = found(model, x, Players(torch.tensor([0, 1, 2, -1, 0]), ("a", "b", "c")))
    assert list(cuts.values())[-1].depends.int().tolist() == [[1, 0, 1], [1, 1, 0], [1, 1, 1]]


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)
