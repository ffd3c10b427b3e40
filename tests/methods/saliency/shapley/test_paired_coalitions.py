from itertools import combinations
from math import comb, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask import Game
from unmask.methods.saliency.shapley.paired_coalitions import (
    PairedCoalitions,
    coalitions_at,
    ends_of,
    odd_part,
    pairs_by_size,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [2, 3, 6, 7])
def test_places_count_all_coalitions_of_a_size(n):
    for size in range(1, n + 1):
        count = comb(n, size)
        masks = coalitions_at(n, torch.full((count,), size), torch.arange(count))
        found = [tuple(mask.nonzero()[:, 0].tolist()) for mask in masks]
        assert found == list(combinations(range(n), size))  # the list in the order of Python's


def test_pairs_are_half_of_the_coalitions_but_the_ends():
    assert pairs_by_size(1) == []
    assert pairs_by_size(2) == [1]
    assert pairs_by_size(5) == [5, 10]
    assert pairs_by_size(6) == [6, 15, 10]
    assert all(2 * sum(pairs_by_size(n)) == 2**n - 2 for n in range(1, 30))


@given(st.integers(2, 9), st.integers(0, 300), st.integers(0, 300), st.integers(0, 99))
def test_none_is_drawn_twice_however_many_turns(n, first, more, seed):
    pairs = PairedCoalitions(n, [1 / (s + 1) for s in range(n // 2)], seeded(seed))
    one, two = pairs.more(first), pairs.more(first + more)
    all_ = 2 ** (n - 1) - 1
    assert len(one) == min(first, all_)
    masks = torch.cat([one, two])
    assert len(masks) == min(first + more, all_)
    assert len(torch.cat([masks, ~masks]).unique(dim=0)) == 2 * len(masks)
    assert masks.sum(1).bincount(minlength=n)[1 : n // 2 + 1].tolist() == pairs.drawn


def test_many_players_need_no_numbers():
    pairs = PairedCoalitions(80, [1.0] * 40, seeded())
    masks = pairs.more(2000)
    assert len(masks.unique(dim=0)) == 2000
    share = 2000 / 39.5  # of the halves, both coalitions of a pair have the same size
    assert all(abs(d - share) < 1 for d in pairs.drawn[:-1])
    assert abs(pairs.drawn[-1] - share / 2) < 1
    assert masks.sum(1).bincount(minlength=41)[1:].tolist() == pairs.drawn


def test_shares_are_kept_and_small_layers_filled():
    pairs = PairedCoalitions(12, [1.0] * 6, seeded())
    pairs.more(200)
    # 12 pairs of one; of the other 188, each size has a share, and the halves half of one
    assert pairs.drawn[0] == 12
    expected = [188 / 4.5] * 4 + [188 / 9]
    assert all(abs(d - e) <= 1 for d, e in zip(pairs.drawn[1:], expected, strict=True))
    stands = pairs.represented()
    assert stands[0] == 0
    assert stands[1] == pytest.approx(log(66 / pairs.drawn[1]))


def test_all_pairs_of_a_size_are_equally_likely():
    count = torch.zeros(15)
    for seed in range(600):
        pairs = PairedCoalitions(6, [0.0, 1.0, 0.0], seeded(seed))
        masks = pairs.more(4)
        chosen = [tuple(mask.nonzero()[:, 0].tolist()) for mask in masks]
        for i, pair in enumerate(combinations(range(6), 2)):
            count[i] += pair in chosen
    # each is drawn with probability 4/15; the squares of 15 counts, four fifths of 14 degrees
    deviation = (600 * 4 / 15 * 11 / 15) ** 0.5
    assert ((count - 160) / deviation).abs().max() < 4


def test_a_layer_that_expects_less_than_one_pair_stands_for_its_chance():
    shown = [0, 0]
    for seed in range(400):
        pairs = PairedCoalitions(6, [0.05, 1.0, 0.0], seeded(seed))
        pairs.more(5)
        expected = 5 * 0.05 / 1.05
        assert pairs.drawn[0] in (0, 1)
        shown[pairs.drawn[0]] += 1
        if pairs.drawn[0]:
            assert float(pairs.represented()[0]) == pytest.approx(log(6 / expected))
    assert abs(shown[1] / 400 - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def test_what_was_drawn_before_stands_for_itself():
    pairs = PairedCoalitions(8, [0.0, 1.0, 0.0, 0.0], seeded())
    pairs.more(10)
    pairs.more(16)
    assert pairs.represented(since=[0, 10, 0, 0])[1] == pytest.approx(log(18 / 6))


def test_the_odd_part_is_what_a_coalition_is_worth_beyond_the_others():
    game = Game(lambda own: own.float() @ torch.tensor([1.0, 2, 4]), ("a", "b", "c"))
    masks = torch.tensor([[True, False, False], [False, True, True]])
    assert odd_part(game, masks).tolist() == [(1 - 6) / 2, (6 - 1) / 2]
    assert [float(end) for end in ends_of(game)] == [7, 0]
    assert odd_part(game, masks[:0]).shape == (0,)
