"""A model as operations in a row, and the places where a single tensor goes on.

There it can be cut: what comes before is run on some rows, what comes after on others. The
operations are found by tracing; what cannot be traced cannot be cut.
"""

import linecache
import threading
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import config
from torch import Tensor, fx, nn
from torch.fx import graph_module
from torch.nn.modules import module as torch_module
from torch.utils import _python_dispatch

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


_TRACING = threading.Lock()
"""Tracing puts its own calls in the place of every module's, and takes them back; two at a time
would take back each other's."""


@dataclass(frozen=True)
class Chain:
    """The operations of a model.

    Args:
        nodes: in the order in which they run; the last is what the model puts out.
        parts: layers, parameters and constants by the names that the operations call them by.
        cuts: places of those nodes after which nothing else that depends on the input is needed.
    """

    nodes: tuple[fx.Node, ...]
    parts: dict[str, Any]
    cuts: tuple[int, ...]

    def piece(self, start: int | None, end: int) -> Callable[[Tensor], Tensor]:
        """The operations after one cut, or from the input on, up to another or to the last.

        Args:
            start: a cut; None for the input.
            end: a cut, or the place of the last node.
        """
        graph = fx.Graph()
        known: dict[fx.Node, fx.Node] = {}

        def copied(node: fx.Node) -> fx.Node:
            if node not in known:  # a parameter or a constant that an earlier piece used too
                known[node] = graph.node_copy(node, copied)
            return known[node]

        first = next(i for i, node in enumerate(self.nodes) if node.op == "placeholder")
        known[self.nodes[first if start is None else start]] = graph.placeholder("x")
        for node in self.nodes[0 if start is None else start + 1 : end + 1]:
            copied(node)
        graph.output(known[self.nodes[end]])
        return runnable(self.parts, graph)

    def name(self, place: int) -> str:
        """How a node is called: by its layer, or by its operation."""
        node = self.nodes[place]
        return str(node.target) if node.op == "call_module" else node.name


def runnable(parts: dict[str, Any], graph: fx.Graph) -> fx.GraphModule:
    """Operations that can be run.

    Args:
        parts: what they may call by name.
        graph: the operations.
    """
    used = {str(node.target) for node in graph.nodes if node.op in ("get_attr", "call_module")}
    made = fx.GraphModule({name: parts[name] for name in used}, graph)
    made.training = False
    # Torch keeps the text of each for as long as the process runs, to show it should it fail.
    text = type(made).forward.__code__.co_filename
    graph_module._loader.eval_cache.pop(text, None)
    linecache.cache.pop(text, None)
    return made


def chain(model: object) -> Chain | None:
    """The operations of a model, or None where running them one by one might not be the same.

    Args:
        model: anything that scores are read from.
    """
    if not isinstance(model, nn.Module) or not plain(model):
        return None
    try:
        with _TRACING, _undisturbed(model):
            graph = _Tracer().trace(model)
            parts = {
                str(node.target): _found(model, str(node.target))
                for node in graph.nodes
                if node.op in ("get_attr", "call_module")
            }
    except Exception:  # a model's own Python meets stand-ins for tensors: anything may happen
        return None
    nodes = tuple(node for node in graph.nodes if node.op != "output")
    (last,) = (node for node in graph.nodes if node.op == "output")
    inputs = [node for node in nodes if node.op == "placeholder"]
    if len(inputs) != 1 or not isinstance(last.args[0], fx.Node):
        return None
    end = nodes.index(last.args[0])
    return Chain(nodes[: end + 1], parts, _cuts(nodes, inputs[0]))


class _Tracer(fx.Tracer):
    """Traces what this thread calls; modules that others call meanwhile answer as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _cuts(nodes: tuple[fx.Node, ...], x: fx.Node) -> tuple[int, ...]:
    """The places where one value that depends on the input lives on."""
    place = {node: i for i, node in enumerate(nodes)}
    depend = {x}
    for node in nodes:
        if any(one in depend for one in node.all_input_nodes):
            depend.add(node)
    last_use = {
        node: max((place.get(user, len(nodes)) for user in node.users), default=-1)
        for node in depend
    }
    return tuple(
        i
        for i, node in enumerate(nodes)
        if node in depend
        and node is not x
        and [other for other in depend if place[other] <= i < last_use[other]] == [node]
    )


def _found(model: nn.Module, name: str) -> Any:
    found: Any = model
    for step in name.split("."):
        found = getattr(found, step)
    return found


def plain(model: nn.Module) -> bool:
    """Whether a model does what its code says, no more: no hooks, no modes, nothing at random.

    Args:
        model: with all its layers.
    """
    if type(model).__call__ is not nn.Module.__call__ or isinstance(model, torch.jit.ScriptModule):
        return False
    if torch_module._has_any_global_hook() or torch._C._len_torch_function_stack() > 0:
        return False
    if _python_dispatch._get_current_dispatch_mode() is not None:
        return False
    return not any(
        module.training
        or "forward" in vars(module)
        or any(getattr(module, kind) for kind in _HOOKS)
        for module in model.modules()
    )


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Take back what a model, run on stand-ins for tensors, writes on itself or draws."""
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (own, dict(own))
        for module in model.modules()
        for own in (vars(module), module._parameters, module._buffers, module._modules)
    ]
    held: dict[int, tuple[Any, Any]] = {}
    for own, _ in before[::4]:
        _hold(own, held)
    checked = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)  # a stand-in has no shape to check
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # What is drawn now stays in the trace. Were it what the model draws next, it would
            # agree with the model once, and a check would not tell.
            torch.default_generator.manual_seed(2_147_483_647)
            yield
    finally:
        config.update("jaxtyping_disable", checked)
        for own, was in before:
            if list(own) != list(was) or any(own[name] is not it for name, it in was.items()):
                own.clear()
                own.update(was)
        for kept, was in held.values():
            if len(kept) != len(was) or any(
                one is not other for one, other in zip(_content(kept), _content(was), strict=True)
            ):
                kept.clear()
                (kept.update if isinstance(kept, dict | set) else kept.extend)(was)


def _hold(kept: Any, held: dict[int, tuple[Any, Any]]) -> None:
    """Note what lists and the like hold, and those in them: a model may keep things there."""
    for one in _content(kept):
        if type(one) in (dict, OrderedDict, defaultdict, list, set, deque) and id(one) not in held:
            held[id(one)] = (one, copy(one))
            _hold(one, held)


def _content(kept: Any) -> list[Any]:
    return [*kept, *kept.values()] if isinstance(kept, dict) else list(kept)
