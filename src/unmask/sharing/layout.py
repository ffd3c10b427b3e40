"""Where in a table the values of a place stand, for every coalition."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unmask.lattice import indices


@dataclass(frozen=True)
class Layout:
    """A table of what places of a feature map hold, each under the coalitions that it can tell.

    The players of a coalition that a place depends on make a number; it counts that place's lines.

    Args:
        code: what each player adds to that number, by kind of place.
        kind: of each place; those of one kind depend on the same players.
        step: from one line of a place to its next.
        first: line of each place.
        lines: in the whole table.
    """

    code: Int[Tensor, "players kinds"]
    kind: Int[Tensor, " places"]
    step: Int[Tensor, " places"]
    first: Int[Tensor, " places"]
    lines: int

    def index(
        self, masks: Bool[Tensor, "masks players"], places: Int[Tensor, " some"] | None = None
    ) -> Int[Tensor, "masks some"]:
        """The line of each place, or of some, under each mask."""
        number = (masks.float() @ self.code.float()).long()  # exact: less than 2^20
        if places is None:
            return number[:, self.kind].mul_(self.step).add_(self.first)
        return number[:, self.kind[places]] * self.step[places] + self.first[places]


def by_colour(depends: Bool[Tensor, "players places"], colours: tuple[int, ...]) -> Layout:
    """The table of whole maps, one for each set of colours that is shown.

    Args:
        depends: whether a place depends on a player.
        colours: of the players; no place depends on two of one colour.
    """
    kinds, kind = indices(depends.T).unique(return_inverse=True)
    players = torch.arange(len(depends), device=kinds.device)
    own = torch.tensor(colours, device=kinds.device)
    code = (kinds >> players[:, None] & 1) << own[:, None]
    places = torch.arange(len(kind), device=kinds.device)
    step = torch.full_like(places, len(kind))
    return Layout(code, kind, step, places, len(kind) << max(colours) + 1)


def by_place(depends: Bool[Tensor, "players places"]) -> Layout:
    """The smallest table: of each place, only as many lines as there are values it can hold.

    The places of a kind lie together: all of the first line, then all of the next.

    Args:
        depends: whether a place depends on a player.
    """
    kinds, kind, alike = indices(depends.T).unique(return_inverse=True, return_counts=True)
    players = torch.arange(len(depends), device=kinds.device)
    owned = kinds >> players[:, None] & 1
    code = owned << (owned.cumsum(0) - 1).clamp(min=0)
    size = alike << owned.sum(0)
    start = size.cumsum(0) - size
    order = kind.argsort(stable=True)
    among = torch.empty_like(kind)
    among[order] = (
        torch.arange(len(kind), device=kind.device) - (alike.cumsum(0) - alike)[kind[order]]
    )
    return Layout(code, kind, alike[kind], start[kind] + among, int(size.sum()))


def coloured_players(depends: Bool[Tensor, "players places"]) -> tuple[int, ...]:
    """A colour for each player, such that no place depends on two players of one colour.

    The player whose neighbours have most colours already is next, and takes the first that is
    left; of several, the one with most neighbours.

    Args:
        depends: whether a place depends on a player.
    """
    seen = depends.double().cpu()
    meet = ((seen @ seen.T) > 0).tolist()
    n = len(meet)
    near = [{q for q in range(n) if q != p and meet[p][q]} for p in range(n)]
    colour: dict[int, int] = {}
    while len(colour) < n:
        taken = {p: {colour[q] for q in near[p] if q in colour} for p in range(n)}
        waiting = [p for p in range(n) if p not in colour]
        p = max(waiting, key=lambda p: (len(taken[p]), len(near[p])))
        colour[p] = next(c for c in range(n) if c not in taken[p])
    return tuple(colour[p] for p in range(n))
