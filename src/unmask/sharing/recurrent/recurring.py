"""Recurrent networks: a state for every prefix, not for every coalition.

What a recurrent layer has made of a sequence up to a time depends on the players up to there. So
of n words there are 2 states after the first, 4 after the second, ...: about 2^(n+1) steps, where
2^n rows of n words take n 2^n. What comes before the layer is run on the few masks in which the
players of one time differ, what comes after it on all 2^n rows. Where a layer reads in both
directions, the other one makes a tree of suffixes, and each row takes both of its halves.
"""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, nn

from unmask.players import Players
from unmask.score import Score
from unmask.sharing.chain import Chain, chain
from unmask.sharing.dependence import Watch, lone_steps_cost, steps_cost, watched
from unmask.sharing.layout import by_colour, coloured_players
from unmask.sharing.leaves import in_turn
from unmask.sharing.recurrent.cells import Cell, State
from unmask.sharing.recurrent.prefixes import tree_of
from unmask.sharing.recurrent.rest import after, before, wanted
from unmask.sharing.recurrent.rows import Around, Direction, Rows
from unmask.sharing.shared import CHECKED, Shared, Way
from unmask.sharing.stages import LARGEST, pays, small

_CALL, _COPY = 5e4, 1.0
"""Nanoseconds that one step of a batch takes whatever its size, and that passing on a number
takes."""
_REST = 4.0
"""How many times the work of the recurrent layers the rest of a model may be thought to do."""


def recurring(score: Score, x: Shaped[Tensor, "*input"], players: Players, rows: int) -> Way | None:
    """Share the first recurrent layer of a network, where that pays.

    Args:
        score: its model must be a module that can be traced, in evaluation mode, without hooks.
        x: one input, token ids or real numbers.
        players: who owns which position.
        rows: inputs in one call of the model.
    """
    if not _large(score.model, x, players):
        return None
    model = chain(score.model)
    if model is None:
        return None
    try:
        found = _planned(model, x, players, rows)
    except Exception:  # the model refuses NaN, say; on its own inputs it is asked later
        return None
    if found is None:
        return None
    plan, told = found
    order = in_turn(plan.directions[0].tree.order, rows)
    rest = plan.rest(x)

    def share(background: Shaped[Tensor, "*input"]) -> Shared:
        return Shared(
            lambda at_once: plan.blocks(x, background, players, at_once), rest, told, order
        )

    return share


def _recurrent(layer: object) -> bool:
    return type(layer) in (nn.LSTM, nn.GRU, nn.RNN)


def _large(model: object, x: Shaped[Tensor, "*input"], players: Players) -> bool:
    """Whether a table may cost so much that finding out more is worth the while."""
    if not isinstance(model, nn.Module) or x.ndim == 0:
        return False
    layers = (layer for layer in model.modules() if _recurrent(layer))
    step = sum(steps_cost(layer) for layer in layers if isinstance(layer, nn.RNNBase))
    return _REST * step * max(x.shape) * 2.0 ** len(players.names) > small(x)


def _planned(
    model: Chain, x: Shaped[Tensor, "*input"], players: Players, rows: int
) -> tuple[Rows, dict[str, int]] | None:
    """How to share the first recurrent layer of a model, if it can be and pays; its rows."""
    layers = [
        place
        for place, node in enumerate(model.nodes)
        if node.op == "call_module" and _recurrent(model.parts[str(node.target)])
    ]
    if not layers or layers[0] == len(model.nodes) - 1:
        return None
    place = layers[0]
    module: nn.RNNBase = model.parts[str(model.nodes[place].target)]
    if module.bidirectional and module.num_layers > 1:  # the second layer mixes both
        return None
    if module.get_parameter("weight_hh_l0").dtype not in (torch.float32, torch.float64):
        return None
    seen = watched(model, x, players, rows)
    depends = _depends(module, place, seen)
    starts = _starts(module, place, seen)
    if depends is None or starts is None:
        return None
    colours = coloured_players(depends)
    asked = wanted(model.nodes[place], module, depends.shape[1])
    around = Around(module, before(model, place), *after(model, place, asked.moved), asked)
    directions = tuple(
        Direction(Cell(module, backwards), tree_of(depends, backwards), start)
        for start, backwards in zip(starts, (False, True), strict=False)
    )
    plan = Rows(around, directions, by_colour(depends, colours), colours, rows)
    n = len(players.names)
    if not _fits(plan, n) or not pays(_cost(plan, place, seen[0], x, n), 2**n * seen[0].total, x):
        return None
    steps = sum(one.tree.lines() for one in directions)
    told = {"all, to plan": n}
    if place > 1:  # after the input itself
        told[f"before {model.name(place)}"] = 2 ** (max(colours) + 1)
    told[model.name(place)] = -(-steps // (len(directions) * depends.shape[1]))
    return plan, told | {"the rest": 2**n}


def _depends(
    module: nn.RNNBase, place: int, seen: list[Watch]
) -> Bool[Tensor, "players times"] | None:
    """Whether what the layer is fed at a time depends on a player."""
    found: list[Tensor] = []
    for watch in seen:
        args, kwargs = watch.fed[place]
        fed = args[0] if args else kwargs["input"]
        if fed.ndim != 3:
            return None
        fed = fed if module.batch_first else fed.transpose(0, 1)
        if len(fed) != watch.rows:
            return None
        found.append(fed.isnan().any(2))
    return torch.cat(found)


def _starts(module: nn.RNNBase, place: int, seen: list[Watch]) -> tuple[State, ...] | None:
    """The state before the first step of each direction, if all rows begin alike."""
    weight = module.get_parameter("weight_hh_l0")
    found: list[list[Tensor]] = []
    for watch in seen:  # each has lost other players
        args, kwargs = watch.fed[place]
        given = args[1] if len(args) > 1 else kwargs.get("hx")
        if given is None:
            width = module.proj_size or module.hidden_size
            count = module.num_layers * (1 + module.bidirectional)
            given = [weight.new_zeros(count, watch.rows, width)]
            if module.mode == "LSTM":
                given.append(weight.new_zeros(count, watch.rows, module.hidden_size))
        found.append(list(given) if isinstance(given, tuple | list) else [given])
    given = [torch.cat(some, 1) for some in zip(*found, strict=True)]
    if not all(torch.equal(one, one[:, :1].expand_as(one)) for one in given):  # nor is NaN
        return None
    layers = tuple(tuple(one[i, :1].to(weight) for one in given) for i in range(len(given[0])))
    return ((layers[0],), (layers[1],)) if module.bidirectional else (layers,)


def _fits(plan: Rows, n: int) -> bool:
    """Whether the tables that are held whole are small."""
    module, asked = plan.model.module, plan.model.wanted
    held = [plan.layout.lines * len(module.get_parameter("weight_ih_l0"))]
    if len(plan.directions) > 1:
        times = plan.directions[1].tree.times
        kept = sum(len(set(some) & set(asked.times)) << level for level, some in enumerate(times))
        last = len(plan.directions[1].start[0]) << n if asked.output or asked.cells else 0
        held.append((kept + last) * module.hidden_size)
    return max(held) <= LARGEST


def _cost(plan: Rows, place: int, watch: Watch, x: Shaped[Tensor, "*input"], n: int) -> float:
    """Estimated nanoseconds of one table."""
    earlier = sum(cost for one, cost in watch.costs.items() if one < place)
    rest = watch.total - earlier - watch.costs[place]
    if plan.model.asks:
        rest += earlier  # at most: what needs the input again may need little of it
    cost = 2.0 ** (max(plan.colours) + 1) * earlier + (CHECKED + n) * watch.total
    carried, other = (part / len(plan.directions) for part in lone_steps_cost(plan.model.module))
    for one in plan.directions:
        for level, times in enumerate(one.tree.times):
            if times:  # of the first, what is carried on is shared by two rows
                states = (len(times) - 0.5) * carried + len(times) * other
                cost += states * 2**level + _CALL * len(times) * -(-(1 << level) // plan.at_once)
    return cost + 2**n * (rest + _COPY * sum(plan.widths(x)))
