"""Interaction trees: which parts of an input are read together first."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions.contexts.merged import error, merged
from unmask.results import Hierarchy, Measurement

_ALIKE = 1e-9
"""Parts that bring less than this share of the largest output bring nothing."""


@method("zhang2021building", "zhang2021interpreting")
def interaction_tree(
    game: Game,
    *,
    adjacent: bool = True,
    samples: int = 256,
    generator: torch.Generator | None = None,
) -> Hierarchy:
    r"""Join players two by two, those first that interact most for what they bring.

    $$
    r(a, b) = \frac{|B([a \cup b]) - B([a]) - B([b])|}{|\phi_{[a]}| + |\phi_{[b]}|}, \qquad
    B([S]) = \phi_{[S]} - \sum_{i \in S} \phi_i
    $$

    The score of a set is B([S]), what its players do beyond what each does alone: that of
    `multivariate_shapley`, zero for single players. So the difference between a set and its two
    parts is what happens between the parts, and these differences sum to the score of the whole.
    At each step the two sets of the largest density r become one; of equals, the first. Whether
    the denominator is that of the paper was not checked. `interaction_tree_nodes` has the numbers
    behind each step.

    Where all 2^n coalitions cost no more than the first step would in drawn contexts, they are all
    evaluated. Otherwise the values of each set are drawn, and the tree depends on it.

    Args:
        game: v.
        adjacent: whether only neighbours may be joined, as in a sentence, whose words are the
            players in their order.
        samples: contexts to draw for each set.
        generator: source of randomness.

    >>> two = Game(lambda own: 1.0 * own[:, :2].all(1) + 1.0 * own[:, 2:].all(1), tuple("abcd"))
    >>> interaction_tree(two).members[4:].int().tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]
    """
    sets = _Sets(game, adjacent, samples, admission.drawing(generator))
    joined = [step.part for step in _grown(sets, adjacent)]
    n = len(game.names)
    parts = [*sets.leaves, *joined]
    members = torch.zeros(len(parts), n, dtype=torch.bool)
    for row, part in enumerate(parts):
        members[row, list(part.players)] = True
    return Hierarchy(
        members=members.to(sets.device),
        score=torch.tensor([part.within for part in parts], dtype=torch.float64).to(sets.device),
        step=torch.tensor([0] * n + list(range(1, n))).to(sets.device),
        names=game.names,
        evaluations=sets.evaluations,
    )


@method("zhang2021building", "zhang2021interpreting")
def interaction_tree_nodes(
    game: Game,
    *,
    adjacent: bool = True,
    samples: int = 256,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Say of each step of an interaction tree what was joined, and what was left out by it.

    $$
    B_\mathrm{between}(a, b) = B([a \cup b]) - B([a]) - B([b])
    $$

    Curves over `step`, from 1 to n - 1: `together`, $\phi$ of the set that was made; `within`, its
    B, with the standard error `within_error`; `between`, what happens between its two parts;
    `density`, r of `interaction_tree`; `unmodelled`, the same density between the two parts and the
    sets beside them, which the step passes over: the sum of |B_between| over these pairs,
    divided by the sum of their $|\phi_{[a]}| + |\phi_{[b]}|$. Sets are beside each other if they
    are neighbours, or, if any may be joined, always.

    Numbers: `total`, B of all players; `captured`, the sum of |B_between| of the steps as a share
    of it and that of what they passed over together; `evaluations`, coalitions that were evaluated.
    The definitions of `unmodelled` and `captured` are ours; the paper's were not checked.

    Args:
        game: v.
        adjacent: whether only neighbours may be joined.
        samples: contexts to draw for each set.
        generator: source of randomness; the same gives the tree of `interaction_tree`.

    >>> two = Game(lambda own: 1.0 * own[:, :2].all(1) + 1.0 * own[:, 2:].all(1), tuple("abcd"))
    >>> interaction_tree_nodes(two).curves["between"]
    tensor([1., 1., 0.], dtype=torch.float64)
    """
    sets = _Sets(game, adjacent, samples, admission.drawing(generator))
    steps = list(_grown(sets, adjacent))
    between = sum((abs(step.between) for step in steps), 0.0)
    passed = sum((step.passed for step in steps), 0.0)
    rows = [
        (
            *(float(number), step.part.together, step.part.within, step.part.error),
            *(step.between, step.density, step.unmodelled),
        )
        for number, step in enumerate(steps, start=1)
    ]
    table = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 7).to(sets.device)
    names = (
        *("step", "together", "within", "within_error"),
        *("between", "density", "unmodelled"),
    )
    whole = between + passed
    return Measurement(
        {
            "total": steps[-1].part.within if steps else 0.0,
            "captured": between / whole if whole > 0 else 1.0,
            "evaluations": float(sets.evaluations),
        },
        dict(zip(names, table.T, strict=True)),
    )


@dataclass(frozen=True)
class _Part:
    """A set of players: what it brings as one, and beyond what its players do alone."""

    players: tuple[int, ...]
    together: float
    within: float
    error: float


@dataclass(frozen=True)
class _Step:
    """Two parts became one; beside it, what was passed over."""

    part: _Part
    between: float
    density: float
    passed: float
    unmodelled: float


class _Sets:
    """The values of the sets that are asked for, each found once."""

    def __init__(
        self, game: Game, adjacent: bool, samples: int, generator: torch.Generator
    ) -> None:
        if samples < 4:
            raise ValueError(
                f"Errors take two pairs of contexts at least, but samples is {samples}. "
                "Give hundreds."
            )
        n = len(game.names)
        self.game, self.samples, self.generator = game, samples, generator
        self.table: Tensor | None = None
        self.evaluations = 0
        # Of each player two coalitions a context, of each pair four.
        pairs = n - 1 if adjacent else n * (n - 1) // 2
        contexts = [min(samples, 2 ** (n - size)) for size in (1, 2)]
        if n <= LARGEST_TABLE and 2**n <= 2 * n * contexts[0] + 4 * pairs * contexts[1]:
            self.table = game.table().detach().double()
            self.evaluations = len(self.table)
        ends = torch.zeros(2, n, dtype=torch.bool)
        ends[1] = True
        v = self.table
        if v is None:
            v = game(ends).detach().double()
            self.evaluations = 2
        self.device = v.device
        least = torch.finfo(torch.float64).tiny
        self.nothing = max(_ALIKE * float(v.abs().max()), least)
        self.known: dict[tuple[int, ...], _Part] = {}
        self.leaves = [self.part((player,)) for player in range(n)]

    def part(self, players: tuple[int, ...]) -> _Part:
        if players in self.known:
            return self.known[players]
        sets = torch.zeros(len(players) + 1, len(self.game.names), dtype=torch.bool)
        sets[torch.arange(len(players)), list(players)] = True
        sets[-1, list(players)] = True
        if len(players) == 1:
            sets = sets[:1]
        found = merged(
            self.game,
            sets,
            present=False,
            samples=self.samples,
            generator=self.generator,
            table=self.table,
        )
        self.evaluations += found.evaluations
        within, doubt = found.within(found.values), error(found.within(found.groups))
        self.known[players] = _Part(
            players, float(found.values[-1]), float(within[-1]), float(doubt[-1])
        )
        return self.known[players]

    def between(self, one: _Part, other: _Part) -> float:
        whole = self.part(tuple(sorted(one.players + other.players)))
        return whole.within - one.within - other.within

    def density(self, between: float, *parts: _Part) -> float:
        """Relative to what the parts bring; parts that bring nothing count as very little."""
        return abs(between) / max(sum(abs(part.together) for part in parts), self.nothing)


def _grown(sets: _Sets, adjacent: bool) -> Iterator[_Step]:
    """From single players to all of them, one step after another."""
    parts = list(sets.leaves)
    while len(parts) > 1:
        places = list(
            pairwise(range(len(parts))) if adjacent else combinations(range(len(parts)), 2)
        )
        between = {(left, right): sets.between(parts[left], parts[right]) for left, right in places}
        density = {
            (left, right): sets.density(found, parts[left], parts[right])
            for (left, right), found in between.items()
        }
        # Of densities that differ by rounding alone, the first.
        most = max(density.values()) * (1 - _ALIKE)
        left, right = next(place for place in places if density[place] >= most)
        beside = [
            place for place in places if place != (left, right) and {left, right} & set(place)
        ]
        passed = sum((abs(between[place]) for place in beside), 0.0)
        parties = [parts[i] for place in beside for i in place]
        whole = sets.part(tuple(sorted(parts[left].players + parts[right].players)))
        yield _Step(
            part=whole,
            between=between[left, right],
            density=density[left, right],
            passed=passed,
            unmodelled=sets.density(passed, *parties),
        )
        parts[left] = whole
        del parts[right]
