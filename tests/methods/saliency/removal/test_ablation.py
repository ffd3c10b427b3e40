import os

import pytest
import torch
from hypothesis import given

from strategies import games, relu_network, tabled
from unmask import Game, constant, features, log_odds, logit, masked
from unmask.methods.saliency import ablation, inclusion

FIXTURES = {
    "linear": (
        lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1,
        (1, 2, 4),
        (2, -6, 2),
        (2, -6, 2),
    ),
    "product": (lambda x: x[:, 0] * x[:, 1], (2, 3), (6, 6), (0, 0)),
    "cubic": (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3), (12, 12), (0, 0)),
    "hinge": (lambda x: torch.relu(x[:, 0] + x[:, 1] - 1), (1, 1), (1, 1), (0, 0)),
    "minimum": (lambda x: x[:, 0] - torch.relu(x[:, 0] - x[:, 1]), (3, 1), (1, 1), (0, 0)),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_known_functions(name):
    function, x, out, alone = FIXTURES[name]
    x = torch.tensor(x).double()
    game = masked(logit(function, 0), x, features(len(x)), constant(x))
    assert ablation(game).values.tolist() == [pytest.approx(out)]
    assert inclusion(game).values.tolist() == [pytest.approx(alone)]


@given(games())
def test_values_follow_the_definition(game):
    v, n = game.table().tolist(), len(game.names)
    out, alone = ablation(game), inclusion(game)
    assert out.values.tolist() == [pytest.approx([v[-1] - v[-1 - 2**i] for i in range(n)])]
    assert alone.values.tolist() == [pytest.approx([v[2**i] - v[0] for i in range(n)])]
    for found in (out, alone):
        assert found.names == game.names
        assert found.evaluations == n + 1
        assert found.gap is None


@given(games())
def test_each_is_the_other_of_the_mirrored_game(game):
    """The dual of a game counts what is lost with a coalition."""
    dual = Game(lambda masks: -game(~masks), game.names)
    assert torch.allclose(inclusion(dual).values, ablation(game).values, atol=1e-12)


def test_many_players_are_taken_in_parts(monkeypatch):
    module = __import__("sys").modules["unmask.methods.saliency.removal.ablation"]
    monkeypatch.setattr(module, "_MARKS", 500)
    sizes = []

    def value(masks):
        sizes.append(len(masks))
        return masks.double() @ torch.arange(100.0).double()

    game = Game(value, tuple(map(str, range(100))))
    assert ablation(game).values[0].tolist() == pytest.approx(list(range(100)))
    assert inclusion(game).values[0].tolist() == pytest.approx(list(range(100)))
    assert max(sizes) == 5


def test_one_player_and_half_precision():
    table = torch.tensor([1.0, 4.0], dtype=torch.float16)
    found = ablation(tabled(table))
    assert found.values.tolist() == inclusion(tabled(table)).values.tolist() == [[3.0]]
    assert found.values.dtype == torch.float64


def test_a_broken_value_is_named():
    game = Game(lambda m: torch.where(m.all(1), 1.0, torch.nan), ("a", "b"))
    with pytest.raises(ValueError, match=r"coalition \{b\} is nan"):
        ablation(game)


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    network = relu_network([6, 12, 3], seed=1)
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(2)).double()
    groups = torch.tensor([[0, 0, 1, 2, 2, 2]])
    theirs = attr.FeatureAblation(network).attribute(x, target=2, feature_mask=groups)
    players = features(6, {"a": [0, 1], "b": [2], "c": [3, 4, 5]})
    found = ablation(masked(logit(network, 2), x[0], players, constant(x[0])))
    assert torch.allclose(players.paint(found.values[0]), theirs[0], atol=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_words_of_a_review():
    from unmask.zoo import sst2

    exhibit = sst2()
    x, players = exhibit.inputs[0], exhibit.players(0)
    game = masked(log_odds(exhibit.model, 1), x, players, exhibit.baseline(0))
    found = ablation(game)
    first = players.owner == 0
    with torch.no_grad():
        changed = torch.where(first, exhibit.baseline(0), x)
        drop = log_odds(exhibit.model, 1)(torch.stack([x, changed]))
    assert found.values[0, 0].item() == pytest.approx(float(drop[0] - drop[1]), abs=1e-5)


def test_measurements_of_a_tumour():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    x, players = exhibit.inputs[0], exhibit.players(0)
    game = masked(log_odds(exhibit.model, 0), x, players, exhibit.baseline(0))
    table = game.table().double()
    assert torch.allclose(
        ablation(game).values[0],
        table[-1] - table[[2**10 - 1 - 2**i for i in range(10)]],
        atol=1e-5,
    )
    assert torch.allclose(
        inclusion(game).values[0], table[[2**i for i in range(10)]] - table[0], atol=1e-5
    )
