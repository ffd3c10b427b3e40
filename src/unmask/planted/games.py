"""Games whose AND and OR terms are known."""

from collections.abc import Iterable, Mapping, Sequence
from math import comb

import torch
from jaxtyping import Bool
from torch import Tensor

from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import coalitions
from unmask.results import Interactions


def planted_game(
    players: int, and_terms: int, or_terms: int, generator: torch.Generator, *, largest: int = 5
) -> tuple[Game, Interactions]:
    """A game that is the sum of a few AND and OR terms drawn at random, and these terms.

    On every coalition the game is exactly what the terms add up to. Few terms on many players
    are also its sparsest explanation, as a rule; many terms may not be. What is true of the
    terms says `planted_terms`.

    Args:
        players: how many, also far more than a table holds.
        and_terms: AND terms, of one player or more.
        or_terms: OR terms, of two players or more.
        generator: source of randomness.
        largest: the most players of a term.

    >>> game, truth = planted_game(6, 3, 2, torch.Generator().manual_seed(0))
    >>> len(truth.effects), game.table().shape
    (5, torch.Size([64]))
    """
    truth = planted_terms(players, and_terms, or_terms, generator, largest=largest)
    return Game(truth, truth.names), truth


def planted_terms(
    players: int, and_terms: int, or_terms: int, generator: torch.Generator, *, largest: int = 5
) -> Interactions:
    """AND and OR terms drawn at random, in float64.

    No two terms have the same players, and an OR term has two at least, for of one player AND
    and OR are the same. The sizes of terms are drawn evenly, effects are between 0.5 and 2 in
    size and of either sign, and the empty coalition has a value as well.

    Args:
        players: how many.
        and_terms: AND terms, of one player or more.
        or_terms: OR terms, of two players or more.
        generator: source of randomness.
        largest: the most players of a term.
    """
    if players < 1 or largest < 1 or and_terms < 0 or or_terms < 0:
        raise ValueError(
            f"Nothing can be planted with {players} players, {and_terms} AND and {or_terms} OR "
            f"terms of at most {largest} players. Give players and sizes of at least 1, and "
            "numbers of terms of at least 0."
        )
    largest = min(largest, players)
    sizes = [comb(players, size) for size in range(1, largest + 1)]
    if or_terms > sum(sizes[1:]):
        raise ValueError(
            f"{or_terms} OR terms cannot be planted among {players} players: with at most "
            f"{largest} players a term there are {sum(sizes[1:])} of two or more. "
            "Ask for fewer terms, or give more players."
        )
    if and_terms + or_terms > sum(sizes):
        raise ValueError(
            f"{and_terms} AND and {or_terms} OR terms of different players cannot be planted "
            f"among {players} players: with at most {largest} players a term there are "
            f"{sum(sizes)}. Ask for fewer terms, or give more players."
        )
    drawn: dict[frozenset[int], None] = {}  # a set that keeps its order
    for wanted, least in ((or_terms, 2), (and_terms + or_terms, 1)):
        while len(drawn) < wanted:
            size = int(torch.randint(least, largest + 1, (), generator=generator))
            drawn[frozenset(torch.randperm(players, generator=generator)[:size].tolist())] = None
    count = len(drawn)
    size = 0.5 + 1.5 * torch.rand(count, generator=generator, dtype=torch.float64)
    sign = 1 - 2 * torch.randint(2, (count,), generator=generator)
    return Interactions(
        members=_members(drawn, players),
        is_or=torch.arange(count) < or_terms,
        effects=size * sign,
        empty=float(torch.randn((), generator=generator)),
        names=tuple(f"player {i + 1}" for i in range(players)),
    )


def terms_of(
    names: Sequence[str],
    *,
    ands: Mapping[tuple[str, ...], float] | None = None,
    ors: Mapping[tuple[str, ...], float] | None = None,
    empty: float = 0.0,
) -> Interactions:
    """The terms that one writes down; `Game(terms, terms.names)` is their game.

    Args:
        names: of the players.
        ands: players of each AND term -> its effect.
        ors: players of each OR term -> its effect.
        empty: the value of the empty coalition.

    >>> terms = terms_of(["sun", "rain"], ands={("sun", "rain"): 2.0}, ors={("sun", "rain"): 1.0})
    >>> terms(torch.tensor([[True, False], [True, True]])).tolist()
    [1.0, 3.0]
    """
    ands, ors = ands or {}, ors or {}
    place = {name: i for i, name in enumerate(names)}
    for name in (name for group in (*ands, *ors) for name in group):
        if name not in place:
            raise ValueError(
                f"{name!r} is no player: the players are {', '.join(names)}. "
                "Write terms with these names, each a tuple such as ('a', 'b')."
            )
    groups = [[place[name] for name in group] for group in (*ands, *ors)]
    if any(not group for group in groups):
        raise ValueError(
            "A term has no players: (). Give its effect to the empty coalition, as empty."
        )
    return Interactions(
        members=_members(groups, len(names)),
        is_or=torch.arange(len(groups)) >= len(ands),
        effects=torch.tensor([*ands.values(), *ors.values()], dtype=torch.float64),
        empty=float(empty),
        names=tuple(names),
    )


def parity_terms(players: int) -> Interactions:
    r"""The game that is 1 for coalitions of odd size and 0 for others, as AND terms.

    $$
    I_\wedge(T) = (-2)^{|T| - 1}
    $$

    Every coalition has a term, and the larger the stronger: it is the least sparse of games.

    Args:
        players: how many.
    """
    members = _all(players)
    return _symmetric(members, (-2.0) ** (members.sum(1).double() - 1))


def majority_terms(players: int) -> Interactions:
    r"""The game that is 1 for coalitions of more than half the players, as AND terms.

    $$
    I_\wedge(T) = (-1)^{|T| - m} \binom{|T| - 1}{m - 1}, \quad |T| \ge m = \lfloor n/2 \rfloor + 1
    $$

    Args:
        players: n.
    """
    m = players // 2 + 1
    members = _all(players)
    members = members[members.sum(1) >= m]
    effects = [(-1.0) ** (t - m) * comb(t - 1, m - 1) for t in members.sum(1).tolist()]
    return _symmetric(members, torch.tensor(effects, dtype=torch.float64))


def _symmetric(members: Bool[Tensor, "terms players"], effects: Tensor) -> Interactions:
    names = tuple(f"player {i + 1}" for i in range(members.shape[1]))
    return Interactions(members, torch.zeros(len(members), dtype=torch.bool), effects, 0.0, names)


def _all(players: int) -> Bool[Tensor, "terms players"]:
    if not 1 <= players <= LARGEST_TABLE:
        raise ValueError(
            f"{players} players cannot have all their terms written down. "
            f"Give a number of players from 1 to {LARGEST_TABLE}."
        )
    return coalitions(players)[1:]


def _members(groups: Iterable[Iterable[int]], players: int) -> Bool[Tensor, "terms players"]:
    rows = [[i in group for i in range(players)] for group in map(frozenset, groups)]
    return torch.tensor(rows, dtype=torch.bool).view(-1, players)
