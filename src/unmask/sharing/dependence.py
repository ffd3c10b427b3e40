"""Which places inside a model depend on which players, and what its operations cost.

Both are found in one pass over n rows, each with one player's positions filled with NaN. Whatever
a number is computed from, even with a weight of zero, makes it NaN too; so a place that stays
finite does not depend on the player, whatever the player shows. Places on which a NaN falls
without need are only work that is not saved.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, fx, nn

from unmask.players import Players
from unmask.sharing.chain import Chain

# Nanoseconds on one core, where a convolution does a hundred multiplications in each. Only their
# ratios matter, and those not much: a cut is chosen by them, never a value.
_MULTIPLICATION, _DENSE, _NUMBER, _POOLED, _GATHERED = 0.01, 0.02, 0.3, 4.0, 1.0
_FEW = 4
"""Channels of an input below which a convolution is bound by what it writes."""


@dataclass(frozen=True)
class Cut:
    """A place where a model can be cut.

    Args:
        place: of its node in the chain.
        shape: of one row of the tensor that goes on there; its first axis holds channels.
        depends: whether a position of that tensor, in any channel, depends on a player.
        spent: estimated cost of one row up to here.
    """

    place: int
    shape: tuple[int, ...]
    depends: Bool[Tensor, "players places"]
    spent: float

    @property
    def gather(self) -> float:
        """Estimated cost of putting one row together out of others."""
        return _GATHERED * prod(self.shape)


def measured(
    model: Chain, x: Shaped[Tensor, "*input"], players: Players, rows: int
) -> tuple[list[Cut], float]:
    """All places where a model can be cut, and the estimated cost of one row of the whole.

    Args:
        model: its operations.
        x: one input.
        players: who owns which position.
        rows: inputs in one call of the model.
    """
    n = len(players.names)
    hidden = players.cover(torch.eye(n, dtype=torch.bool, device=x.device).logical_not())
    found: list[_Watch] = []
    for part in hidden.split(rows):
        watch = _Watch(model, len(part))
        watch.run(torch.where(part, x, torch.nan))
        found.append(watch)
    cuts = [
        Cut(
            place,
            found[0].shapes[place],
            torch.cat([watch.touched[place] for watch in found]),
            found[0].spent[place],
        )
        for place in model.cuts
        if all(place in watch.touched for watch in found)
    ]
    return cuts, found[0].total


class _Watch(fx.Interpreter):
    """Runs a chain and keeps where NaN has come to, and what each operation costs."""

    def __init__(self, model: Chain, rows: int) -> None:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in model.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[model.nodes[-1]])
        super().__init__(fx.GraphModule(model.parts, graph))
        self.place = {copies[model.nodes[i]]: i for i in range(len(model.nodes))}
        self.cuts = set(model.cuts)
        self.rows, self.total = rows, 0.0
        self.touched: dict[int, Tensor] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.spent: dict[int, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        before = [one.numel() for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        result = super().run_node(n)
        if n.op in ("placeholder", "get_attr", "output") or not isinstance(result, Tensor):
            return result
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        self.total += _cost(n, module, args, result, max(before, default=0)) / self.rows
        place = self.place[n]
        maps = result.is_floating_point() and result.ndim >= 3 and len(result) == self.rows
        if maps and place in self.cuts:
            self.touched[place] = result.isnan().any(1).flatten(1)
            self.shapes[place] = tuple(result.shape[1:])
            self.spent[place] = self.total
        return result


def _cost(node: fx.Node, module: nn.Module | None, args: Any, result: Tensor, read: int) -> float:
    """Estimated nanoseconds of one operation, a function of shapes alone."""
    name = node.name if module is None else type(module).__name__.lower()
    weight = args[1] if len(args) > 1 else None
    if module is not None:
        weight = getattr(module, "weight", None)
    passing = _NUMBER * (read + result.numel()) / 2
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return _POOLED * read if "pool" in name else passing
    if "conv" in name:
        transposed = "transpose" in name
        each = weight.numel() / weight.shape[0]
        if weight.shape[1] < _FEW:
            passing += 2 * result.numel()
        return passing + _MULTIPLICATION * each * (read if transposed else result.numel())
    if "linear" in name:
        return _DENSE * result.numel() * weight.shape[-1]
    if "matmul" in name or "bmm" in name:
        return _DENSE * result.numel() * args[0].shape[-1]
    return passing
