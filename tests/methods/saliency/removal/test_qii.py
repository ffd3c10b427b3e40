import os
from itertools import product

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Score, features, logit, probability
from unmask.interactions import interaction_indices
from unmask.methods.saliency import disparity, influence_game, positive_rate, qii, shapley_exact

AND = Score(lambda x: x.amin(1), lambda output, rows: output)
COINS = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double()
ONES = torch.ones(1, 2).double()
NETWORK = relu_network([3, 8, 2], 0)
TABLE = torch.randn(15, 3, generator=torch.Generator().manual_seed(1)).double()
BANZHAF = lambda game: interaction_indices(game, index="BV")  # noqa: E731


def test_two_coins():
    assert qii(AND, ONES, data=COINS).values.tolist() == [[0.5, 0.5]]
    # Both at once: all four outcomes, in a draw for each.
    tossed = torch.tensor(list(product((0.0, 1.0), repeat=2))).double()
    many = {"samples": 40_000, "generator": torch.Generator().manual_seed(3)}
    game = influence_game(AND, ONES, data=tossed, **many)
    masks = torch.tensor([[False, False], [True, False], [True, True]])
    assert game(masks).tolist() == pytest.approx([0, 0.5, 0.75], abs=0.01)  # 4 standard errors
    for share in (shapley_exact, BANZHAF):
        found = qii(AND, ONES, data=tossed, share=share, **many)
        assert found.values.tolist() == [pytest.approx([0.375, 0.375], abs=0.01)]
        assert found.names == ("feature 1", "feature 2")


def test_one_column_alone_is_exact_over_the_data():
    score = logit(NETWORK, 1)
    found = qii(score, TABLE[:4], data=TABLE)
    for i in range(4):
        for j in range(3):
            drawn = []
            for k in range(15):
                asked = TABLE[i].clone()
                asked[j] = TABLE[k, j]
                drawn.append(float(score(asked[None]).detach()))
            expected = float(score(TABLE[i : i + 1]).detach()) - sum(drawn) / 15
            assert float(found.values[i, j]) == pytest.approx(expected, abs=1e-12)
    assert found.errors is None
    assert found.evaluations == 4 * (1 + 3 * 15)


@pytest.mark.parametrize("samples", [10, 60])
def test_draws_come_near_and_say_how_near(samples):
    score = logit(NETWORK, 1)
    exact = qii(score, TABLE[:1], data=TABLE).values
    found = [
        qii(
            score, TABLE[:1], data=TABLE, samples=samples,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(300)
    ]  # fmt: skip
    values = torch.cat([one.values for one in found])
    errors = torch.cat([one.errors for one in found])
    assert ((values.mean(0) - exact[0]).abs() < 4 * values.std(0) / 300**0.5).all()
    spread = errors.square().mean(0).sqrt() / values.std(0)
    assert ((spread > 0.8) & (spread < 1.25)).all()


def test_a_column_that_is_not_used_has_no_influence_however_well_others_tell_it():
    copied = TABLE.clone()
    copied[:, 2] = copied[:, 0]
    blind = Score(lambda x: x[:, 0] * x[:, 1], lambda output, rows: output)
    assert qii(blind, copied[:5], data=copied).values[:, 2].tolist() == [0] * 5  # to the last bit
    shared = qii(blind, copied[:2], data=copied, share=shapley_exact, samples=20)
    assert shared.values[:, 2].abs().max() < 1e-12
    assert shared.values[:, 0].abs().min() > 1e-3


def test_shared_values_sum_to_the_influence_of_all():
    score = probability(NETWORK, 1)
    found = qii(score, TABLE[:3], data=TABLE, share=shapley_exact)
    for i in range(3):
        game = influence_game(score, TABLE[i : i + 1], data=TABLE)
        whole = float(game(torch.ones(1, 3).bool()))
        assert float(found.values[i].sum()) == pytest.approx(whole, abs=1e-12)
        alone = qii(score, TABLE[i : i + 1], data=TABLE).values[0]
        assert torch.allclose(game(torch.eye(3).bool()), alone, atol=1e-12)
    assert found.evaluations == 3 * (8 * 15 + 1)


def test_each_input_has_its_own_class_and_meets_the_same_draws():
    target = torch.tensor([1, 0, 1])
    for options in ({}, {"share": shapley_exact}):
        generator = torch.Generator().manual_seed(5)
        options = options | {"data": TABLE, "samples": 7}
        found = qii(logit(NETWORK, target), TABLE[:3], generator=generator, **options)
        for i in range(3):
            generator = torch.Generator().manual_seed(5)
            score = logit(NETWORK, int(target[i]))
            alone = qii(score, TABLE[i : i + 1], generator=generator, **options)
            assert torch.allclose(found.values[i], alone.values[0], atol=1e-12)


def test_of_a_population():
    """A third is accepted for income alone; the group has none of it."""
    group = torch.tensor([True, True, True, False, False, False])
    rows = torch.tensor([[0.0, 7.0]] * 3 + [[0.0, 8.0], [1.0, 8.0], [1.0, 7.0]]).double()
    score = Score(lambda x: x[:, 0] - 0.5, lambda output, rows: output)
    found = qii(score, rows, data=rows, quantity=positive_rate())
    # Drawn anew, income is as often 1: the share stays 1/3, whoever is accepted.
    assert found.values.tolist() == [pytest.approx([0, 0], abs=1e-12)]
    assert found.values.shape == (1, 2)
    unfair = qii(score, rows, data=rows, quantity=disparity(group))
    # 0 - 2/3 as it is; drawn anew, both groups are accepted alike.
    assert unfair.values.tolist() == [pytest.approx([-2 / 3, 0], abs=1e-12)]
    shared = qii(score, rows, data=rows, quantity=disparity(group), share=shapley_exact)
    assert shared.values.tolist() == [pytest.approx([-2 / 3, 0], abs=1e-12)]


def test_each_of_a_population_draws_for_itself():
    """Drawn anew, a column spreads as before; were the draw one for all, nobody would differ."""
    score = Score(lambda x: x[:, 0], lambda output, rows: output)
    spread = float(TABLE[:, 0].var())
    found = qii(score, TABLE, data=TABLE, quantity=lambda values: values.var())
    assert abs(float(found.values[0, 0])) < 0.2 * spread
    game = influence_game(score, TABLE, data=TABLE, quantity=lambda values: values.var())
    assert abs(float(game(torch.tensor([[True, False, False]])))) < 0.2 * spread


@pytest.mark.parametrize("options", [{}, {"quantity": positive_rate(0.1)}, {"share": BANZHAF}])
@pytest.mark.parametrize("batch_size", [1, 4, 16, 1000])
def test_batches_change_nothing_and_are_never_exceeded(options, batch_size):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return NETWORK(x)

    found = qii(logit(counted, 1), TABLE[:4], data=TABLE, batch_size=batch_size, **options)
    whole = qii(logit(NETWORK, 1), TABLE[:4], data=TABLE, **options)
    assert torch.allclose(found.values, whole.values, atol=1e-12)
    assert max(sizes) <= batch_size


def test_one_column_and_a_model_that_never_changes():
    found = qii(logit(lambda x: 0 * x + 3, 0), TABLE[:2, :1], data=TABLE[:, :1])
    assert found.values.tolist() == [[0], [0]]
    single = qii(logit(lambda x: x, 0), ONES[:, :1], data=COINS[:, :1], share=shapley_exact)
    assert single.values.tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"data": TABLE[:, :2]}, (ValueError, TypeError), "the columns of x|parameter 'data'"),
        ({"data": TABLE[:0]}, ValueError, "the columns of x"),
        ({"data": TABLE / 0}, ValueError, "The data must be finite"),
        ({"x": TABLE / 0}, ValueError, "The input must be finite"),
        ({"x": TABLE[:0]}, ValueError, "at least one of each"),
        ({"samples": 0}, ValueError, "0 draws"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"players": features(2)}, ValueError, r"one input has shape \(3,\)"),
        ({"quantity": lambda values: values}, ValueError, "one finite number"),
        ({"quantity": lambda values: float("nan")}, ValueError, "one finite number"),
        ({"quantity": disparity(torch.tensor([True, False]))}, ValueError, "group is of 2 rows"),
    ],
)
def test_what_has_no_influence_is_refused(options, error, words):
    given = {"x": TABLE, "data": TABLE} | options
    with pytest.raises(error, match=words):
        qii(logit(NETWORK, 0), given.pop("x"), **given)


def test_groups_and_games_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="3 of 3 rows"):
        disparity(torch.ones(3).bool())
    with pytest.raises(ValueError, match="played on one input, but x holds 2"):
        influence_game(logit(NETWORK, 0), TABLE[:2], data=TABLE)
    with pytest.raises(ValueError, match="batch normalisation in training"):
        qii(logit(nn.Sequential(nn.BatchNorm1d(3)), 0), TABLE, data=TABLE)


def test_breast_cancer():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    data, players = torch.stack(exhibit.inputs), exhibit.players(0)
    score = probability(exhibit.model, 0)
    alone = qii(score, data[:2], data=data, players=players)
    shared = qii(score, data[:2], data=data, players=players, share=shapley_exact, samples=30)
    assert alone.names == shared.names == players.names
    game = influence_game(score, data[:1], data=data, players=players, samples=30)
    whole = float(game(torch.ones(1, 10).bool()))
    assert float(shared.values[0].sum()) == pytest.approx(whole, abs=1e-6)
    # What stands for everything drawn anew is near the mean of the data.
    with torch.no_grad():
        assert float(score(data[:1]) - score(data).mean()) == pytest.approx(whole, abs=0.25)


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_adult():
    from unmask.zoo import adult

    exhibit = adult()
    data, players = torch.stack(exhibit.inputs), exhibit.players(0)
    score = logit(exhibit.model, 1)
    margin = Score(exhibit.model, lambda z, rows: z[:, 1] - z[:, 0])
    sex = data[:, (players.owner == players.names.index("sex")).nonzero()[-1, 0]]
    unfair = qii(margin, data, data=data, players=players, quantity=disparity(sex > 0), samples=10)
    with torch.no_grad():
        positive = (margin(data) > 0).double()
    gap = float(positive[sex > 0].mean() - positive[sex <= 0].mean())
    assert gap > 0.1
    # Marital status and relationship tell most of what the network makes of sex.
    largest = unfair.values[0].argsort(descending=True)[:3]
    assert {"relationship", "marital status"} & {players.names[i] for i in largest}
    assert qii(score, data[:3], data=data, players=players).values.isfinite().all()
