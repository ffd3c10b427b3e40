"""What goes on from a recurrent layer, put together for every coalition."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from unmask.lattice import coalitions
from unmask.players import Players
from unmask.sharing.layout import Layout
from unmask.sharing.recurrent.cells import Cell, State
from unmask.sharing.recurrent.prefixes import Branch, Tree, masks_of, walked
from unmask.sharing.recurrent.rest import Wanted


@dataclass(frozen=True)
class Around:
    """A model cut around a recurrent layer.

    Args:
        module: the layer.
        before: what comes before it.
        after: what comes after it, of the input and of what the layer puts out.
        asks: whether that looks at the input's numbers again.
        wanted: what it asks of the layer.
    """

    module: nn.RNNBase
    before: Callable[[Tensor], Tensor]
    after: Callable[[Tensor, Any], Tensor]
    asks: bool
    wanted: Wanted


@dataclass(frozen=True)
class Direction:
    """One way to read a sequence.

    Args:
        cell: makes one state of another.
        tree: the levels of its states.
        start: the state before the first step, of one row.
    """

    cell: Cell
    tree: Tree
    start: State


@dataclass(frozen=True)
class Rows:
    """What goes on from a recurrent layer.

    Args:
        model: cut around the layer.
        directions: one, or two if it reads the end first as well.
        layout: of what the layer is fed: where a time stands.
        colours: of the players; no time depends on two of one colour.
        at_once: states at a time.
    """

    model: Around
    directions: tuple[Direction, ...]
    layout: Layout
    colours: tuple[int, ...]
    at_once: int

    def widths(self, x: Shaped[Tensor, "*input"]) -> list[int]:
        """How many numbers of a row go on: of the input, of outputs, of last states, of cells.

        Args:
            x: one input.
        """
        wanted = self.model.wanted
        layers = [layer for direction in self.directions for layer in direction.start]
        width = sum(direction.start[-1][0].shape[1] for direction in self.directions)
        return [
            x.numel() if self.model.asks else 0,
            width * len(wanted.times),
            sum(layer[0].shape[1] for layer in layers) if wanted.output else 0,
            sum(layer[1].shape[1] for layer in layers) if wanted.cells else 0,
        ]

    def blocks(
        self,
        x: Shaped[Tensor, "*input"],
        background: Shaped[Tensor, "*input"],
        players: Players,
        at_once: int,
    ) -> Iterator[Tensor]:
        """What goes on, one line for each coalition.

        Args:
            x: one input.
            background: what stands where a player is hidden.
            players: who owns which position.
            at_once: lines at a time.
        """
        tree, times = self.directions[0].tree, self.model.wanted.times
        fed = self._fed(x, background, players, at_once)
        suffixes = self._suffixes(fed) if len(self.directions) > 1 else None
        count = 1 << min(len(tree.order), self.at_once.bit_length() - 1)
        widths = self.widths(x)
        room = fed.new_empty(count, sum(widths))
        own, outputs, *states = room.split(widths, 1)
        if times:
            outputs = outputs.unflatten(1, (len(times), -1))
        for branch in self._walked(0, fed):
            # What was written for the branches before this one holds for this one too.
            for time, output in zip(tree.times[branch.level], branch.outputs, strict=True):
                if time in times:
                    kept = outputs[:, times.index(time), : output.shape[1]]
                    kept.unflatten(0, (-1, len(output))).copy_(output)
            if branch.level < len(tree.order):
                continue
            layers = list(branch.state)
            if self.model.asks or suffixes is not None:
                masks = masks_of(tree.order, branch.first, count, x.device)
                if self.model.asks:
                    own.copy_(torch.where(players.cover(masks), x, background).flatten(1))
                if suffixes is not None:
                    layers.append(suffixes.into(masks, outputs))
            for which, to in enumerate(states):
                if to.shape[1]:
                    torch.cat([layer[which] for layer in layers], 1, out=to)
            yield from room.split(at_once)

    def rest(self, x: Shaped[Tensor, "*input"]) -> Callable[[Tensor], Tensor]:
        """What the model makes of such lines.

        Args:
            x: one input.
        """
        widths, module, wanted = self.widths(x), self.model.module, self.model.wanted
        layers = sum(len(direction.start) for direction in self.directions)

        def by_layer(some: Tensor) -> Tensor | None:
            if not some.shape[1]:
                return None
            return some.unflatten(1, (layers, -1)).transpose(0, 1).contiguous()

        def run(block: Tensor) -> Tensor:
            own, outputs, shown, cells = block.split(widths, 1)
            seen = None
            if wanted.times:
                seen = outputs.unflatten(1, (len(wanted.times), -1))
                seen = seen if module.batch_first else seen.transpose(0, 1).contiguous()
            state = by_layer(shown)
            states = (state, by_layer(cells)) if module.mode == "LSTM" else state
            if self.model.asks:
                made = own.to(x.dtype).unflatten(1, x.shape)
            else:
                made = x.expand(len(block), *x.shape)  # for its shape
            return self.model.after(made, (seen, states))

        return run

    def _fed(
        self,
        x: Shaped[Tensor, "*input"],
        background: Shaped[Tensor, "*input"],
        players: Players,
        at_once: int,
    ) -> Float[Tensor, "lines width"]:
        """What the layer is fed, each time under the coalitions that it can tell."""
        masks = coalitions(max(self.colours) + 1)[:, list(self.colours)].to(x.device)
        found: list[Tensor] = []
        for some in masks.split(at_once):
            made = self.model.before(torch.where(players.cover(some), x, background))
            made = made if self.model.module.batch_first else made.transpose(0, 1)
            found.append(made.flatten(0, 1))
        return torch.cat(found)

    def _walked(self, which: int, fed: Float[Tensor, "lines width"]) -> Iterator[Branch]:
        one = self.directions[which]
        return walked(one.cell, one.tree, one.cell.fed(fed), self.layout, one.start, self.at_once)

    def _suffixes(self, fed: Float[Tensor, "lines width"]) -> "_Suffixes":
        """All that the lines take from the direction that reads the end first."""
        one, wanted = self.directions[1], self.model.wanted
        order, state = one.tree.order, one.start[0]  # of one layer
        kept = [[i for i, t in enumerate(level) if t in wanted.times] for level in one.tree.times]
        tables = [
            fed.new_empty(1 << level, len(some), state[0].shape[1])
            for level, some in enumerate(kept)
        ]
        asked = wanted.output or wanted.cells
        last = [fed.new_empty(1 << len(order), own.shape[1]) for own in state] if asked else []
        for branch in self._walked(1, fed):
            rows = slice(branch.first, branch.first + len(branch.state[0][0]))
            for to, i in enumerate(kept[branch.level]):
                tables[branch.level][rows, to] = branch.outputs[i]
            if branch.level == len(order) and asked:
                for table, own in zip(last, branch.state[0], strict=True):
                    table[rows] = own
        at = [
            [wanted.times.index(level[i]) for i in some]
            for level, some in zip(one.tree.times, kept, strict=True)
        ]
        return _Suffixes(order, tables, at, last)


@dataclass(frozen=True)
class _Suffixes:
    """What the direction that reads the end first has made.

    Args:
        order: the players, the last first.
        tables: of each level, what goes on of each state.
        at: the places of those times among all that go on.
        last: the states at the end.
    """

    order: tuple[int, ...]
    tables: list[Tensor]
    at: list[list[int]]
    last: list[Tensor]

    def into(self, masks: Bool[Tensor, "rows players"], outputs: Tensor) -> tuple[Tensor, ...]:
        """Write the outputs of some rows beside those of the other direction; their last states."""
        number = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
        for level, (table, at) in enumerate(zip(self.tables, self.at, strict=True)):
            if level > 0:
                number += masks[:, self.order[level - 1]].long() << level - 1
            if at:
                outputs[:, at, -table.shape[2] :] = table.index_select(0, number)
        return tuple(table.index_select(0, number) for table in self.last)
