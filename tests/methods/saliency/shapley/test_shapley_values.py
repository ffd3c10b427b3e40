import pytest
import torch
from hypothesis import given

from strategies import games, tabled
from unmask import Game, log_odds, masked, predicted, tabulated, zoo
from unmask.lattice import coalitions
from unmask.methods.saliency import leverage_shap, shapley_exact, shapley_values
from unmask.planted import planted_game


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def named(n):
    return tuple(f"p{i}" for i in range(n))


def slow_shapley(truth):
    """Each AND term shared equally; an OR term of t players gives each 1/t as well."""
    return (truth.effects / truth.order) @ truth.members.double()


@given(game=games(max_players=5))
def test_all_coalitions_where_they_cost_no_more(game):
    n = len(game.names)
    for samples in (None, 2**n, 2**n + 1):
        found = shapley_values(game, samples=samples)
        assert torch.allclose(found.values, shapley_exact(game).values)
        assert found.evaluations == 2**n
        assert (found.errors == 0).all()


@pytest.mark.parametrize("samples", [4, 5, 13, 50, 126, 127])
def test_the_sum_is_always_right_and_the_samples_are_kept(samples):
    table = torch.randn(128, generator=seeded(), dtype=torch.float64)
    counted = []

    def value(masks):
        counted.append(len(masks))
        return tabled(table)(masks)

    found = shapley_values(Game(value, named(7)), samples=samples, generator=seeded())
    assert found.evaluations == sum(counted) == samples - samples % 2
    assert float(found.values.sum()) == pytest.approx(float(table[-1] - table[0]), abs=1e-10)
    assert found.gap.tolist() == pytest.approx([0], abs=1e-10)
    assert found.names == named(7)


def test_additive_games():
    worth = torch.randn(15, generator=seeded(), dtype=torch.float64)
    found = shapley_values(Game(lambda own: 4 + own.double() @ worth, named(15)), samples=100)
    # the process allows for a part without rule of a millionth
    assert torch.allclose(found.values[0], worth, atol=1e-5)


@pytest.mark.parametrize("players", [14, 70])
def test_planted_terms_are_shared_better_than_by_regression(players):
    game, truth = planted_game(players, 10, 5, seeded(1), largest=3)
    exact = slow_shapley(truth)
    ours, theirs = (
        method(game, samples=600, generator=seeded(2)) for method in (shapley_values, leverage_shap)
    )
    assert (ours.values - exact).norm() < 0.7 * (theirs.values - exact).norm()
    assert (ours.values - exact).abs().max() < 5 * ours.errors.max()


def test_a_game_without_rule_is_no_harder_than_for_regression():
    table = torch.randn(2**10, generator=seeded(3), dtype=torch.float64)
    exact = shapley_exact(tabled(table)).values
    game = tabled(table)
    ours, theirs = (
        torch.stack([method(game, samples=300, generator=seeded(s)).values for s in range(8)])
        for method in (shapley_values, leverage_shap)
    )
    assert (ours - exact).norm() < 1.1 * (theirs - exact).norm()


def test_more_samples_than_the_process_takes_correct_it(monkeypatch):
    import sys

    file = sys.modules["unmask.methods.saliency.shapley.shapley_values"]
    masks = coalitions(11)
    # what three stand for together, and much without any rule
    table = masks.double().sum(1) + 3 * masks[:, :3].all(1).double()
    table += 2 * torch.randn(2**11, generator=seeded(5), dtype=torch.float64)
    game, exact = tabled(table), shapley_exact(tabled(table)).values
    alone = [shapley_values(game, samples=130, generator=seeded(s)) for s in range(12)]
    monkeypatch.setattr(file, "_LEARNT", 64)
    more = [shapley_values(game, samples=1600, generator=seeded(s)) for s in range(12)]
    assert more[0].evaluations == 1600
    off = torch.cat([found.values - exact for found in more])
    assert off.norm() < 0.5 * torch.cat([found.values - exact for found in alone]).norm()
    told = torch.cat([found.errors for found in more])
    # 132 numbers, of which those of one draw hang together
    assert 0.7 < (off / told).square().mean().sqrt() < 1.4
    assert torch.allclose(more[0].values.sum(), table[-1] - table[0], atol=1e-9)


def test_errors_are_what_they_say_where_a_network_plays():
    shown = zoo.breast_cancer()
    z, relative = [], []
    for i in range(10):
        x = shown.inputs[i]
        score = log_odds(shown.model, int(predicted(shown.model, x[None])))
        game = masked(score, x, shown.players(i), x * 0)
        exact = shapley_exact(game).values
        found = shapley_values(game, samples=300, generator=seeded(i))
        z.append((found.values - exact) / found.errors)
        relative.append(float((found.values - exact).norm() / exact.norm()))
    assert sorted(relative)[5] < 0.01
    # ten draws of ten numbers that hang together; and a process is a picture, not the game
    assert 0.3 < torch.cat(z).square().mean().sqrt() < 2


def test_errors_are_right_on_games_that_nothing_was_tried_on():
    """Pictures, where the method was made on tables: 24 draws of twelve numbers."""
    shown = zoo.digits()
    z = []
    for i in range(8):
        score = log_odds(shown.model, int(predicted(shown.model, shown.inputs[i][None])))
        game = tabulated(masked(score, shown.inputs[i], shown.players(i), shown.baseline(i)))
        exact = shapley_exact(game).values
        for seed in range(3):
            found = shapley_values(game, samples=60, generator=seeded(seed))
            z.append((found.values - exact) / found.errors)
    # Not reckoning with what was learnt from so few pairs would make it 1.4.
    assert 0.75 < torch.cat(z).square().mean().sqrt() < 1.25


def test_more_samples_until_the_error_is_reached():
    game, truth = planted_game(16, 8, 4, seeded(1), largest=3)
    found = shapley_values(game, error=0.05)
    assert found.errors.max() <= 0.05
    assert found.evaluations < 2**14
    assert (found.values - slow_shapley(truth)).abs().max() < 0.25
    assert shapley_values(game, error=1e-9, samples=130).evaluations == 130


def test_constant_games_one_player_and_two():
    found = shapley_values(Game(lambda own: torch.ones(len(own)), named(9)), samples=60)
    assert (found.values == 0).all()
    assert (found.errors == 0).all()
    one = Game(lambda own: 3.0 * own[:, 0].double() + 1, ("a",))
    assert shapley_values(one, samples=2).values.tolist() == [[3.0]]
    two = Game(lambda own: own.all(1).double(), ("a", "b"))
    assert shapley_values(two, samples=4).values.tolist() == [[0.5, 0.5]]


def test_bad_wishes_are_refused():
    game = Game(lambda own: own.sum(1).double(), named(8))
    for samples in (0, 1, 3):
        with pytest.raises(ValueError, match="Give at least samples=4"):
            shapley_values(game, samples=samples)
    with pytest.raises(ValueError, match="above 0"):
        shapley_values(game, error=0.0)
    broken = Game(lambda own: torch.full((len(own),), torch.nan), named(8))
    with pytest.raises(ValueError, match="is nan"):
        shapley_values(broken, samples=20)


def test_units_do_not_matter():
    game, _ = planted_game(12, 6, 3, seeded(1))
    one = shapley_values(game, samples=200, generator=seeded())
    other = shapley_values(
        Game(lambda own: 5 + 1e6 * game(own), game.names), samples=200, generator=seeded()
    )
    assert torch.allclose(other.values, 1e6 * one.values, rtol=1e-5, atol=1)
    assert torch.allclose(other.errors, 1e6 * one.errors, rtol=1e-3)
