import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import NAMES, games, numbers, tabled
from unmask import Interactions
from unmask.interactions import and_interaction, or_interaction
from unmask.interactions.terms.logic_values import fewest_terms, logic_values
from unmask.lattice import coalitions


@st.composite
def logics(draw):
    """Any AND and OR terms, some of them twice."""
    n = draw(st.integers(1, 5))
    count = draw(st.integers(0, 12))
    places = draw(st.lists(st.integers(1, 2**n - 1), min_size=count, max_size=count))
    members = coalitions(n)[places]
    effects = draw(st.lists(numbers(), min_size=count, max_size=count))
    is_or = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return Interactions(
        members,
        torch.tensor(is_or, dtype=torch.bool),
        torch.tensor(effects).double(),
        0.5,
        NAMES[:n],
    )


def slow_values(terms, kept):
    """What each coalition makes of the terms, one by one."""
    values = []
    for mask in coalitions(len(terms.names)).tolist():
        present = {i for i, there in enumerate(mask) if there}
        value = 0.0
        for row, is_or, effect, keep in zip(
            terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), kept, strict=True
        ):
            members = {i for i, there in enumerate(row) if there}
            fires = bool(members & present) if is_or else members <= present
            value += effect * fires * keep
        values.append(value)
    return values


@given(logics(), st.data())
def test_values_are_sums_over_the_terms_that_fire(terms, data):
    count = len(terms.effects)
    kept = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    others = [not keep for keep in kept]
    found = logic_values(terms, torch.tensor(others).long(), 2)
    assert found[0].tolist() == pytest.approx(slow_values(terms, kept), abs=1e-9)
    assert found[1].tolist() == pytest.approx(slow_values(terms, others), abs=1e-9)
    alone = logic_values(terms, -torch.tensor(others).long())
    assert torch.equal(alone[0], found[0])


@given(logics())
def test_values_are_those_of_the_terms_when_called(terms):
    everything = terms.empty + logic_values(terms)[0]
    assert torch.allclose(everything, terms(coalitions(len(terms.names))), atol=1e-9)


def slow_fewest(terms, values, fidelity):
    strongest = sorted(range(len(terms.effects)), key=lambda i: -slow_spread(terms, i))
    variation = sum((v - values.mean()) ** 2 for v in values)
    for count in range(len(strongest) + 1):
        kept = [i in strongest[:count] for i in range(len(strongest))]
        explained = slow_values(terms, kept)
        standing_in = sum(statistics.mean(slow_values(terms, [i == j for j in range(len(kept))]))
                          for i in strongest[count:])  # fmt: skip
        explained = [value + standing_in for value in explained]
        left = sum(
            (v - terms.empty - e) ** 2 for v, e in zip(values.tolist(), explained, strict=True)
        )
        if left <= (1 - fidelity) * variation:
            return count
    return None


def slow_spread(terms, i):
    """Standard deviation over all masks of what one term adds, mask by mask."""
    own = [i == j for j in range(len(terms.effects))]
    return statistics.pstdev(slow_values(terms, own))


@given(games(max_players=4), st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.999]), st.booleans())
def test_the_fewest_terms_are_those_of_a_search_one_by_one(game, fidelity, is_or):
    terms = or_interaction(game) if is_or else and_interaction(game)
    # Ties and equalities are decided by rounding, so no two effects may be alike.
    nudge = torch.arange(len(terms.effects)).double() * 1e-3 * torch.pi
    terms = Interactions(
        terms.members, terms.is_or, terms.effects + nudge, terms.empty, terms.names
    )
    table = terms(coalitions(len(terms.names)))
    assert fewest_terms(terms, table, fidelity) == slow_fewest(terms, table, fidelity)


@given(games(max_players=4), st.booleans())
def test_no_term_is_needed_to_be_as_good_as_the_mean(game, is_or):
    """With all terms left out their means stand in, which is the mean of v: an R2 of 0."""
    terms = or_interaction(game) if is_or else and_interaction(game)
    assert fewest_terms(terms, game.table().double(), 0.0) == 0


def test_long_stretches_of_weak_terms_are_skipped_rightly():
    n = 9
    table = torch.randn(2**n, generator=torch.Generator().manual_seed(0)).double()
    terms = and_interaction(tabled(table))
    count = fewest_terms(terms, table, 0.95)
    share = 2.0 ** -terms.members.sum(1).double()
    moved = terms.effects.abs() * (share - share**2).sqrt()
    ranks = moved.argsort(descending=True).argsort()
    spread = (table - table.mean()).square().sum()

    def fidelity(k):
        kept, others = logic_values(terms, (ranks >= k).long(), 2)
        left = table - terms.empty - kept - others.mean()
        return float(1 - left.square().sum() / spread)

    assert fidelity(count) >= 0.95
    assert all(fidelity(k) < 0.95 for k in range(count))


def test_terms_of_another_game_never_reach_it():
    table = torch.tensor([0.0, 1, 1, 5]).double()
    other = Interactions(
        torch.tensor([[True, False]]), torch.tensor([False]), torch.tensor([1.0]), 0.0, NAMES[:2]
    )
    assert fewest_terms(other, table, 0.95) is None


def test_a_constant_needs_no_terms():
    table = torch.full((8,), 0.1).double()
    assert fewest_terms(and_interaction(tabled(table)), table, 0.95) == 0
