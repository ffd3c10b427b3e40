import pytest
import torch
from hypothesis import given

from strategies import NAMES, games, masks, tabled
from unmask import Game, tabulated
from unmask.lattice import coalitions


def by_mask(value):
    """A game from a function of the set of players that take part."""

    def values(rows):
        return torch.tensor(
            [float(value({i for i, there in enumerate(row) if there})) for row in rows.tolist()]
        )

    return values


def test_a_table_holds_every_coalition_in_lattice_order():
    game = Game(by_mask(lambda s: sum(10**i for i in s)), ("a", "b", "c"))
    assert game.table().tolist() == [0, 1, 10, 11, 100, 101, 110, 111]


@given(games())
def test_tabulated_games_are_the_same_game(game):
    table = tabulated(game)
    rows = coalitions(len(game.names)).flip(0)
    assert torch.equal(table(rows), game(rows))
    assert torch.equal(table.table(), game.table())
    assert table.names == game.names


def test_tabulated_games_ask_once_and_lend_no_access_to_their_table():
    asked = []

    def value(rows):
        asked.append(len(rows))
        return rows.sum(1).float()

    game = tabulated(Game(value, ("a", "b")))
    game.table().zero_()
    game(coalitions(2))
    assert game.table().tolist() == [0, 1, 1, 2]
    assert asked == [4]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_value_names_its_coalition(broken):
    game = Game(by_mask(lambda s: broken if s == {0, 2} else 1.0), ("age", "colour", "size"))
    for ask in (game.table, lambda: game(coalitions(3).flip(0)), lambda: tabulated(game)):
        with pytest.raises(ValueError, match=rf"coalition {{age, size}} is {broken}"):
            ask()


def test_too_many_players_for_a_table():
    def value(rows):
        return rows.sum(1).float()

    assert len(Game(value, NAMES).table()) == 2**20
    with pytest.raises(ValueError, match=r"21 players have 2\^21 coalitions; at most 20"):
        Game(value, (*NAMES, "u")).table()


@pytest.mark.parametrize(
    "rows", [torch.zeros(1, 2).bool(), torch.zeros(3).bool(), torch.zeros(1, 3)]
)
def test_masks_of_another_shape_or_type_are_refused(rows):
    game = tabled(torch.zeros(8))
    with pytest.raises((ValueError, TypeError)):
        game(rows)


def test_values_of_another_shape_are_refused():
    column = Game(lambda rows: rows.sum(1, keepdim=True).float(), ("a", "b"))
    short = Game(lambda rows: rows.sum(1).float(), ("a", "b"), lambda: torch.zeros(3))
    with pytest.raises(ValueError, match=r"4 coalitions its values have shape \(4, 1\)"):
        column(coalitions(2))
    with pytest.raises(ValueError, match=r"4 coalitions its values have shape \(3,\)"):
        short.table()


@given(masks(3))
def test_games_are_asked_as_given(rows):
    game = tabled(torch.arange(8.0))
    assert game(rows).tolist() == [a + 2 * b + 4 * c for a, b, c in rows.tolist()]
