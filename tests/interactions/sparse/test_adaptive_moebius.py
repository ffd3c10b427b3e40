"""The search for dividends: planted ones, exactly, and within what it may ask."""

import numpy as np
import pytest
import torch

from unmask import Game
from unmask.interactions.sparse.adaptive_moebius import Dividends, adaptive_moebius
from unmask.interactions.sparse.purse import Purse
from unmask.planted import planted_game


def search(game, budget, mirrored=False, worth_going_on=lambda known: True):
    purse = Purse(game, budget)
    return purse, *adaptive_moebius(
        (lambda masks: purse.ask(~masks)) if mirrored else purse.ask,
        len(game.names),
        budget=budget,
        tolerance=lambda: purse.tolerance,
        worth_going_on=worth_going_on,
        random=np.random.default_rng(0),
    )


def listed(terms):
    sets = [tuple(row.nonzero()[:, 0].tolist()) for row in terms.members]
    return dict(zip(sets, terms.effects.tolist(), strict=True))


@pytest.mark.parametrize(("players", "largest"), [(30, 3), (100, 5), (700, 8)])
def test_planted_terms_are_found_exactly(players, largest):
    game, truth = planted_game(players, 60, 0, torch.Generator().manual_seed(3), largest=largest)
    purse, known, complete = search(game, 20_000)
    wanted = listed(truth)
    assert complete
    assert known.effects.keys() == wanted.keys()
    assert max(abs(known.effects[one] - wanted[one]) for one in wanted) < 1e-12
    assert purse.spent < 20_000
    assert known.empty == pytest.approx(truth.empty)


def test_terms_of_the_mirrored_game_are_or_terms():
    game, truth = planted_game(80, 0, 30, torch.Generator().manual_seed(3))
    _, known, complete = search(game, 20_000, mirrored=True)
    assert complete
    wanted = listed(truth)
    assert known.effects.keys() == wanted.keys()
    assert max(abs(known.effects[one] + wanted[one]) for one in wanted) < 1e-12


def test_dividends_that_cancel_each_other_are_found():
    # An OR of four, less what its players do alone: from most coalitions it looks like nothing.
    def value(masks):
        part = masks[:, :4].double()
        return 2 * masks[:, :4].any(1).double() - part.sum(1) + part[:, 0] * part[:, 1]

    game = Game(value, tuple(f"player {i}" for i in range(40)))
    _, known, complete = search(game, 5000)
    assert complete
    wanted = {}
    for i in range(1, 16):  # by the definition, over all subsets
        one = tuple(j for j in range(4) if i >> j & 1)
        inner = [s for s in range(16) if s & i == s]
        masks = torch.tensor([[bool(s >> j & 1) for j in range(40)] for s in inner])
        signs = [(-1) ** (len(one) - s.bit_count()) for s in inner]
        effect = sum(a * b for a, b in zip(signs, value(masks).tolist(), strict=True))
        if effect:
            wanted[one] = effect
    assert {one: round(effect, 9) for one, effect in known.effects.items()} == wanted


def test_it_stops_where_the_budget_ends():
    game, _ = planted_game(200, 100, 0, torch.Generator().manual_seed(3))
    purse, known, complete = search(game, 1500)
    assert not complete
    assert purse.spent <= 1500
    assert 0 < len(known.effects) < 100


def test_it_gives_up_half_way_when_told_so():
    game, _ = planted_game(200, 100, 0, torch.Generator().manual_seed(3))
    purse, _, complete = search(game, 4000, worth_going_on=lambda known: False)
    assert not complete
    assert 2000 < purse.spent < 4000


def test_a_constant_game_has_no_terms():
    _, known, complete = search(Game(lambda m: torch.full((len(m),), 7.0), tuple("abcde")), 1000)
    assert complete
    assert known.empty == 7
    assert not known.effects


def test_many_masks_and_terms_are_added_up_in_slices():
    random = np.random.default_rng(0)
    sets = {tuple(sorted(random.permutation(30)[:2].tolist())): float(i) for i in range(3000)}
    known = Dividends(30, 0.5, sets)
    masks = random.random((25_000, 30)) < 0.5
    found = known(masks)
    for place in (0, 12_345, 24_999):
        held = set(np.flatnonzero(masks[place]).tolist())
        assert found[place] == 0.5 + sum(e for one, e in sets.items() if set(one) <= held)
