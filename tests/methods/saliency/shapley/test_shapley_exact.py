from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import games, relu_network, tabled, tensors
from unmask import Game, constant, features, logit, masked
from unmask.interactions import and_interaction, interaction_indices, or_interaction
from unmask.lattice import coalitions
from unmask.methods.saliency import shapley_exact


def slow_values(table):
    """What each player adds on joining, averaged over all orders of arrival."""
    n = len(table).bit_length() - 1
    values, orders = [0.0] * n, list(permutations(range(n)))
    for order in orders:
        there = 0
        for i in order:
            values[i] += float(table[there + 2**i] - table[there]) / len(orders)
            there += 2**i
    return values


@given(games(max_players=5))
def test_values_average_over_all_orders_of_arrival(game):
    found = shapley_exact(game)
    assert found.values.tolist() == [pytest.approx(slow_values(game.table()), abs=1e-10)]
    assert found.names == game.names
    assert found.evaluations == 2 ** len(game.names)


def test_a_left_glove_is_worth_more_than_one_of_two_right_ones():
    own = coalitions(3)
    found = shapley_exact(tabled((own[:, 0] & own[:, 1:].any(1)).double()))
    assert found.values.tolist() == [pytest.approx([2 / 3, 1 / 6, 1 / 6])]
    banzhaf = interaction_indices(tabled((own[:, 0] & own[:, 1:].any(1)).double()), index="BV")
    assert banzhaf.effects.tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 4])


def test_each_aeroplane_pays_its_part_of_the_runway():
    costs = torch.tensor([1.0, 2.0, 3.0])
    found = shapley_exact(tabled((coalitions(3) * costs).amax(1)))
    assert found.values.tolist() == [pytest.approx([1 / 3, 5 / 6, 11 / 6])]


@given(games(max_players=7))
def test_values_sum_to_the_whole(game):
    found, v = shapley_exact(game), game.table()
    assert found.values.sum() == pytest.approx(float(v[-1] - v[0]), abs=1e-10)
    assert found.gap.tolist() == pytest.approx([0], abs=1e-10)


@given(games(max_players=6))
def test_values_are_terms_shared_equally(game):
    for terms in (and_interaction(game), or_interaction(game)):
        shares = (terms.effects / terms.order) @ terms.members.double()
        assert torch.allclose(shapley_exact(game).values[0], shares, atol=1e-9)


@given(games(max_players=5), st.data())
def test_a_dummy_player_gets_what_it_brings_alone(game, data):
    n = len(game.names)
    dummy, brings = data.draw(st.integers(0, n)), data.draw(st.sampled_from([0.0, 2.5]))
    masks = coalitions(n + 1)
    others = masks[:, [i for i in range(n + 1) if i != dummy]]
    found = shapley_exact(tabled(game(others) + brings * masks[:, dummy]))
    assert found.values[0, dummy] == pytest.approx(brings, abs=1e-10)
    rest = torch.cat([found.values[0, :dummy], found.values[0, dummy + 1 :]])
    assert torch.allclose(rest, shapley_exact(game).values[0], atol=1e-10)


@given(games(min_players=4, max_players=4), st.permutations(range(4)))
def test_renamed_players_get_renamed_values(game, order):
    moved = shapley_exact(tabled(game(coalitions(4)[:, order]))).values[0]
    assert torch.allclose(moved[order], shapley_exact(game).values[0], atol=1e-10)


@given(games(min_players=4, max_players=4))
def test_players_that_can_be_swapped_get_the_same(game):
    masks = coalitions(4)
    values = shapley_exact(tabled(game(masks) + game(masks[:, [1, 0, 2, 3]]))).values[0]
    assert values[0] == pytest.approx(float(values[1]), abs=1e-10)


@given(st.data(), st.integers(1, 6))
def test_values_are_linear_in_the_game(data, n):
    one, two = data.draw(tensors(2**n)), data.draw(tensors(2**n))
    found = [shapley_exact(tabled(v)).values for v in (one, two, 2 * one - 3 * two)]
    assert torch.allclose(found[2], 2 * found[0] - 3 * found[1], atol=1e-9)


def test_twenty_players():
    weights = torch.arange(1.0, 21).double()
    masks = coalitions(20)
    found = shapley_exact(tabled(masks.double() @ weights + 20.0 * masks[:, :5].all(1)))
    expected = weights + 4.0 * (torch.arange(20) < 5)
    assert torch.allclose(found.values[0], expected, rtol=1e-12)


def test_too_many_players_and_broken_values_are_refused():
    def value(masks):
        return torch.full((len(masks),), float("nan"))

    with pytest.raises(ValueError, match=r"21 players .* at most 20"):
        shapley_exact(Game(value, tuple(map(str, range(21)))))
    with pytest.raises(ValueError, match="another baseline"):
        shapley_exact(Game(value, ("a", "b")))


FIXTURES = {
    "linear": (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4), (2, -6, 2)),
    "product": (lambda x: x[:, 0] * x[:, 1], (2, 3), (3, 3)),
    "cubic": (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3), (6, 6)),
    "hinge": (lambda x: torch.relu(x[:, 0] + x[:, 1] - 1), (1, 1), (0.5, 0.5)),
    "minimum": (lambda x: x[:, 0] - torch.relu(x[:, 0] - x[:, 1]), (3, 1), (0.5, 0.5)),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_known_functions(name):
    function, x, expected = FIXTURES[name]
    x = torch.tensor(x).double()
    game = masked(logit(function, 0), x, features(len(x)), constant(x))
    assert shapley_exact(game).values.tolist() == [pytest.approx(expected)]


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model = relu_network([6, 12, 3], seed=1)
    x = torch.randn(1, 6, generator=torch.Generator().manual_seed(2)).double()
    theirs = attr.ShapleyValues(model).attribute(x, baselines=torch.zeros_like(x), target=2)
    game = masked(logit(model, 2), x[0], features(6), constant(x[0]))
    assert torch.allclose(shapley_exact(game).values, theirs.double(), atol=1e-6)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_shap_agrees():
    shap = pytest.importorskip("shap")
    model = relu_network([5, 12, 3], seed=3)
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(4)).double()

    def function(rows):
        return model(torch.tensor(rows))[:, 1].detach().numpy()

    theirs = shap.explainers.Exact(function, np.zeros((1, 5)))(x.numpy()).values
    game = masked(logit(model, 1), x[0], features(5), constant(x[0]))
    assert np.allclose(shapley_exact(game).values.numpy(), theirs, atol=1e-10)


@pytest.mark.gpu
def test_values_stay_on_their_device():
    table = torch.randn(2**6, generator=torch.Generator().manual_seed(0))
    found = shapley_exact(Game(lambda m: m.sum(1), tuple("abcdef"), lambda: table.cuda()))
    assert found.values.is_cuda
    assert torch.allclose(found.values.cpu(), shapley_exact(tabled(table)).values, atol=1e-12)
