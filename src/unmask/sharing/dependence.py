"""Which places inside a model depend on which players, and what its operations cost.

Both are found in one pass over n rows, each with one player's positions filled with NaN. Whatever
a number is computed from, even with a weight of zero, makes it NaN too; so a place that stays
finite does not depend on the player, whatever the player shows. Places on which a NaN falls
without need are only work that is not saved. A few operations make an ordinary number of NaN, as a
comparison does; nothing that comes from one is taken for known. There is no NaN among token ids:
they go in as real numbers, and become vectors of NaN where they are looked up.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unmask.players import Players
from unmask.sharing.chain import Chain, runnable

# Nanoseconds on one core, where a convolution does a hundred multiplications in each. Only their
# ratios matter, and those not much: a cut is chosen by them, never a value.
_MULTIPLICATION, _DENSE, _NUMBER, _POOLED, _GATHERED = 0.01, 0.02, 0.3, 4.0, 1.0
_FUSED, _GATE = 0.008, 1.5  # of an LSTM, which processors do all at once
_ORDINARY = frozenset(
    (
        *("sign", "sgn", "heaviside", "copysign", "nan_to_num", "pow", "fmax", "fmin"),
        *("nansum", "nanmean", "nanmedian", "nanquantile", "kthvalue", "mode", "histc"),
        *("sort", "msort", "topk", "lt", "le", "gt", "ge", "eq", "ne"),
        *("logical_not", "logical_and", "logical_or", "logical_xor"),
        *("unique", "unique_consecutive", "slogdet", "renorm", "cdist", "pairwise_distance"),
        *("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine"),
        *("grid_sample", "grid_sampler", "deform_conv2d", "scaled_dot_product_attention"),
    )
)
"""Operations, in place or not, that may put out a number where NaN goes in; besides them, all that
put out no real numbers."""
_NORMS = ("norm", "vector_norm", "matrix_norm", "normalize")
_HIDING = (nn.MultiheadAttention, nn.PairwiseDistance)
"""Layers that may do so too: a query that is NaN attends to nothing, and what it finds is zero."""
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
    found = watched(model, x, players, rows)
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


def watched(
    model: Chain, x: Shaped[Tensor, "*input"], players: Players, rows: int
) -> "list[Watch]":
    """What was seen while each player's positions were lost, some players at a time.

    Args:
        model: its operations.
        x: one input.
        players: who owns which position.
        rows: inputs in one call of the model.
    """
    n = len(players.names)
    hidden = players.cover(torch.eye(n, dtype=torch.bool, device=x.device).logical_not())
    real = x if x.is_floating_point() else x.double()
    found: list[Watch] = []
    for part in hidden.split(rows):
        watch = Watch(model, len(part))
        watch.run(torch.where(part, real, torch.nan))
        found.append(watch)
    return found


class Watch(fx.Interpreter):
    """Runs a chain and keeps where NaN has come to, and what each operation costs.

    Args:
        model: its operations.
        rows: in the batch that it is run on.
    """

    def __init__(self, model: Chain, rows: int) -> None:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in model.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(copies[model.nodes[-1]])
        super().__init__(runnable(model.parts, graph))
        self.place = {copies[model.nodes[i]]: i for i in range(len(model.nodes))}
        self.cuts = set(model.cuts)
        self.rows, self.total = rows, 0.0
        self.touched: dict[int, Tensor] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.spent: dict[int, float] = {}
        self.costs: dict[int, float] = {}
        self.fed: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.unknown: set[fx.Node] = set()
        self.blind = False

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        before = [one.numel() for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        given = [self.env[one] for one in n.all_input_nodes]
        hides = _hides(n, module, args) and any(map(_holds_nan, given))
        versions = [one._version for one in given if isinstance(one, Tensor)]
        result = _of_lost_ids(n, module, args, kwargs)
        result = super().run_node(n) if result is None else result
        if n.op in ("placeholder", "get_attr", "output"):
            return result
        place = self.place[n]
        if isinstance(result, Tensor) and not result.is_floating_point():
            hides = any(map(_holds_nan, given))
        if hides or self.blind or not self.unknown.isdisjoint(n.all_input_nodes):
            self.unknown.add(n)
            # What is written on may be known by other names.
            self.blind |= versions != [one._version for one in given if isinstance(one, Tensor)]
        if isinstance(module, nn.RNNBase):
            if n not in self.unknown:
                self.fed[place] = (args, kwargs)
            cost = steps_cost(module) * args[0].shape[:-1].numel()
        elif isinstance(result, Tensor):
            cost = _cost(n, module, args, result, max(before, default=0))
        else:
            return result
        self.costs[place] = cost / self.rows
        self.total += self.costs[place]
        if not isinstance(result, Tensor):
            return result
        exact = result.dtype in (torch.float32, torch.float64)
        maps = exact and result.ndim >= 3 and len(result) == self.rows
        if maps and place in self.cuts and n not in self.unknown:
            self.touched[place] = result.isnan().any(1).flatten(1)
            self.shapes[place] = tuple(result.shape[1:])
            self.spent[place] = self.total
        return result


def _hides(node: fx.Node, module: nn.Module | None, args: Any) -> bool:
    """Whether an operation is one of those that make an ordinary number of NaN."""
    if module is not None:
        return any(isinstance(one, _HIDING) for one in module.modules())
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return makes_numbers(name, (*args, *node.kwargs.values()))


def makes_numbers(name: str, args: Any) -> bool:
    """Whether an operation may put out an ordinary number where NaN goes in.

    Args:
        name: of the operation, in place or not.
        args: what it is given.
    """
    name = "pow" if name == "ipow" else name.removeprefix("linalg_").removesuffix("_")
    if name == "pow" and len(args) > 1 and isinstance(args[1], int | float) and args[1] != 0:
        return False
    if name in _NORMS and any(type(one) in (int, float) and one == 0 for one in args[1:]):
        return True  # it may be the one that counts what is not zero
    return name in _ORDINARY


class Hidden(TorchDispatchMode):
    """Tells whether any operation of a time made something ordinary of NaN, such as an index."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping it takes a second, once, in which the compiler is imported

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_leaves((args, kwargs))
        lost = any(map(_holds_nan, given))  # before it is written on
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        new = name.startswith("new_") or name.endswith("_like")  # of a shape, whatever the numbers
        if lost and not new and not self.found:
            real = all(
                isinstance(one, Tensor) and one.is_floating_point() for one in tree_leaves(result)
            )
            self.found = not real or makes_numbers(name, args)
        return result


def _holds_nan(given: Any) -> bool:
    if isinstance(given, tuple | list):
        return any(map(_holds_nan, given))
    return isinstance(given, Tensor) and given.is_floating_point() and bool(given.isnan().any())


def _of_lost_ids(node: fx.Node, module: nn.Module | None, args: Any, kwargs: Any) -> Tensor | None:
    """The vectors of token ids that went in as real numbers, of which some are lost."""
    ids = args[0] if args else None
    if not isinstance(ids, Tensor) or not ids.is_floating_point():
        return None
    if node.op == "call_method" and node.target in ("long", "int"):
        return ids
    if type(module) is not nn.Embedding and node.target is not functional.embedding:
        return None
    there = ids.nan_to_num().long()
    look_up = functional.embedding if module is None else module
    return look_up(there, *args[1:], **kwargs).masked_fill(ids.isnan()[..., None], torch.nan)


def steps_cost(module: nn.RNNBase) -> float:
    """Estimated nanoseconds of one step of a recurrent layer, for one row.

    Args:
        module: the layer.
    """
    carried, fed, gates = _of_recurrent(module)
    weight = module.get_parameter("weight_hh_l0")
    fused = module.mode == "LSTM" and not module.proj_size and weight.dtype == torch.float32
    each = _FUSED if fused and not weight.is_cuda else _DENSE
    return each * (carried + sum(fed)) + _GATE * gates


def lone_steps_cost(module: nn.RNNBase) -> tuple[float, float]:
    """The same of steps done one by one: of what is carried on, and of all else.

    Args:
        module: the layer; what its first layer is fed has been multiplied before.
    """
    carried, fed, gates = _of_recurrent(module)
    first = fed[: 1 + module.bidirectional]
    return _DENSE * carried, _DENSE * (sum(fed) - sum(first)) + _GATE * gates


def _of_recurrent(module: nn.RNNBase) -> tuple[int, list[int], int]:
    """The products of one step with what is carried on, and with what is fed; the gates."""
    named = list(module.named_parameters(recurse=False))
    carried = sum(one.numel() for name, one in named if "weight_h" in name)
    fed = [one.numel() for name, one in named if "weight_ih" in name]
    return carried, fed, sum(len(one) for name, one in named if "weight_hh" in name)


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
