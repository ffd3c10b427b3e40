"""A tree of prefixes: of a sequence read in order, only what has been read so far makes a state.

Players are taken in the order in which they begin to matter. After i of them there are 2^i states,
not 2^n; each goes on with the next player hidden and shown. The first levels are done whole; once
a level has as many states as a batch, one branch after the other, so that of each deeper level
one batch is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.sharing.layout import Layout
from unmask.sharing.recurrent.cells import Cell, State


@dataclass(frozen=True)
class Tree:
    """The levels of a tree.

    Args:
        order: the players, as they come.
        times: the steps that each level reads, in turn; the first knows no player, the next one.
        alone: whether a step depends on no player that came before its level's.
    """

    order: tuple[int, ...]
    times: tuple[tuple[int, ...], ...]
    alone: tuple[tuple[bool, ...], ...]

    def lines(self) -> int:
        """How many states one run computes."""
        return sum(len(times) << level for level, times in enumerate(self.times))


@dataclass(frozen=True)
class Branch:
    """Some states of one level.

    Args:
        level: how many players are known.
        first: the number of the first; the i-th player in order is shown where bit i is one.
        outputs: of the last layer, one for each time of the level.
        state: after the last of them.
    """

    level: int
    first: int
    outputs: tuple[Float[Tensor, "rows width"], ...]
    state: State


def tree_of(depends: Bool[Tensor, "players times"], backwards: bool = False) -> Tree:
    """The tree of a sequence.

    Args:
        depends: whether what is read at a time depends on a player.
        backwards: whether the end is read first.
    """
    n, length = depends.shape
    told = depends.flip(1).tolist() if backwards else depends.tolist()
    begins = [next((i for i, one in enumerate(row) if one), length) for row in told]
    order = sorted(range(n), key=begins.__getitem__)
    bounds = [0, *(begins[player] for player in order), length]
    times, alone = [], []
    for level in range(n + 1):
        steps = range(bounds[level], bounds[level + 1])
        known = order[: max(0, level - 1)]
        times.append(tuple(length - 1 - i if backwards else i for i in steps))
        alone.append(tuple(not any(told[player][i] for player in known) for i in steps))
    return Tree(tuple(order), tuple(times), tuple(alone))


def walked(
    cell: Cell,
    tree: Tree,
    fed: Float[Tensor, "lines gates"],
    layout: Layout,
    state: State,
    rows: int,
) -> Iterator[Branch]:
    """All states of all levels, each after the one that it goes on from.

    Args:
        cell: what makes states.
        tree: its levels.
        fed: what inputs add to the gates.
        layout: where in it a time stands, for every coalition.
        state: before the first step, of one row.
        rows: states at a time.
    """
    n = len(tree.order)
    whole = min(n, rows.bit_length() - 1)

    def read(level: int, first: int, state: State, carried: tuple[Tensor, ...] | None) -> Branch:
        outputs = []
        count = len(state[0][0])
        for time, alone in zip(tree.times[level], tree.alone[level], strict=True):
            one = alone and (level == 0 or level > whole)
            masks = masks_of(tree.order, first, 1 if one else count, fed.device)
            place = torch.tensor([time], device=fed.device)
            line = fed.index_select(0, layout.index(masks, place)[:, 0])
            state = cell.step(line, cell.carried(state) if carried is None else carried, state)
            carried = None
            outputs.append(state[-1][0])
        return Branch(level, first, tuple(outputs), state)

    def below(branch: Branch) -> Iterator[Branch]:
        if branch.level == n:
            return
        level = branch.level + 1
        carried = cell.carried(branch.state) if tree.times[level] else None
        for bit in (0, 1):
            child = read(level, branch.first + (bit << branch.level), branch.state, carried)
            yield child
            yield from below(child)

    branch = read(0, 0, state, None)
    yield branch
    for level in range(1, whole + 1):
        twice = tuple(tuple(torch.cat([one, one]) for one in own) for own in branch.state)
        branch = read(level, 0, twice, None)
        yield branch
    yield from below(branch)


def masks_of(
    order: tuple[int, ...], first: int, count: int, device: torch.device
) -> Bool[Tensor, "count players"]:
    """The masks of states in a row.

    Args:
        order: the players, as they come.
        first: the number of the first state.
        count: how many.
        device: where the masks are to be.
    """
    numbers = torch.arange(first, first + count, device=device)[:, None]
    place = torch.tensor(order, device=device).argsort()
    return (numbers >> place & 1).bool()
