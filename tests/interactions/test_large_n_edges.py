"""Games at the edges: the least budget, rare terms, few digits, large numbers."""

import numpy as np
import pytest
import torch

from unmask import Game
from unmask.interactions import large_n
from unmask.planted import planted_game


def names(n):
    return tuple(f"player {i}" for i in range(n))


def unexplained(terms, game, rows=500):
    masks = torch.from_numpy(np.random.default_rng(3).random((rows, len(game.names))) < 0.5)
    v = game(masks).double()
    return float((v - terms(masks)).square().mean() / v.var(correction=0))


def saturating(masks):
    weights = torch.linspace(-1, 1, masks.shape[1]).double()
    return (masks.double() @ weights).tanh() * (1 + masks[:, ::3].double().sum(1))


@pytest.mark.parametrize("n", [16, 21, 64])
def test_the_least_budget(n):
    game = Game(saturating, names(n))
    terms = large_n(game, budget=128 + 2 * n, coefficients=100)
    assert terms.evaluations <= 128 + 2 * n
    assert unexplained(terms, game) < 0.8  # from so little, a little


def test_held_out_coalitions_may_all_be_worth_the_same():
    # Sixteen uniform coalitions are held out, and none of them holds all three players.
    terms = large_n(Game(lambda m: m[:, :3].all(1).double(), names(64)), budget=256)
    assert terms.residual == 0.0
    assert unexplained(terms, Game(lambda m: m[:, :3].all(1).double(), names(64))) < 1e-15


@pytest.mark.parametrize("n", [50, 3000])
@pytest.mark.parametrize("off", [False, True])
def test_one_player_that_matters(n, off):
    terms = large_n(Game(lambda m: 3.0 * (m[:, 7] ^ off).double(), names(n)))
    assert terms.members.nonzero().tolist() == [[0, 7]]
    assert terms.effects.tolist() == [-3.0 if off else 3.0]
    assert terms.empty == (3.0 if off else 0.0)
    assert terms.evaluations < 1500


@pytest.mark.parametrize("whole", [True, False])
def test_constant_but_on_one_coalition(whole):
    game = Game(lambda m: m.all(1).double() if whole else m.any(1).double(), names(50))
    terms = large_n(game)
    assert terms.members.sum(1).tolist() == [50]
    assert terms.is_or.tolist() == [not whole]
    assert terms.effects.tolist() == [1.0]
    assert terms.empty == 0.0


def test_a_term_too_large_to_be_found_shows_near_the_input():
    # Two hundred players take a search of 1,700 questions; 8,192 pay for none of 16 at a time.
    terms = large_n(Game(lambda m: m[:, :200].all(1).double(), names(400)))
    assert len(terms.effects) == 0
    assert terms.residual == 0.0
    assert terms.residual_near_full >= 1.0


@pytest.mark.parametrize("scale", [1e6, 1e-6, 1e150, 1e-150])
def test_the_unit_of_the_values_does_not_matter(scale):
    sparse, _ = planted_game(100, 20, 5, torch.Generator().manual_seed(0))
    for game, budget in ((sparse, 4000), (Game(saturating, names(25)), 300)):
        one = large_n(game, budget=budget, coefficients=50)
        scaled = Game(lambda m, g=game: scale * g(m), game.names)
        other = large_n(scaled, budget=budget, coefficients=50)
        assert other.members.shape == one.members.shape
        masks = torch.rand(200, len(game.names), generator=torch.Generator().manual_seed(1)) < 0.5
        assert torch.allclose(other(masks) / scale, one(masks), rtol=1e-6, atol=1e-6)


def test_an_offset_of_a_million():
    game, truth = planted_game(100, 20, 5, torch.Generator().manual_seed(0))
    terms = large_n(Game(lambda m: 1e6 + game(m), game.names))
    assert len(terms.effects) == len(truth.effects)
    assert terms.residual < 1e-18
    assert terms.empty == pytest.approx(1e6 + truth.empty, rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_games_in_two_bytes(dtype):
    game, _ = planted_game(60, 15, 5, torch.Generator().manual_seed(0))
    rounded = Game(lambda m: game(m).to(dtype), game.names)
    terms = large_n(rounded, budget=3000, coefficients=300)
    own = unexplained(terms, rounded, rows=2000)
    assert 0 < own < 0.03
    assert terms.residual == pytest.approx(own, rel=0.5)  # 200 coalitions against 2,000


def test_a_sum_in_two_bytes():
    game = Game(lambda m: m.sum(1).to(torch.float16), names(40))
    assert unexplained(large_n(game, budget=1500, coefficients=100), game) < 1e-10


def test_or_terms_of_up_to_thirty_among_four_thousand():
    game, truth = planted_game(4000, 0, 30, torch.Generator().manual_seed(0), largest=30)
    terms = large_n(game, budget=20_000)
    assert sorted(terms.effects.tolist()) == pytest.approx(sorted(truth.effects.tolist()))
    assert terms.is_or.sum() == truth.is_or.sum()
    assert terms.residual < 1e-20


def test_players_that_neither_trees_nor_codes_see():
    # Each of sixty votes explains a hundredth of the outcome.
    game = Game(lambda m: (m.sum(1) > 30).double(), names(60))
    terms = large_n(game)
    assert terms.members.any(0).all()
    assert unexplained(terms, game) < 0.7


@pytest.mark.parametrize("what", [torch.nan, torch.inf])
def test_no_number_on_rare_coalitions(what):
    game = Game(lambda m: torch.where(m[:, :10].all(1), what, m.double().sum(1)), names(40))
    with pytest.raises(
        ValueError, match=r"value of the coalition \{player 0, player 1, .* is (nan|inf)"
    ):
        large_n(game)


def test_a_game_whose_values_keep_a_graph():
    weights = torch.ones(40, requires_grad=True)
    terms = large_n(Game(lambda m: m.float() @ weights, names(40)), budget=1000)
    assert not terms.effects.requires_grad
    assert weights.grad is None
    assert terms.effects.tolist() == [1.0] * 40


def test_a_search_for_large_sets_does_not_eat_the_budget():
    """Of a threshold on many players every small set is idle, and a search finds none or few.

    One round of it once took all that was there, and nothing was left for what explains 90 %.
    """
    n = 100
    weight = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    threshold = 0.45 * float(weight.sum())
    game = Game(lambda masks: (masks.double() @ weight - threshold).clamp(min=0), ("",) * n)
    terms = large_n(game, budget=3000)
    assert terms.residual < 0.2
    masks = torch.rand(2000, n, generator=torch.Generator().manual_seed(1)) < 0.5
    error = (terms(masks) - game(masks)).square().mean() / game(masks).var()
    assert float(error) < 0.2  # seen by the residual of 200 coalitions as by these


def test_what_holds_near_the_input_is_taken_before_what_holds_nowhere():
    """Hardly any coalition of half of the players reaches this threshold; the input does."""
    n = 60
    game = Game(lambda masks: (masks.sum(1).double() - 35).clamp(min=0), ("",) * n)
    terms = large_n(game, budget=3000)
    assert len(terms.effects) > 0
    assert terms.residual_near_full < 1  # of no terms at all it is above 20


def test_of_a_quarter_that_is_linear_and_a_rest_that_is_dense_the_quarter_is_found():
    """A coalition's own number, drawn by a hash, bears three quarters of the variance."""
    n = 100
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(n, generator=generator, dtype=torch.float64)
    weight *= 2 / weight.norm()  # a variance of 1 over uniform coalitions
    mix = torch.randint(1, 2**31, (n,), generator=generator)

    def value(masks):
        drawn = (masks.long() * mix).sum(1) * 6364136223846793005 + 1442695040888963407
        between = ((drawn >> 33) & 0xFFFFFF).double() / 2**24 - 0.5
        return masks.double() @ weight + 6 * between  # 6^2 / 12 = 3

    game = Game(value, names(n))
    terms = large_n(game, budget=4000)
    assert 0.15 < 1 - unexplained(terms, game, rows=5000) < 0.28
