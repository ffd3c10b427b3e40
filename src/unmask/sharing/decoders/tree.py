"""A tree of prefixes, walked with a decoder that keeps what it has read.

Each level reads one player, hidden and shown, and what follows up to the next player. The first
levels are read whole, twice as many rows at each; once there are as many rows as a batch may have,
they go on together, one branch after the other, in the place where their own past is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from unmask.players import Players
from unmask.sharing.decoders.decoder import Decoder
from unmask.sharing.decoders.past import Past
from unmask.sharing.leaves import in_turn


@dataclass(frozen=True)
class Levels:
    """Who is read when.

    Args:
        order: the players that the reading meets, as they come; then those that make no difference:
            never read, or the same when hidden.
        bounds: where each level begins to read, the level before all players first; and the end.
    """

    order: tuple[int, ...]
    bounds: tuple[int, ...]

    def tokens(self, level: int) -> int:
        """How many tokens a row reads at a level; level 0 comes before all players."""
        return self.bounds[level + 1] - self.bounds[level]

    def rows(self) -> dict[str, int]:
        """How many rows read which tokens."""
        spans = ((self.bounds[i], self.bounds[i + 1] - 1) for i in range(len(self.bounds) - 1))
        return {
            f"tokens {first} to {last}" if first < last else f"token {first}": 2**level
            for level, (first, last) in enumerate(spans)
            if first <= last
        }


def levels(
    x: Shaped[Tensor, "tokens *width"],
    background: Shaped[Tensor, "tokens *width"] | None,
    players: Players,
    end: int,
) -> Levels:
    """The levels of one input.

    Args:
        x: one input.
        background: what stands where a player is hidden; None for one that differs everywhere.
        players: who owns which token.
        end: how many tokens are read.
    """
    owner = owners(players)[:end]
    if background is not None:
        same = (x == background).reshape(len(x), -1).all(1)[:end].to(owner.device)
        owner = torch.where(same, -1, owner)
    first: dict[int, int] = {}
    for place, player in enumerate(owner.tolist()):
        if player >= 0:
            first.setdefault(player, place)
    others = tuple(p for p in range(len(players.names)) if p not in first)
    return Levels((*first, *others), (0, *first.values(), *(end for _ in others), end))


def owners(players: Players) -> Int[Tensor, " tokens"]:
    """The player of each token, or of all numbers of its embedding."""
    owner = players.owner
    return owner if owner.ndim == 1 else owner[:, 0]


class Tree:
    """All rows of one background, a batch at a time.

    Args:
        decoder: what reads them.
        x: one input.
        background: what stands where a player is hidden.
        players: who owns which token.
        read: the positions whose states are asked for.
        levels: who is read when.
        rows: at most so many at a time.
    """

    def __init__(
        self,
        decoder: Decoder,
        x: Shaped[Tensor, "tokens *width"],
        background: Shaped[Tensor, "tokens *width"],
        players: Players,
        read: tuple[int, ...],
        levels: Levels,
        rows: int,
    ) -> None:
        self.decoder, self.read, self.levels = decoder, read, levels
        self.whole = min(len(levels.order), rows.bit_length() - 1)
        owner = owners(players).to(x.device)
        self.shown, self.hidden = x, background
        self.places = [(owner == p).nonzero()[:, 0] for p in range(len(players.names))]
        nobody = (owner < 0).view(-1, *[1] * (x.ndim - 1))
        start = torch.where(nobody, x, background)
        self.tokens = start.expand(2**self.whole, *x.shape).clone()
        self.states: Tensor | None = None
        self.past = Past(2**self.whole, levels.bounds[-1])

    @property
    def order(self) -> Int[Tensor, " coalitions"]:
        """The place in lattice order of each row in turn."""
        return in_turn(self.levels.order, 2**self.whole)

    def walked(self) -> Iterator[Int[Tensor, " rows"]]:
        """The numbers of all rows of a batch, each time that `tokens` and `states` are new.

        A tree is walked once.
        """
        order = self.levels.order
        self._read(0, 1)
        for level in range(self.whole):
            rows = 2**level
            self.past.start = self.levels.bounds[level + 1]
            if self.past.start < self.past.tokens:
                self.past.twice(rows)
            self.tokens[rows : 2 * rows] = self.tokens[:rows]
            if self.states is not None:
                self.states[rows : 2 * rows] = self.states[:rows]
            self._decide(slice(rows, 2 * rows), order[level], True)
            self._read(level + 1, 2 * rows)
        rows = 2**self.whole
        before: int | None = None
        for code in self.order[::rows].tolist():
            deep = range(self.whole, len(order))
            turned = [i for i in deep if before is None or (code ^ before) >> order[i] & 1]
            for i in turned:
                self._decide(slice(None), order[i], bool(code >> order[i] & 1))
            for level in range(min(turned, default=len(order)), len(order)):
                self._read(level + 1, rows)
            before = code
            yield torch.arange(rows, device=self.tokens.device)

    def _decide(self, rows: slice, player: int, shown: bool) -> None:
        places = self.places[player]
        self.tokens[rows, places] = (self.shown if shown else self.hidden)[places]

    def _read(self, level: int, rows: int) -> None:
        """Let the decoder read the tokens of one level."""
        start, end = self.levels.bounds[level : level + 2]
        if start == end:
            return
        self.past.start = start
        new = self.decoder.states(self.tokens[:rows, start:end], self.past)
        asked = [place for place in self.read if start <= place < end]
        if self.states is None:
            shape = (len(self.tokens), len(self.shown), new.shape[-1])
            self.states = new.new_full(shape, torch.nan)
        if asked:
            self.states[:rows, asked] = new[:, [place - start for place in asked]]
