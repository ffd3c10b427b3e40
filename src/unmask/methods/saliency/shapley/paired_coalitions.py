"""Coalitions drawn in pairs, each with its complement, size by size and none twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import comb, log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.game import Game
from unmask.lattice import coalitions

_COUNTED = 2**62
"""The largest sizes, from where there are more pairs in all than this, are not numbered; chance
never draws one of theirs twice."""
_WIDTH = 7
"""Players whose part in a coalition is looked up together."""
_AT_ONCE = 2**15
"""Pairs that a game is asked about in one call."""
_LISTED = 2**16
"""Sizes with no more pairs than this are shuffled as a list."""


@dataclass
class PairedCoalitions:
    """Draws pairs of a coalition and its complement, none twice, in as many turns as wanted.

    A pair is told by its smaller coalition; of two halves, by the one with the first player. The
    layer of a pair is that coalition's size, from 1 to half of the players: the empty coalition and
    the full one are always evaluated, and no part of this. Within a layer all pairs are equally
    likely, and how many each layer gives is settled in advance, so that layers are strata.

    Args:
        players: how many, at least 2.
        shares: how often a coalition of each size should be drawn, up to half of the players; what
            a small layer cannot give goes to the others.
        generator: source of randomness.
    """

    players: int
    shares: Sequence[float]
    generator: torch.Generator
    drawn: list[int] = field(init=False)
    expected: list[float] = field(init=False)
    _taken: list[Int[Tensor, " drawn"]] = field(init=False)

    def __post_init__(self) -> None:
        halves = self.players / 2  # of these, both coalitions of a pair have the same size
        self.shares = [s / 2 if i + 1 == halves else s for i, s in enumerate(self.shares)]
        self.drawn = [0] * len(self.layers)
        self.expected = [0.0] * len(self.layers)
        nothing = torch.zeros(0, dtype=torch.long, device=self.generator.device)
        self._taken = [nothing] * len(self.layers)

    @property
    def layers(self) -> list[int]:
        """How many pairs each layer has."""
        return pairs_by_size(self.players)

    def more(self, total: int) -> Bool[Tensor, "pairs players"]:
        """New pairs, so that there are as many as this in all; fewer where no more exist."""
        layers = self.layers
        total = min(total, sum(layers))
        self.expected = _filled(total, self.shares, layers)
        lacking = [max(0.0, e - d) for e, d in zip(self.expected, self.drawn, strict=True)]
        left = total - sum(self.drawn)
        scale = left / sum(lacking) if left else 0.0
        wanted = self._whole([scale * lack for lack in lacking], left)
        # The smaller sizes; they come first, and together fit a whole number.
        numbered = sum(total < _COUNTED for total in accumulate(layers))
        parts = [self._places(layer, count) for layer, count in enumerate(wanted[:numbered])]
        size = torch.arange(1, numbered + 1).repeat_interleave(torch.tensor(wanted[:numbered]))
        nothing = torch.zeros(0, dtype=torch.long, device=self.generator.device)
        place = torch.cat([nothing, *parts])
        masks = coalitions_at(self.players, size.to(place.device), place)
        rest = [self._unnumbered(i, wanted[i]) for i in range(numbered, len(layers)) if wanted[i]]
        return torch.cat([masks, *rest])

    def layer_of(self, masks: Bool[Tensor, "pairs players"]) -> Int[Tensor, " pairs"]:
        """The layer of each pair, counted from 0."""
        size = masks.sum(1)
        return torch.minimum(size, self.players - size) - 1

    def represented(self, since: Sequence[int] | None = None) -> Float[Tensor, " layers"]:
        """The logarithm of how many pairs of its layer one drawn pair stands for.

        Where a layer can expect less than one pair, chance decides whether it has any, and one that
        was drawn stands for those that might have been.

        Args:
            since: pairs of each layer that were drawn before and stand for themselves.
        """
        stands = []
        before = since or [0] * len(self.layers)
        for count, d, e, b in zip(self.layers, self.drawn, self.expected, before, strict=True):
            chosen = d - b if e - b >= 1 else e - b
            stands.append(log(count - b) - log(chosen) if d > b and chosen > 0 else 0.0)
        return torch.tensor(stands, dtype=torch.float64)

    def _whole(self, parts: list[float], total: int) -> list[int]:
        """Whole numbers, each a part rounded up or down, right in the mean."""
        offset = torch.rand((), generator=self.generator, device=self.generator.device)
        edges = torch.tensor(parts, dtype=torch.float64).cumsum(0) + float(offset)
        if len(parts):
            edges[-1] = total + float(offset)
        ends = edges.floor().long().tolist()
        rounded = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        free = [n - d for n, d in zip(self.layers, self.drawn, strict=True)]
        return [min(count, room) for count, room in zip(rounded, free, strict=True)]

    def _places(self, layer: int, count: int) -> Int[Tensor, " pairs"]:
        """The place in its list of each new pair of a layer."""
        taken = self._taken[layer]
        new = _distinct(self.layers[layer], count, taken, self.generator)
        self.drawn[layer] += count
        self._taken[layer] = torch.cat([taken, new]) if len(taken) else new
        return new

    def _unnumbered(self, layer: int, count: int) -> Bool[Tensor, "pairs players"]:
        """Pairs of a layer that has too many to be numbered."""
        self.drawn[layer] += count
        device = self.generator.device
        chances = torch.rand(count, self.players, generator=self.generator, device=device)
        masks = torch.zeros(count, self.players, dtype=torch.bool, device=device)
        masks.scatter_(1, chances.topk(layer + 1, 1).indices, True)
        return masks ^ ~masks[:, :1] if 2 * (layer + 1) == self.players else masks


def pairs_by_size(players: int) -> list[int]:
    """How many pairs there are whose smaller coalition has one player, two, and so on."""
    halved = [comb(players, s) // (2 if 2 * s == players else 1) for s in range(1, players)]
    return halved[: players // 2]


def coalitions_at(
    players: int, size: Int[Tensor, " batch"], place: Int[Tensor, " batch"]
) -> Bool[Tensor, "batch players"]:
    """The coalitions of some sizes at some places of their lists, the first player's first."""
    columns, missing = [], size
    most = int(size.max()) if len(size) else 0
    for first in range(0, players, _WIDTH):
        width = min(_WIDTH, players - first)
        starts, who, count = _blocks(width, players - first - width, most)
        starts, who, count = (table.to(place.device) for table in (starts, who, count))
        place = place + starts[missing << width]
        block = torch.searchsorted(starts, place, right=True) - 1
        place = place - starts[block]
        pattern = block & 2**width - 1
        missing = missing - count[pattern]
        columns.append(who[pattern])
    return torch.cat(columns, 1)


@lru_cache(maxsize=64)
def _blocks(
    width: int, after: int, most: int
) -> tuple[Int[Tensor, " blocks"], Bool[Tensor, "patterns width"], Int[Tensor, " patterns"]]:
    """Where in the lists of coalitions those that begin alike stand, how, and of how many.

    The lists of all sizes up to `most` are put one after the other, and each consists of one block
    for every way in which its first few players may take part.
    """
    who = coalitions(width).flip(0, 1)
    count = who.sum(1)
    ways = [comb(after, k) for k in range(most + 1)]
    blocks = [ways[k - c] if k >= c else 0 for k in range(most + 1) for c in count.tolist()]
    return torch.tensor([0, *accumulate(blocks[:-1])]), who, count


def ends_of(game: Game) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The values of the full coalition and of the empty one."""
    masks = torch.tensor([[True], [False]]).expand(2, len(game.names))
    full, empty = game(masks).detach().double()
    return full, empty


def odd_part(game: Game, masks: Bool[Tensor, "pairs players"]) -> Float[Tensor, " pairs"]:
    """Half of what coalitions are worth more than their complements."""
    values = []
    for some in masks.split(_AT_ONCE):
        v = game(torch.cat([some, ~some])).detach().double()
        values.append((v[: len(some)] - v[len(some) :]) / 2)
    return torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)


def _distinct(
    count: int, wanted: int, taken: Int[Tensor, " taken"], generator: torch.Generator
) -> Int[Tensor, " wanted"]:
    """Whole numbers below a count, none twice and none of those taken, all equally likely."""
    device = generator.device
    if not wanted:
        return taken[:0]
    if wanted == count and not len(taken):
        return torch.arange(count, device=device)
    if count <= max(_LISTED, 4 * (wanted + len(taken))):
        order = torch.randperm(count, generator=generator, device=device)
        if len(taken):
            free = torch.ones(count, dtype=torch.bool, device=device)
            free[taken] = False
            order = order[free[order]]
        return order[:wanted]
    found = taken[:0]
    while len(found) < wanted:
        some = torch.randint(count, (wanted + wanted // 2 + 8,), generator=generator, device=device)
        new = torch.cat([found, some]).unique()
        found = new[~torch.isin(new, taken)]
    # They are sorted now, and the first would be the smallest.
    return found[torch.randperm(len(found), generator=generator, device=device)[:wanted]]


def _filled(total: int, shares: Sequence[float], layers: Sequence[int]) -> list[float]:
    """Share a total out in proportion, no layer getting more than it holds."""
    parts = [0.0] * len(layers)
    free = set(range(len(layers)))
    left = float(total)
    while free and left > 0:
        rate = left / sum(shares[i] for i in free)
        full = {i for i in free if rate * shares[i] >= layers[i]}
        for i in full or free:
            parts[i] = float(layers[i]) if full else rate * shares[i]
        left -= sum(layers[i] for i in full)
        free = free - full if full else set()
    return parts
