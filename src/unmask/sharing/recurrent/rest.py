"""What comes before a recurrent layer, what comes after it, and what that asks of the layer."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from unmask.sharing.chain import Chain, runnable

_SHAPES = ("size", "dim", "shape", "ndim", "device", "dtype", "is_cuda")
"""What can be asked of an input without looking at its numbers."""


@dataclass(frozen=True)
class Wanted:
    """What the rest of a model asks of a recurrent layer.

    Args:
        times: of its outputs.
        output: whether its last state is asked for.
        cells: whether those of an LSTM are.
        moved: the operations that pick a time, and what they pick of those that are kept.
    """

    times: tuple[int, ...]
    output: bool
    cells: bool
    moved: dict[fx.Node, tuple[Any, ...]] = field(default_factory=dict)


def wanted(node: fx.Node, module: nn.RNNBase, length: int) -> Wanted:
    """What the operations after a recurrent layer ask of it.

    Args:
        node: where the layer is called.
        module: the layer.
        length: how many times there are.
    """
    lstm, axis = module.mode == "LSTM", 1 if module.batch_first else 0
    times: set[int] | None = set()
    output = cells = False
    picks: dict[fx.Node, int] = {}
    for user in _users(node):
        which = user.args[1] if user.target is operator.getitem else None
        if which == 0:
            for asks in _users(user):
                time = _time(asks, user, axis, length)
                if time is None:
                    times = None
                elif times is not None:
                    times.add(time)
                    picks[asks] = time
        elif which == 1 and lstm:
            asked = [one.args[1] if one.target is operator.getitem else 2 for one in _users(user)]
            output |= any(which != 1 for which in asked)
            cells |= any(which != 0 for which in asked)
        elif which == 1:
            output = True
        else:  # all of it goes on as it is
            times, output, cells = None, True, lstm
    if times is None:
        return Wanted(tuple(range(length)), output, cells)
    kept = tuple(sorted(times))
    moved = {}
    for asks, time in picks.items():
        index = _index(asks)
        moved[asks] = (*index[:axis], kept.index(time), *index[axis + 1 :])
    return Wanted(kept, output, cells, moved)


def before(model: Chain, place: int) -> Callable[[Tensor], Tensor]:
    """The operations up to what a recurrent layer is fed.

    Args:
        model: its operations.
        place: of the layer.
    """
    node, first = model.nodes[place], _first(model)
    graph = fx.Graph()
    known: dict[fx.Node, fx.Node] = {first: graph.placeholder("x")}
    for one in model.nodes[:place]:
        if one is not first:
            known[one] = graph.node_copy(one, known.__getitem__)
    fed = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(fed, fx.Node)  # it was a tensor when it was watched
    graph.output(known[fed])
    return runnable(model.parts, graph)


def after(
    model: Chain, place: int, moved: dict[fx.Node, tuple[Any, ...]]
) -> tuple[Callable[[Tensor, Any], Tensor], bool]:
    """The operations from a recurrent layer on, and whether they look at the input again.

    Args:
        model: its operations.
        place: of the layer.
        moved: what some operations are to pick instead.
    """
    graph = fx.Graph()
    x = graph.placeholder("x")
    seen = graph.placeholder("seen")
    known: dict[fx.Node, fx.Node] = {_first(model): x, model.nodes[place]: seen}

    def copied(node: fx.Node) -> fx.Node:
        if node not in known:
            known[node] = graph.node_copy(node, copied)
            if node in moved:
                known[node].args = (known[node].args[0], moved[node])
        return known[node]

    for node in model.nodes[place + 1 :]:
        copied(node)
    graph.output(known[model.nodes[-1]])
    for node in reversed(graph.nodes):
        if node.target is operator.getitem and not node.users:
            graph.erase_node(node)
    asks = any(
        not (user.op == "call_method" and user.target in _SHAPES)
        and not (user.target is getattr and user.args[1] in _SHAPES)
        for user in x.users
    )
    return runnable(model.parts, graph), asks


def _users(node: fx.Node) -> list[fx.Node]:
    """The operations that ask for a value, but for those that only unpack what nobody asks for."""
    return [user for user in node.users if user.target is not operator.getitem or _users(user)]


def _index(asks: fx.Node) -> tuple[Any, ...]:
    index = asks.args[1]
    return index if isinstance(index, tuple) else (index,)


def _time(asks: fx.Node, outputs: fx.Node, axis: int, length: int) -> int | None:
    """The one time of all outputs that an operation picks; None where it is not known."""
    if asks.target is not operator.getitem or asks.args[0] is not outputs:
        return None
    index = _index(asks)
    if len(index) <= axis or any(one != slice(None) for one in index[:axis]):
        return None
    time = index[axis]
    return time % length if type(time) is int and -length <= time < length else None


def _first(model: Chain) -> fx.Node:
    (first,) = (node for node in model.nodes if node.op == "placeholder")
    return first
