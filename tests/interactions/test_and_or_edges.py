"""AND-OR terms of games that are hardly games, and what is refused."""

import pytest
import torch

from logics import l1, network_table, read, rebuilt, terms_table
from strategies import NAMES, tabled
from unmask import Game, Interactions
from unmask.interactions.and_or import and_or, and_or_tables


@pytest.mark.parametrize("constant", [0.0, -2.5])
def test_a_constant_game_has_no_terms(constant):
    terms = and_or(tabled(torch.full((8,), constant).double()))
    assert len(terms.effects) == 0
    assert (terms.empty, terms.gap) == (constant, 0.0)
    assert terms_table(terms).tolist() == [constant] * 8


def test_one_player_and_two_players():
    assert read(and_or(tabled(torch.tensor([1.0, 4.0]).double()))) == {(frozenset({0}), False): 3.0}
    both = and_or(tabled(torch.tensor([0.0, 1.0, 1.0, 1.0]).double()))
    assert read(both) == pytest.approx({(frozenset({0, 1}), True): 1.0})


def test_large_and_tiny_games_are_solved_alike():
    table = network_table(6)
    plain = and_or(tabled(table))
    for factor in (1e-12, 1e9):
        scaled = and_or(tabled(table * factor))
        assert l1(scaled) == pytest.approx(factor * l1(plain), rel=1e-5)
        assert scaled.gap <= 1e-6


def test_values_in_single_precision_are_taken():
    table = network_table(5).float()
    terms = and_or(tabled(table))
    assert terms.effects.dtype == torch.float64
    torch.testing.assert_close(rebuilt(terms), table.double(), rtol=0, atol=1e-12)


def test_what_makes_no_sense_is_refused():
    game = tabled(network_table(3))
    with pytest.raises(ValueError, match=r"coalition \{a\} is nan"):
        and_or(tabled(torch.tensor([0.0, float("nan")])))
    with pytest.raises(ValueError, match=r"21 players .* at most 20"):
        and_or(Game(lambda masks: masks.sum(1).double(), tuple(map(str, range(21)))))
    with pytest.raises(ValueError, match=r"tolerance .* is -0\.1"):
        and_or(game, tolerance=-0.1)
    with pytest.raises(ValueError, match=r"precision .* is nan"):
        and_or(game, precision=float("nan"))
    with pytest.raises(ValueError, match="steps is 0"):
        and_or(game, steps=0)
    with pytest.raises(ValueError, match="order_weights"):
        and_or(game, order_weights=[1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="order_weights"):
        and_or(game, order_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="finite"):
        and_or_tables(torch.full((1, 4), float("inf")), ("a", "b"))
    with pytest.raises(ValueError, match=r"shape \(1, 8\)"):
        and_or_tables(torch.zeros(1, 8), ("a", "b"))
    with pytest.raises((ValueError, TypeError)):
        and_or_tables(torch.zeros(8), NAMES[:3])
    with pytest.raises(ValueError, match="2 tables but 1 starts"):
        and_or_tables(torch.zeros(2, 8), NAMES[:3], start=[and_or(game)])
    with pytest.raises(ValueError, match="the start is of"):
        and_or(game, start=Interactions(**{**vars(and_or(game)), "names": ("x", "y", "z")}))


def test_an_empty_batch_gives_nothing():
    assert and_or_tables(torch.zeros(0, 8), NAMES[:3]) == []
