"""What sets of players bring as one: their Shapley values, each set merged into a single player."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.game import Game
from unmask.interactions.interaction_indices import interaction_indices
from unmask.lattice import coalitions, indices

AT_ONCE = 2**22
"""Entries of the masks that are held at a time."""
_GROUPS = 32
"""Parts into which drawn contexts are put, so that errors of sums can be told afterwards."""


@dataclass(frozen=True)
class Merged:
    r"""What each of some sets brings, and what its players bring beyond what they do alone.

    Args:
        sets: C.
        values: $\phi_{[C]}$.
        groups: the same from several parts of the contexts, equally many in each; a single row
            where all were seen.
        evaluations: coalitions that were evaluated.
    """

    sets: Bool[Tensor, "sets players"]
    values: Float[Tensor, " sets"]
    groups: Float[Tensor, "groups sets"]
    evaluations: int

    def within(self, values: Float[Tensor, "*groups sets"]) -> Float[Tensor, "*groups sets"]:
        r"""$B([C]) = \phi_{[C]} - \sum_{i \in C} \phi_i$ of each set; all its players are sets too.

        Args:
            values: what the sets bring, or the groups of that.
        """
        single = self.sets.sum(1) == 1
        alone = values.new_zeros(*values.shape[:-1], self.sets.shape[1])
        player = self.sets[single].long().argmax(1).to(values.device)
        alone[..., player] = values[..., single.to(values.device)]
        return values - alone @ self.sets.T.to(values)


def error(groups: Float[Tensor, "groups *shape"]) -> Float[Tensor, "*shape"]:
    """The standard error of a mean over the groups; zero where there is but one, of all contexts.

    Args:
        groups: any number that is linear in the values, of each group.
    """
    if len(groups) == 1:
        return torch.zeros_like(groups[0])
    return groups.std(0) / len(groups) ** 0.5


def merged(
    game: Game,
    sets: Bool[Tensor, "sets players"],
    *,
    present: bool,
    samples: int,
    generator: torch.Generator,
    table: Float[Tensor, " coalitions"] | None,
) -> Merged:
    r"""The Shapley value of each set as one player among those that are in no set.

    $$
    \phi_{[C]} = \sum_{S \subseteq N \setminus A}
        \frac{|S|!\,(n - |A| - |S|)!}{(n - |A| + 1)!} \bigl( v(S \cup C) - v(S) \bigr)
    $$

    A holds the players of all sets. Those that are not in C are absent; or, where they are to be
    present, each is a player of its own, and N without C takes the place of N without A.

    Contexts are drawn by size first, every size as likely, each with its complement, and are the
    same for all sets.

    Args:
        game: v.
        sets: C; none is empty.
        present: whether the others of A are there as players.
        samples: contexts to draw, in pairs; of no more all are seen.
        generator: source of randomness.
        table: of the game, where it is known; then nothing is drawn.
    """
    n, own = len(game.names), sets.any(0)
    if table is None and not present and 2 ** (n - int(own.sum())) <= samples:
        return _enumerated(game, sets, own)
    if table is None:
        return _sampled(game, sets, own, present, samples, generator)
    if present:
        every = interaction_indices(
            Game(game.value, game.names, lambda: table), index="SGV", order=int(sets.sum(1).max())
        )
        values = torch.zeros_like(table).index_copy_(
            0, indices(every.members).to(table.device), every.effects
        )[indices(sets).to(table.device)]
        return Merged(sets, values, values[None], 0)
    lattice = torch.arange(len(table), device=table.device)
    outside = lattice[(lattice & int(indices(own))) == 0]
    rest = n - int(own.sum())
    weight = _weights(coalitions(rest).sum(1), rest).to(table)
    places = indices(sets).to(table.device)
    rows = max(1, AT_ONCE // len(outside))
    values = torch.cat(
        [(table[some[:, None] | outside] - table[outside]) @ weight for some in places.split(rows)]
    )
    return Merged(sets, values, values[None], 0)


def _weights(size: Tensor, rest: int) -> Float[Tensor, " contexts"]:
    """Of contexts among the rest: every size as likely, and every context of a size."""
    share = [1 / ((rest + 1) * comb(rest, s)) for s in range(rest + 1)]
    return torch.tensor(share, dtype=torch.float64)[size]


def _enumerated(game: Game, sets: Tensor, own: Tensor) -> Merged:
    """All contexts, where these are few though the players are many."""
    rest = int((~own).sum())
    contexts = torch.zeros(2**rest, len(own), dtype=torch.bool)
    contexts[:, ~own] = coalitions(rest)
    weight = _weights(contexts.sum(1), rest)
    values, evaluations = None, 0
    for some, share in zip(_few(contexts, sets), _few(weight, sets), strict=True):
        found, asked = _brought(game, sets, some, None)
        found = share.to(found) @ found
        values, evaluations = found if values is None else values + found, evaluations + asked
    assert values is not None  # the empty context is one
    return Merged(sets, values, values[None], evaluations)


def _sampled(
    game: Game, sets: Tensor, own: Tensor, present: bool, samples: int, generator: torch.Generator
) -> Merged:
    n = len(own)
    pairs = max(2, -(-samples // 2))
    parts = min(_GROUPS, pairs)
    pairs = -(-pairs // parts) * parts  # groups of the same size
    sums, evaluations = None, 0
    for some in _few(torch.arange(pairs), sets):
        keys = torch.rand(len(some), n + 1, generator=generator, device=generator.device).cpu()
        drawn = keys[:, :n] < keys[:, n:]
        contexts = torch.stack([drawn, ~drawn], 1).flatten(0, 1)
        if present:
            found, asked = _brought(game, sets, contexts, contexts[:, None] & ~sets)
        else:
            found, asked = _brought(game, sets, contexts & ~own, None)
        evaluations += asked
        sums = found.new_zeros(parts, len(sets)) if sums is None else sums
        sums.index_add_(0, (some % parts).to(found.device), found.unflatten(0, (-1, 2)).mean(1))
    assert sums is not None  # there is a pair at least
    groups = sums / (pairs // parts)
    return Merged(sets, groups.mean(0), groups, evaluations)


def _few(contexts: Tensor, sets: Tensor) -> Sequence[Tensor]:
    return contexts.split(max(1, AT_ONCE // (4 * sets.numel())))


def _brought(
    game: Game, sets: Tensor, contexts: Tensor, without: Tensor | None
) -> tuple[Float[Tensor, "contexts sets"], int]:
    """What each set adds to each context; without it, the context is as given, or as it is."""
    joined = contexts[:, None] | sets
    left = contexts[:, None] if without is None else without
    both = torch.cat([joined, left], 1)
    v = game(both.flatten(0, 1)).detach().double().view(both.shape[:2])
    return v[:, : len(sets)] - v[:, len(sets) :], v.numel()
