from itertools import product
from math import factorial

import pytest
import torch

from strategies import relu_network
from unmask import Score, features, loss
from unmask.methods.saliency import (
    importance_game,
    permutation_importance,
    shapley_exact,
    shapley_feature_importance,
)

CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]).double()
WEIGHTS = torch.tensor([1.0, 2.0]).double()
NETWORK = relu_network([3, 8, 2], 0)
TABLE = torch.randn(9, 3, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.arange(9) % 2


def squared(function, y):
    def read(output, rows):
        return (output - (y if rows is None else y[rows])) ** 2

    return Score(function, read, "squared error", targets=len(y))


def slow_values(score, data):
    """Shapley values of the loss saved, over all pairs of rows, by the definition."""
    rows, width = data.shape

    def error(kept):
        total = 0.0
        for i, k in product(range(rows), repeat=2):
            mixed = torch.tensor(
                [float(data[i, j] if j in kept else data[k, j]) for j in range(width)]
            ).double()
            with torch.no_grad():
                total += float(score(mixed[None], torch.tensor([i])))
        return total / rows**2

    values = [0.0] * width
    for j in range(width):
        others = [i for i in range(width) if i != j]
        for chosen in product((False, True), repeat=len(others)):
            kept = {i for i, there in zip(others, chosen, strict=True) if there}
            weight = factorial(len(kept)) * factorial(width - len(kept) - 1) / factorial(width)
            values[j] += weight * (error(kept) - error(kept | {j}))
    return values


def test_two_columns_that_add_up():
    """Each shares 2 w^2 var."""
    score = squared(lambda x: x @ WEIGHTS, CORNERS @ WEIGHTS)
    found = shapley_feature_importance(score, CORNERS, samples=None)
    assert found.values.tolist() == [pytest.approx([2, 8])]
    assert float(found.gap) == pytest.approx(0, abs=1e-12)
    assert found.evaluations == 16 * (4 + 1)
    game = importance_game(score, CORNERS, samples=None)
    assert game.table().tolist() == pytest.approx([0, 2, 8, 10])


def test_the_values_follow_the_definition():
    score = loss(NETWORK, LABELS)
    found = shapley_feature_importance(score, TABLE, samples=None)
    assert found.values[0].tolist() == pytest.approx(slow_values(score, TABLE), abs=1e-10)


def test_what_only_both_save_is_shared_and_not_counted_twice():
    xor = squared(lambda x: x[:, 0] * x[:, 1], CORNERS[:, 0] * CORNERS[:, 1])
    found = shapley_feature_importance(xor, CORNERS, samples=None)
    assert found.values.tolist() == [pytest.approx([1, 1])]
    twice = permutation_importance(xor, CORNERS, apart=False)
    assert twice.values.tolist() == [pytest.approx([2, 2])]


def test_a_few_draws_come_near_and_the_same_ones_serve_all_sets():
    score = loss(NETWORK, LABELS)
    exact = shapley_feature_importance(score, TABLE, samples=None).values
    found = torch.cat(
        [
            shapley_feature_importance(
                score, TABLE, samples=3, generator=torch.Generator().manual_seed(seed)
            ).values
            for seed in range(200)
        ]
    )
    assert ((found.mean(0) - exact[0]).abs() < 4 * found.std(0) / 200**0.5).all()
    # A model that does not use a column gives it exactly nothing in every draw.
    blind = loss(lambda x: NETWORK(x * torch.tensor([1.0, 0.0, 1.0])), LABELS)
    single = shapley_feature_importance(blind, TABLE, samples=2)
    assert single.values[0, 1] == pytest.approx(0, abs=1e-14)


def test_columns_of_one_player_go_together():
    pair = features(3, {"both": (0, 2)})
    score = loss(NETWORK, LABELS)
    found = shapley_feature_importance(score, TABLE, players=pair, samples=None)
    assert found.names == ("both", "feature 2")
    whole = shapley_feature_importance(score, TABLE, samples=None)
    assert float(found.values.sum()) == pytest.approx(float(whole.values.sum()), abs=1e-12)


def test_another_way_to_share():
    asked = []

    def equally(game):
        asked.append(len(game.names))
        return shapley_exact(game)

    shapley_feature_importance(loss(NETWORK, LABELS), TABLE, share=equally)
    assert asked == [3]


@pytest.mark.parametrize("batch_size", [1, 7, 9, 10, 500])
def test_batches_change_nothing_and_are_never_exceeded(batch_size):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return NETWORK(x)

    found = shapley_feature_importance(loss(counted, LABELS), TABLE, batch_size=batch_size)
    whole = shapley_feature_importance(loss(NETWORK, LABELS), TABLE)
    assert torch.allclose(found.values, whole.values, atol=1e-12)
    assert max(sizes) <= batch_size
    assert sum(sizes) == found.evaluations


def test_what_cannot_play_is_refused():
    score = loss(NETWORK, LABELS)
    with pytest.raises(ValueError, match=r"one input has shape \(3,\)"):
        shapley_feature_importance(score, TABLE, players=features(2))
    with pytest.raises(ValueError, match="only one row"):
        shapley_feature_importance(loss(NETWORK, 0), TABLE[:1])
    with pytest.raises(ValueError, match="0 draws"):
        shapley_feature_importance(score, TABLE, samples=0)
    wide = torch.zeros(3, 30).double()
    with pytest.raises(ValueError, match=r"30 players have 2\^30"):
        shapley_feature_importance(loss(lambda x: x[:, :2], 0), wide)


def test_breast_cancer():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    data, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    score = loss(exhibit.model, labels)
    players = features(30, {"mean": range(10), "error": range(10, 20), "worst": range(20, 30)})
    found = shapley_feature_importance(score, data, players=players, samples=20)
    with torch.no_grad():
        kept = float(score(data).mean())
    nothing = [
        float(score(data.roll(-shift, 0), torch.arange(169)).mean().detach())
        for shift in range(169)
    ]
    saved = sum(nothing) / 169 - kept
    # 20 of 169 ways to exchange rows stand for all.
    assert float(found.values.sum()) == pytest.approx(saved, rel=0.1)
    assert found.values[0].argmax() == 2
