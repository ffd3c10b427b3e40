import os
from itertools import combinations

import pytest
import torch
from hypothesis import given

from strategies import games, tabled
from unmask import Game, log_odds, masked, predicted
from unmask.methods.saliency import flipping_set, smallest_flipping_set

BOTH = (flipping_set, smallest_flipping_set)


def linear(*weights):
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(weights)])
    return Game(lambda masks: masks.double() @ torch.tensor(weights).double(), names)


def without(game, members):
    mask = torch.ones(1, len(game.names), dtype=torch.bool)
    mask[0, list(members)] = False
    return float(game(mask))


def flips(game, members):
    return (without(game, members) > 0) != (without(game, ()) > 0)


def slow_smallest(game):
    """The size of the smallest set that flips, by trying all."""
    n = len(game.names)
    for size in range(1, n + 1):
        if any(flips(game, members) for members in combinations(range(n), size)):
            return size
    return 0


def chosen(found):
    return [i for i, there in enumerate(found.values[0].tolist()) if there]


def test_linear_scorers():
    for method in BOTH:
        assert method(linear(3, 1, -2)).values.tolist() == [[1.0, 0.0, 0.0]]
        assert method(linear(2, 2, -1)).values.tolist() == [[1.0, 1.0, 0.0]]
        assert method(linear(-3, -1, 2)).values.tolist() == [[1.0, 0.0, 0.0]]


@given(games(max_players=5))
def test_sets_flip_and_are_as_small_as_they_say(game):
    greedy, smallest = flipping_set(game), smallest_flipping_set(game)
    size = slow_smallest(game)
    assert len(chosen(smallest)) == size
    for found in (greedy, smallest):
        if chosen(found):
            assert flips(game, chosen(found))
    members = chosen(greedy)
    assert len(members) >= size or not members
    if len(members) > 1:
        assert not any(flips(game, [m for m in members if m != one]) for one in members)
    assert greedy.evaluations <= 1 + 2 * len(game.names) * (len(game.names) + 1) // 2


def test_greed_can_miss_the_smallest():
    """A big first step leads astray: c alone brings the value furthest, but a and b do it."""
    values = torch.tensor([0.0] * 16).double()

    def value(masks):
        a, b, c, d = masks.unbind(1)
        out = 10.0 - 4.0 * (~c).double() - 1.0 * (~a).double() - 1.0 * (~b).double()
        out = out - 20.0 * (~a & ~b & c).double() - 20.0 * (~c & ~d & ~a).double()
        return out + 12.0 * (~c & ~a & ~b & d).double()

    game = Game(value, tuple("abcd"))
    assert len(chosen(smallest_flipping_set(game))) == 2 == slow_smallest(game)
    assert chosen(smallest_flipping_set(game)) == [0, 1]
    assert len(chosen(flipping_set(game))) == 3
    assert len(values) == 16


def test_what_proved_needless_is_given_back():
    """a is first by itself; once b is gone too, which flips on its own with c, it is idle."""

    def value(masks):
        a, b, c = masks.unbind(1)
        return 5.0 - 3.0 * (~a).double() - 1.0 * (~b).double() - 9.0 * (~b & ~c).double()

    game = Game(value, ("a", "b", "c"))
    found = flipping_set(game)
    assert chosen(found) == [1, 2]
    assert without(game, [0, 1, 2]) < 0


def test_nothing_flips_a_constant():
    game = Game(lambda masks: torch.ones(len(masks)), ("a", "b", "c"))
    for method in BOTH:
        found = method(game)
        assert found.values.tolist() == [[0.0, 0.0, 0.0]]
        assert found.names == ("a", "b", "c")
    assert flipping_set(game).evaluations == 1 + 3 + 2 + 1
    assert smallest_flipping_set(game).evaluations == 1 + 3 + 2 + 1 + 7


def test_a_value_of_zero_is_no_decision_for():
    for method in BOTH:
        assert method(linear(2, -1, 0)).values.tolist() == [[1.0, 0.0, 0.0]]
        assert method(tabled(torch.tensor([0.0, 1.0]).double())).values.tolist() == [[1.0]]
        assert method(tabled(torch.tensor([1.0, 0.0]).double())).values.tolist() == [[1.0]]


def test_the_smallest_is_sought_below_the_greedy_size():
    sizes = []

    def value(masks):
        sizes.append((~masks).sum(1).max().item())
        return masks.double().sum(1) - 17.5

    found = smallest_flipping_set(Game(value, tuple(map(str, range(20)))))
    assert found.values.sum() == 3
    assert max(sizes) == 3
    assert found.evaluations == 1 + (20 + 19 + 18) + 3 + (20 + 190)


def test_too_many_players_are_refused():
    many = Game(lambda masks: masks.double().sum(1) - 20.5, tuple(map(str, range(21))))
    with pytest.raises(ValueError, match=r"21 players .* at most 20 .*flipping_set"):
        smallest_flipping_set(many)
    assert flipping_set(many).values.sum() == 1


def test_broken_values_are_named():
    game = Game(lambda masks: torch.where(masks.all(1), 1.0, torch.nan), ("a", "b"))
    for method in BOTH:
        with pytest.raises(ValueError, match=r"coalition \{b\} is nan"):
            method(game)


def test_a_digit_is_no_longer_what_it_was():
    from unmask.zoo import digits

    exhibit = digits()
    for i in range(3):
        x = exhibit.inputs[i]
        target = int(predicted(exhibit.model, x[None]))
        score = log_odds(exhibit.model, target)
        game = masked(score, x, exhibit.players(i), exhibit.baseline(i))
        greedy, smallest = flipping_set(game), smallest_flipping_set(game)
        assert 1 <= len(chosen(smallest)) <= len(chosen(greedy))
        assert len(chosen(smallest)) == slow_smallest(game)
        assert flips(game, chosen(greedy))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_a_review_turns():
    from unmask.zoo import sst2

    exhibit = sst2()
    for i in range(3):
        x = exhibit.inputs[i]
        target = int(predicted(exhibit.model, x[None]))
        score = log_odds(exhibit.model, target)
        game = masked(score, x, exhibit.players(i), exhibit.baseline(i))
        found = smallest_flipping_set(game)
        assert not chosen(found) or flips(game, chosen(found))
