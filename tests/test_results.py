import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import NAMES, masks, tensors
from unmask import (
    Attribution,
    Examples,
    Game,
    Interactions,
    Measurement,
    Surrogate,
    Synthesis,
)
from unmask.lattice import coalitions


@st.composite
def interactions(draw):
    players, terms = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    return Interactions(
        members=draw(masks(players, terms)),
        is_or=torch.tensor(draw(st.lists(st.booleans(), min_size=terms, max_size=terms))).bool(),
        effects=draw(tensors(terms)),
        empty=draw(st.floats(-5, 5)),
        names=NAMES[:players],
    )


@given(interactions())
def test_a_term_acts_when_all_or_any_of_its_members_are_there(terms):
    rows = coalitions(len(terms.names))
    for row, value in zip(rows.tolist(), terms(rows).tolist(), strict=True):
        total = terms.empty
        for members, is_or, effect in zip(
            terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
        ):
            there = [row[i] for i, member in enumerate(members) if member]
            total += effect if (any(there) if is_or else all(there)) else 0.0
        assert value == pytest.approx(total, abs=1e-9)
    assert terms.order.tolist() == [sum(members) for members in terms.members.tolist()]


def test_an_explanation_is_a_game():
    terms = Interactions(
        members=torch.tensor([[True, True], [True, False]]),
        is_or=torch.tensor([True, False]),
        effects=torch.tensor([2.0, -1.0]),
        empty=0.5,
        names=("a", "b"),
    )
    assert Game(terms, terms.names).table().tolist() == [0.5, 1.5, 2.5, 1.5]


@pytest.mark.parametrize("players", [0, 3])
def test_no_terms_are_a_constant(players):
    terms = Interactions(
        torch.zeros(0, players).bool(), torch.zeros(0).bool(), torch.zeros(0), 1.5, NAMES[:players]
    )
    assert terms(coalitions(players)).unique().tolist() == [1.5]
    assert terms(torch.zeros(0, players).bool()).shape == (0,)


def test_many_terms_are_evaluated_a_slice_of_masks_at_a_time():
    every = coalitions(13)[1:]
    effects = torch.randn(len(every), dtype=torch.float64)
    terms = Interactions(every, torch.zeros(len(every)).bool(), effects, 0.0, NAMES[:13])
    values = terms(coalitions(13))  # 2^26 pairs, so several slices
    for place in (0, 1, 37, 4095, 8190, 8191):
        inside = [t for t in range(1, 2**13) if t & place == t]
        assert values[place].item() == pytest.approx(float(effects[[t - 1 for t in inside]].sum()))


@pytest.mark.parametrize(
    "result",
    [
        Attribution(torch.zeros(1, 2)),
        Examples(),
        Synthesis(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 3)),
        Surrogate(None, 1.0),
        Measurement(),
        Interactions(torch.ones(1, 1).bool(), torch.zeros(1).bool(), torch.ones(1), 0.0, ("a",)),
    ],
)
def test_results_are_frozen(result):
    for field in dataclasses.fields(result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field.name, None)


def test_spread_is_the_standard_deviation_of_what_a_term_adds() -> None:
    """Against the spread of each term's own values over all masks of five players."""
    members = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    for is_or in (False, True):
        terms = Interactions(
            members.bool(),
            torch.full((4,), is_or),
            torch.tensor([1.0, -2.0, 3.0, 10.0]).double(),
            0.0,
            tuple("abcde"),
        )
        for i in range(4):
            one = Interactions(
                terms.members[i : i + 1], terms.is_or[i : i + 1], terms.effects[i : i + 1], 0.0,
                terms.names,
            )  # fmt: skip
            over_masks = one(coalitions(5)).std(correction=0)
            assert float(terms.spread[i]) == pytest.approx(float(over_masks), rel=1e-12)
