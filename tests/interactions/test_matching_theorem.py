"""Every split of a game into an AND and an OR part reproduces it; what the splits cost."""

import pytest
import torch

from strategies import NAMES, tabled
from unmask import Game, Interactions
from unmask.interactions import and_interaction, and_or, or_interaction
from unmask.lattice import coalitions


def subsets(n: int) -> list[frozenset[int]]:
    """All coalitions in lattice order."""
    return [frozenset(i for i in range(n) if place >> i & 1) for place in range(2**n)]


def counted(n: int, value) -> Game:
    """A game that depends on how many take part."""
    return tabled(torch.tensor([value(len(s)) for s in subsets(n)]).double())


@pytest.mark.parametrize("seed", range(3))
def test_any_split_of_a_game_matches_it_on_every_mask(seed: int) -> None:
    """v = a + o with a random a: the AND terms of a and the OR terms of o add up to v."""
    n = 6
    generator = torch.Generator().manual_seed(seed)
    v, p = torch.randn(2, 2**n, generator=generator).double()
    a, o = v / 2 + p, v / 2 - p
    ands, ors = and_interaction(tabled(a)), or_interaction(tabled(o))
    both = Interactions(
        torch.cat([ands.members, ors.members]),
        torch.cat([ands.is_or, ors.is_or]),
        torch.cat([ands.effects, ors.effects]),
        ands.empty + ors.empty,
        NAMES[:n],
    )
    error = (both(coalitions(n)) - v).abs().max()
    assert float(error) <= 1e-12 * float(v.abs().max()) * n


def test_the_and_terms_follow_from_any_choice_of_or_terms() -> None:
    """(-1)^|L| I_and(L) = w_L + the sum of y_S over all S that hold L, by plain loops, n = 5."""
    n = 5
    generator = torch.Generator().manual_seed(5)
    v = torch.randn(2**n, generator=generator).double()
    every = subsets(n)
    y = {s: float(torch.randn((), generator=generator)) for s in every if len(s) >= 2}
    o = torch.tensor([sum(e for s, e in y.items() if s & t) for t in every], dtype=torch.float64)
    effects = and_interaction(tabled(v - o)).effects.tolist()
    for place, members in enumerate(every[1:]):
        w = sum((-1) ** len(s) * float(v[i]) for i, s in enumerate(every) if s <= members)
        held = sum(e for s, e in y.items() if s >= members)
        signed = (-1) ** len(members) * effects[place]
        assert signed == pytest.approx(w + held, abs=1e-12)


@pytest.mark.parametrize(
    ("game", "and_only", "least"),
    [
        (tabled(torch.tensor([float(bool(s & {0, 1, 2})) for s in subsets(6)]).double()), 7, 1),
        (counted(3, lambda m: float(m >= 2)), 5, 5),
        (counted(5, lambda m: float(m >= 3)), 31, 21),
        (counted(4, lambda m: float(m % 2)), 40, 16),
    ],
    ids=["OR of three", "majority of three", "majority of five", "parity of four"],
)
def test_what_known_games_cost(game: Game, and_only: float, least: float) -> None:
    """L1 of the AND terms alone, and of the sparsest AND-OR terms, from hand and a simplex."""
    assert float(and_interaction(game).effects.abs().sum()) == pytest.approx(and_only, abs=1e-12)
    terms = and_or(game)
    assert float(terms.effects.abs().sum()) == pytest.approx(least, rel=1e-8)
    assert terms.gap is not None
    assert terms.gap <= 1e-8


@pytest.mark.parametrize("n", [6, 8, 10])
def test_the_proven_gap_of_a_network_is_far_below_what_is_asked(n: int) -> None:
    torch.manual_seed(n)
    layers = [torch.nn.Linear(n, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)]
    network = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        v = network(coalitions(n).double())[:, 0]
    terms = and_or(tabled(v))
    assert terms.gap is not None
    assert terms.gap <= 1e-8


def test_no_graph_is_left_behind() -> None:
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    game = Game(lambda masks: masks.double() @ weights, NAMES[:3])
    for find in (and_interaction, or_interaction, and_or):
        assert not find(game).effects.requires_grad
    assert and_or(game).effects.tolist() == pytest.approx([1.0] * 3)
