"""Universal matching, against errors added up term by term and mask by mask."""

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import NAMES, tabled, tables, tensors
from unmask import Game, Interactions
from unmask.interactions.universal_matching import universal_matching


def all_masks(n: int) -> list[tuple[bool, ...]]:
    return [tuple(bool(place >> i & 1) for i in range(n)) for place in range(2**n)]


def slow_moments(terms: Interactions, j: int) -> tuple[float, float]:
    """Mean and deviation of what a term adds, from how many of the 2^n masks it fires on."""
    n, size = len(terms.names), int(terms.members[j].sum())
    fires = 2 ** (n - size) if not terms.is_or[j] else 2**n - 2 ** (n - size)
    effect = float(terms.effects[j])
    mean = effect * fires / 2**n
    square = fires * (effect - mean) ** 2 + (2**n - fires) * mean**2
    return mean, (square / 2**n) ** 0.5


def slow_curve(game: Game, terms: Interactions, masks: list[tuple[bool, ...]]):
    """Fidelity, largest and mean error for every number of strongest terms, by plain loops."""
    v = [float(game(torch.tensor([mask]))) for mask in masks]
    mean = sum(v) / len(v)
    spread = sum((a - mean) ** 2 for a in v)
    order = sorted(range(len(terms.effects)), key=lambda j: -slow_moments(terms, j)[1])
    means = [slow_moments(terms, j)[0] for j in order]
    fitted = [terms.empty for _ in masks]
    points = []
    for k in range(len(order) + 1):
        if k > 0:
            term = order[k - 1]
            own = [i for i, there in enumerate(terms.members[term].tolist()) if there]
            for row, mask in enumerate(masks):
                there = [mask[i] for i in own]
                if any(there) if terms.is_or[term] else all(there):
                    fitted[row] += float(terms.effects[term])
        left_out = sum(means[k:])
        errors = [abs(a - b - left_out) for a, b in zip(v, fitted, strict=True)]
        fidelity = 1 - sum(e * e for e in errors) / spread if spread else None
        points.append((fidelity, max(errors), sum(errors) / len(errors)))
    return points


@st.composite
def explained(draw: st.DrawFn) -> tuple[Game, Interactions]:
    """A game, and terms that need not be its own."""
    table = draw(tables(1, 4))
    n = len(table).bit_length() - 1
    count = draw(st.integers(0, 6))
    rows = draw(st.lists(st.integers(1, 2**n - 1), min_size=count, max_size=count))
    members = torch.tensor([[bool(row >> i & 1) for i in range(n)] for row in rows]).view(count, n)
    is_or = torch.tensor(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    effects = draw(tensors(count))
    return tabled(table), Interactions(
        members.bool(), is_or.bool(), effects, float(table[0]), NAMES[:n]
    )


@given(explained())
def test_curves_and_numbers_are_those_of_plain_loops(pair):
    game, terms = pair
    masks = all_masks(len(game.names))
    wanted = slow_curve(game, terms, masks)
    found = universal_matching(game, terms=terms)
    assert found.curves["terms"].tolist() == list(range(len(terms.effects) + 1))
    for k, (fidelity, largest, mean) in enumerate(wanted):
        assert float(found.curves["largest_error"][k]) == pytest.approx(largest, abs=1e-9)
        assert float(found.curves["mean_error"][k]) == pytest.approx(mean, abs=1e-9)
        if fidelity is not None:
            assert float(found.curves["fidelity"][k]) == pytest.approx(fidelity, rel=1e-6, abs=1e-9)
    assert found.numbers["largest_error"] == pytest.approx(wanted[-1][1], abs=1e-9)
    assert found.numbers["mean_error"] == pytest.approx(wanted[-1][2], abs=1e-9)
    reach = max(abs(float(v) - terms.empty) for v in game.table())
    if reach > 0:
        relative = found.numbers["largest_relative_error"]
        assert relative == pytest.approx(wanted[-1][1] / reach, rel=1e-6, abs=1e-9)


@settings(max_examples=20)
@given(tables(1, 5))
def test_the_sparsest_terms_match_any_game(table):
    found = universal_matching(tabled(table))
    assert found.numbers["largest_relative_error"] < 1e-12
    assert found.numbers["mean_error"] <= found.numbers["largest_error"]
    assert float(found.curves["fidelity"][-1]) == pytest.approx(1.0)


def test_a_game_is_evaluated_once_where_its_terms_are_sought():
    seen = []

    def value(masks: torch.Tensor) -> torch.Tensor:
        seen.append(len(masks))
        return masks.sum(1).double() ** 2

    universal_matching(Game(value, NAMES[:4]))
    assert sum(seen) == 16


def test_a_thousand_terms_are_taken_in_steps_that_grow():
    generator = torch.Generator().manual_seed(0)
    n, count = 10, 1500
    members = torch.rand(count, n, generator=generator) < 0.5
    members[~members.any(1), 0] = True
    terms = Interactions(
        members,
        torch.rand(count, generator=generator) < 0.5,
        torch.randn(count, generator=generator).double(),
        0.5,
        NAMES[:n],
    )
    game = tabled(torch.randn(2**n, generator=generator).double())
    found = universal_matching(game, terms=terms)
    counts = found.curves["terms"].long().tolist()
    assert counts[:65] == list(range(65))
    assert counts[-1] == count
    assert len(counts) < 110
    assert counts == sorted(set(counts))
    wanted = slow_curve(game, terms, all_masks(n)[::64])
    drawn = torch.tensor(all_masks(n)[::64])
    for k, at in list(enumerate(counts))[::9]:
        order = sorted(range(count), key=lambda j: -slow_moments(terms, j)[1])
        strongest, left_out = order[:at], sum(slow_moments(terms, j)[0] for j in order[at:])
        some = Interactions(
            members[strongest], terms.is_or[strongest], terms.effects[strongest], 0.5, NAMES[:n]
        )
        error = (some(drawn) + left_out - game(drawn)).abs()
        assert float(error.max()) == pytest.approx(wanted[at][1], rel=1e-9)
        assert float(found.curves["largest_error"][k]) >= float(error.max()) - 1e-9


@pytest.mark.parametrize("samples", [None, 40])
def test_tables_held_in_small_pieces_give_the_same_curves(samples, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    game = tabled(torch.randn(2**5, generator=generator).double())
    members = torch.rand(30, 5, generator=generator) < 0.5
    members[~members.any(1), 0] = True
    effects = torch.randn(30, generator=generator).double()
    terms = Interactions(members, effects > 0.3, effects, 0.5, NAMES[:5])
    whole = universal_matching(game, terms=terms, samples=samples)
    module = importlib.import_module("unmask.interactions.universal_matching")
    monkeypatch.setattr(module, "AT_ONCE", 200)
    pieces = universal_matching(game, terms=terms, samples=samples)
    for name, curve in whole.curves.items():
        torch.testing.assert_close(pieces.curves[name], curve)


def test_drawn_masks_give_the_errors_on_these_masks():
    n = 6
    generator = torch.Generator().manual_seed(4)
    table = torch.randn(2**n, generator=generator).double()
    drawn = []

    def value(masks: torch.Tensor) -> torch.Tensor:
        drawn.append(masks)
        places = (masks * 2 ** torch.arange(n)).sum(1)
        return table[places]

    game = Game(value, NAMES[:n])
    members = torch.tensor([[True] * 3 + [False] * 3, [False] + [True] * 5])
    terms = Interactions(
        members, torch.tensor([False, True]), torch.tensor([2.0, -1.0]).double(), 0.25, NAMES[:n]
    )
    found = universal_matching(game, terms=terms, samples=300)
    assert len(drawn) == 1
    assert drawn[0].shape == (300, n)
    assert 0.47 < float(drawn[0].float().mean()) < 0.53
    wanted = slow_curve(tabled(table), terms, [tuple(row) for row in drawn[0].tolist()])
    for k, (fidelity, largest, mean) in enumerate(wanted):
        assert float(found.curves["fidelity"][k]) == pytest.approx(fidelity)
        assert float(found.curves["largest_error"][k]) == pytest.approx(largest)
        assert float(found.curves["mean_error"][k]) == pytest.approx(mean)
    again = universal_matching(game, terms=terms, samples=300)
    assert torch.equal(drawn[0], drawn[1])
    assert again.numbers == found.numbers
    universal_matching(game, terms=terms, samples=300, generator=torch.Generator().manual_seed(7))
    assert not torch.equal(drawn[0], drawn[2])


def test_more_players_than_fit_a_table_are_sampled():
    names = tuple(f"player {i}" for i in range(30))
    members = torch.zeros(2, 30, dtype=torch.bool)
    members[0, :2] = members[1, 2:5] = True
    terms = Interactions(
        members, torch.tensor([False, True]), torch.tensor([1.0, 2.0]).double(), 0.0, names
    )
    found = universal_matching(Game(terms, names), terms=terms)
    assert found.numbers["largest_error"] == 0
    assert found.curves["terms"].tolist() == [0, 1, 2]
    assert float(found.curves["fidelity"][-1]) == 1
    with pytest.raises(ValueError, match="30 players"):
        universal_matching(Game(terms, names))


def test_a_constant_game():
    game = tabled(torch.full((8,), 2.0).double())
    found = universal_matching(game)
    assert found.numbers == {"largest_error": 0, "mean_error": 0, "largest_relative_error": 0}
    assert found.curves["fidelity"].tolist() == [1.0]
    wrong = Interactions(
        torch.tensor([[True, False, False]]),
        torch.tensor([False]),
        torch.tensor([1.0]).double(),
        2.0,
        NAMES[:3],
    )
    assert universal_matching(game, terms=wrong).curves["fidelity"].tolist() == [0.0, 0.0]


def test_what_makes_no_sense_is_refused():
    game = tabled(torch.arange(4).double())
    other = Interactions(
        torch.ones(1, 2).bool(), torch.tensor([False]), torch.ones(1), 0.0, ("x", "y")
    )
    with pytest.raises(ValueError, match="those of the terms"):
        universal_matching(game, terms=other)
    with pytest.raises(ValueError, match="samples is 0"):
        universal_matching(game, samples=0)
