from itertools import combinations

import pytest
import torch

from unmask.planted import majority_terms, parity_terms, planted_game, planted_terms, terms_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def subsets(players):
    return [set(s) for size in range(players + 1) for s in combinations(range(players), size)]


def mask_of(coalition, players):
    return torch.tensor([[i in coalition for i in range(players)]])


def told(terms, coalition):
    """The value of a coalition, term by term."""
    value = terms.empty
    for row, is_or, effect in zip(
        terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
    ):
        group = {i for i, member in enumerate(row) if member}
        fires = bool(group & coalition) if is_or else group <= coalition
        value += effect if fires else 0.0
    return value


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_game_is_the_sum_of_its_terms(seed):
    game, truth = planted_game(5, 6, 4, seeded(seed))
    for coalition in subsets(5):
        assert game(mask_of(coalition, 5)).item() == pytest.approx(
            told(truth, coalition), abs=1e-12
        )
    places = [sum(2**i for i in coalition) for coalition in subsets(5)]
    assert game.table()[places].tolist() == pytest.approx(
        [told(truth, coalition) for coalition in subsets(5)], abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_planted_terms_are_distinct_and_strong(seed):
    truth = planted_terms(9, 20, 12, seeded(seed), largest=4)
    assert truth.is_or.sum() == 12
    assert len({tuple(row) for row in truth.members.tolist()}) == 32
    assert truth.order[truth.is_or].min() >= 2
    assert truth.order.min() == 1
    assert truth.order.max() == 4
    assert truth.effects.abs().min() >= 0.5
    assert truth.effects.abs().max() <= 2
    assert {1.0, -1.0} == set(truth.effects.sign().tolist())
    assert truth.effects.dtype == torch.float64


def test_all_terms_there_are_can_be_planted():
    truth = planted_terms(3, 3, 4, seeded(), largest=5)
    assert sorted(truth.members.sum(1).tolist()) == [1, 1, 1, 2, 2, 2, 3]


def test_many_players_need_no_table():
    game, truth = planted_game(300, 40, 20, seeded())
    masks = torch.rand(50, 300, generator=seeded(1)) < 0.9
    coalitions = [{i for i, there in enumerate(row) if there} for row in masks.tolist()]
    assert game(masks).tolist() == pytest.approx([told(truth, c) for c in coalitions], abs=1e-12)


def test_the_same_generator_plants_the_same_and_global_randomness_stays():
    before = torch.get_rng_state()
    first, second = (planted_terms(8, 5, 3, seeded(4)) for _ in range(2))
    other = planted_terms(8, 5, 3, seeded(5))
    assert first.effects.tolist() == second.effects.tolist() != other.effects.tolist()
    assert first.members.equal(second.members)
    assert first.empty == second.empty != 0
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1, 0), "at least 1"),
        ((3, -1, 0), "at least 0"),
        ((1, 1, 1), "two or more"),
        ((3, 0, 5), "two or more"),
        ((3, 5, 3), "there are 7"),
    ],
)
def test_more_terms_than_there_are_cannot_be_planted(arguments, words):
    with pytest.raises(ValueError, match=words):
        planted_terms(*arguments, seeded())


def test_terms_as_one_writes_them():
    terms = terms_of(
        ["a", "b", "c"], ands={("c", "a"): 2.0, ("b",): -1.0}, ors={("b", "c"): 4.0}, empty=0.5
    )
    assert terms(mask_of(set(), 3)).item() == 0.5
    assert terms(mask_of({0}, 3)).item() == 0.5
    assert terms(mask_of({1}, 3)).item() == 3.5
    assert terms(mask_of({2}, 3)).item() == 4.5
    assert terms(mask_of({0, 2}, 3)).item() == 6.5
    assert terms(mask_of({0, 1, 2}, 3)).item() == 5.5


def test_a_game_without_terms_is_its_empty_value():
    assert terms_of(["a", "b"], empty=3.0)(mask_of({0, 1}, 2)).item() == 3.0


def test_terms_of_unknown_players_or_none_are_refused():
    with pytest.raises(ValueError, match=r"'d' is no player: the players are a, b, c\."):
        terms_of("abc", ors={("a", "d"): 1.0})
    with pytest.raises(ValueError, match="no players"):
        terms_of("abc", ands={(): 1.0})


@pytest.mark.parametrize("players", range(1, 8))
def test_parity_and_majority_by_counting(players):
    for terms, expected in (
        (parity_terms(players), lambda size: size % 2),
        (majority_terms(players), lambda size: int(size > players / 2)),
    ):
        for coalition in subsets(players):
            assert terms(mask_of(coalition, players)).item() == expected(len(coalition))


def test_too_many_players_to_write_all_terms_down():
    with pytest.raises(ValueError, match="from 1 to 20"):
        parity_terms(21)
    with pytest.raises(ValueError, match="from 1 to 20"):
        majority_terms(0)
