import pytest
import torch
from torch import nn

from unmask import constant, features, logit, masked
from unmask.lattice import coalitions


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.ones(1, 3)}, ValueError, r"x has shape \(1, 3\). Give one input without"),
        ({"x": torch.tensor([1.0, torch.nan, 0])}, ValueError, r"nan at index \(1,\)"),
        ({"x": torch.tensor([1.0, 0, torch.inf])}, ValueError, r"inf at index \(2,\)"),
        ({"baseline": torch.tensor([0, -torch.inf, 0])}, ValueError, "baseline must be finite"),
        (
            {"baseline": torch.full((3,), 1e300, dtype=torch.float64)},
            ValueError,
            "baseline must be finite",
        ),
        ({"baseline": torch.zeros(4)}, ValueError, r"baseline has shape \(4,\), one input \(3,\)"),
        ({"baseline": torch.zeros(0, 3)}, ValueError, "set of backgrounds is empty"),
        ({"baseline": torch.zeros(2, 1, 3)}, ValueError, r"baseline has shape \(2, 1, 3\)"),
        ({"x": torch.tensor([1, 2, 3])}, TypeError, "an id that stands for nothing"),
        ({"batch_size": 0}, ValueError, "A batch of 0 inputs"),
        ({"score": logit(nn.Linear(3, 2), torch.tensor([0, 1]))}, ValueError, "each of 2 inputs"),
        ({"score": logit(nn.BatchNorm1d(3), 0)}, ValueError, r"Call model.eval\(\) first"),
    ],
)
def test_what_cannot_be_played_is_refused(change, error, words):
    given_ = {
        "score": logit(nn.Linear(3, 2), 0),
        "x": torch.ones(3),
        "players": features(3),
        "baseline": torch.zeros(3),
    }
    with pytest.raises(error, match=words):
        masked(**(given_ | change))


@pytest.mark.parametrize("target", [2, -1])
def test_targets_out_of_range_are_refused(target):
    game = masked(logit(nn.Linear(3, 2), target), torch.ones(3), features(3), torch.zeros(3))
    with pytest.raises(ValueError, match=f"Class {target} is out of range"):
        game.table()


def test_a_random_model_is_warned_of():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).train()
    with pytest.warns(UserWarning, match=r"Call model.eval\(\) first"):
        masked(logit(model, 0), torch.ones(3), features(3), torch.zeros(3))


def test_a_broken_output_names_the_coalition():
    def model(x):
        return torch.where((x[:, 0] > 0) & (x[:, 2] > 0) & (x[:, 1] == 0), torch.nan, x.sum(1))

    for batch_size in (1, 4, None):
        game = masked(
            logit(model, 0), torch.ones(3), features(["age", "sex", "pay"]), torch.zeros(3),
            batch_size=batch_size,
        )  # fmt: skip
        for ask in (game.table, lambda game=game: game(coalitions(3))):
            with pytest.raises(ValueError, match=r"coalition {age, pay} is nan"):
                ask()


def test_twenty_players_are_the_most():
    linear = nn.Linear(20, 1).requires_grad_(False)
    x = torch.randn(20)
    table = masked(logit(linear, 0), x, features(20), constant(x)).table()
    terms = (linear.weight[0] * x).tolist()
    for place in (0, 1, 2**20 - 1, 0b1010_0000_0011_0000_0001):
        expected = float(linear.bias) + sum(t for i, t in enumerate(terms) if place >> i & 1)
        assert table[place].item() == pytest.approx(expected, abs=1e-4)
    x = torch.randn(21)
    game = masked(logit(nn.Linear(21, 1), 0), x, features(21), constant(x))
    with pytest.raises(ValueError, match="21 players have"):
        game.table()
    assert game(torch.ones(1, 21, dtype=torch.bool)).shape == (1,)
