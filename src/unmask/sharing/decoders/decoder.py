"""Decoders that go on from where tokens ended, and how one is found in a model.

What a model does around its decoder (a prompt's last position, a vocabulary that is cut, a
softmax) stays its own: it is run as it is, while its decoder answers with states that are known.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from unmask.sharing.chain import plain
from unmask.sharing.decoders.past import Past, Spread

_KNOWN_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")


@runtime_checkable
class GoesOn(Protocol):
    """A decoder that can be told what came before. A module of this kind shares its prefixes."""

    def states_after(self, tokens: Tensor, past: Past) -> Tensor:
        """The last states of tokens that come after those whose keys and values are kept.

        Args:
            tokens: of each row, those that follow.
            past: what its layers kept, and what they add to it.
        """
        ...

    def read_states(self, states: Tensor) -> Tensor:
        """What `forward` makes of the last states, position by position.

        Args:
            states: of each row.
        """
        ...


class Native:
    """A decoder that says itself how it goes on.

    Args:
        module: the decoder.
    """

    runs = 1
    """How often the model was run on its input to find out about it."""

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, GoesOn)
        self.module: nn.Module = module
        self.decoder: GoesOn = module
        self.spread = Spread()

    def states(self, tokens: Tensor, past: Past) -> Tensor:
        """The last states of tokens that follow on what is kept.

        Args:
            tokens: of each row.
            past: of each row.
        """
        return self.decoder.states_after(tokens, past)

    def answering(
        self, tokens: Tensor, states: Tensor, read: Sequence[int]
    ) -> AbstractContextManager[None]:
        """The time in which the decoder answers with known states.

        Args:
            tokens: what it will be asked; anything else is refused.
            states: of all positions; NaN where they are not known.
            read: the positions that are known.
        """

        def forward(given: Tensor) -> Tensor:
            _refuse_other(given, tokens)
            if len(read) == states.shape[1]:
                return self.decoder.read_states(states)
            known = self.decoder.read_states(states[:, list(read)])
            return self.spread(known, read, states.shape[1])

        return _standing_in(self.module, forward)


class Transformer:
    """A decoder of the package transformers: the model without its head.

    Args:
        module: the decoder.
        head: what makes logits of its states, if that is a layer by itself.
        model: what calls them.
        x: one input.
    """

    runs = 2
    """How often the model was run on its input to find out about it."""

    def __init__(
        self,
        module: nn.Module,
        head: nn.Linear | None,
        model: Callable[[Tensor], Tensor],
        x: Shaped[Tensor, "*input"],
    ) -> None:
        self.module, self.head = module, head
        self.forward = module.forward
        self.name = "inputs_embeds" if x.is_floating_point() else "input_ids"
        self.spread = Spread()
        given, output = self._watched(model, x)
        self._refuse(given, x[None])
        self.masks = isinstance(given.get("attention_mask"), Tensor)
        self.kind = type(output)
        # The model's own cache, with layers that keep all that they are given.
        self.cache = output.past_key_values
        self.cache.layers = [_layer(layer, len(x)) for layer in self.cache.layers]

    def states(self, tokens: Tensor, past: Past) -> Tensor:
        """The same as of a native decoder."""
        rows, end = len(tokens), past.start + tokens.shape[1]
        given: dict[str, Any] = {self.name: tokens, "past_key_values": self.cache}
        if self.masks:
            given["attention_mask"] = torch.ones(rows, end, dtype=torch.long, device=tokens.device)
        for number, layer in enumerate(self.cache.layers):
            layer.keys, layer.values = past.so_far(number, rows, layer.keys)
            layer.update = partial(_grown, layer, past, number)
        try:
            return self.forward(**given, use_cache=True).last_hidden_state
        finally:
            for layer in self.cache.layers:  # a circle of references would outlive the table
                vars(layer).pop("update")
                layer.keys, layer.values = layer.keys[:0, :, :0], layer.values[:0, :, :0]

    @contextmanager
    def answering(self, tokens: Tensor, states: Tensor, read: Sequence[int]) -> Iterator[None]:
        """The same as of a native decoder."""

        def forward(*args: Any, **given: Any) -> Any:
            self._refuse(_named(self.forward, args, given), tokens)
            return self.kind(last_hidden_state=states)

        with _standing_in(self.module, forward), self._sparing(states, read):
            yield

    def _sparing(self, states: Tensor, read: Sequence[int]) -> AbstractContextManager[None]:
        """The time in which the head is spared the positions that are not known."""
        if self.head is None or len(read) == states.shape[1]:
            return nullcontext()
        whole = self.head.forward

        def forward(given: Tensor) -> Tensor:
            if given.shape != states.shape or given.data_ptr() != states.data_ptr():
                return whole(given)
            return self.spread(whole(given[:, list(read)]), read, states.shape[1])

        return _standing_in(self.head, forward)

    def _watched(self, model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[dict[str, Any], Any]:
        """How the model calls its decoder, and what that puts out."""
        seen: list[tuple[dict[str, Any], Any]] = []

        def forward(*args: Any, **given: Any) -> Any:
            named = _named(self.forward, args, given)
            seen.append((named, self.forward(**(named | {"use_cache": True}))))
            return seen[-1][1]

        with _standing_in(self.module, forward):
            model(x[None].clone())
        ((given, output),) = seen
        return given, output

    def _refuse(self, given: dict[str, Any], tokens: Tensor) -> None:
        """Refuse a call by which the states would be others than those of the tokens alone."""
        _refuse_other(given[self.name], tokens)
        for name, value in given.items():
            if name == self.name or _is_harmless(name, value):
                continue
            raise ValueError(
                f"The decoder is called with {name}, which its states may depend on. "
                "Give it nothing but the tokens, or none of it can be shared."
            )


Decoder = Native | Transformer


def found(
    model: Callable[[Tensor], Tensor], x: Shaped[Tensor, "tokens *width"]
) -> tuple[Decoder, Tensor] | None:
    """The decoder that a model calls, on all of its input, and what the model puts out.

    It runs the model on the input, twice for a decoder of transformers. Nothing is found where
    running the decoder piece by piece might not be the same.

    Args:
        model: anything that scores are read from.
        x: one input.
    """
    if isinstance(model, nn.Module) and not any(map(_goes_on, model.modules())):
        return None
    modules, output = _called(model, x)
    called = [module for module in modules if _goes_on(module)]
    if not called or not all(map(plain, called)):
        return None
    if any(inner not in set(outer.modules()) for outer, inner in pairwise(called)):
        return None
    inner = called[-1]
    if isinstance(inner, GoesOn):
        return Native(inner), output
    head = None
    if len(called) > 1:
        head = getattr(called[-2], "get_output_embeddings", lambda: None)()
    apart = type(head) is nn.Linear and head not in set(inner.modules())
    return Transformer(inner, head if apart else None, model, x), output


def _is_harmless(name: str, value: object) -> bool:
    """Whether an argument only says what would be so without it."""
    if isinstance(value, Tensor):
        if name == "attention_mask":
            return value.ndim == 2 and bool((value == 1).all())
        if name in ("position_ids", "cache_position"):
            places = torch.arange(value.shape[-1], device=value.device)
            return bool((value == places).all())
        return False
    if name == "return_dict":
        return value is not False
    return value is None or value is False or name == "use_cache"


def _goes_on(module: nn.Module) -> bool:
    if isinstance(module, GoesOn):
        return True
    parents = type(module).__mro__
    if not any(
        one.__name__ == "PreTrainedModel" and one.__module__.startswith("transformers.")
        for one in parents
    ):
        return False
    return {"past_key_values", "use_cache"} <= set(inspect.signature(module.forward).parameters)


def _called(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[list[nn.Module], Tensor]:
    """All modules that a model calls, in turn, and what it puts out."""
    here = threading.get_ident()
    called: list[nn.Module] = []

    def note(module: nn.Module, _given: object) -> None:
        if threading.get_ident() == here:
            called.append(module)

    handle = torch_module.register_module_forward_pre_hook(note)
    try:
        output = model(x[None].clone())
    finally:
        handle.remove()
    return called, output


@contextmanager
def _standing_in(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let another function run where a module is called: in this thread, and for this time."""
    here, own = threading.get_ident(), module.forward

    def stand_in(*args: Any, **given: Any) -> Any:
        return (forward if threading.get_ident() == here else own)(*args, **given)

    vars(module)["forward"] = stand_in
    try:
        yield
    finally:
        del vars(module)["forward"]


def _named(function: Callable[..., Any], args: Sequence[Any], given: dict[str, Any]) -> Any:
    """The arguments of a call, all by their names."""
    signature = inspect.signature(function)
    named: dict[str, Any] = {}
    for name, value in signature.bind(*args, **given).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _refuse_other(given: Tensor, tokens: Tensor) -> None:
    if not torch.equal(given, tokens):
        raise ValueError(
            "The decoder is given other tokens than the model. Make the players of the tokens "
            "that reach it, or none of its work can be shared."
        )


def _layer(layer: Any, tokens: int) -> Any:
    """A layer of a cache that keeps keys and values of all tokens, as yet of none."""
    if type(layer).__name__ not in _KNOWN_LAYERS or layer.keys.shape[-2] > tokens:
        raise TypeError(
            f"A layer of the cache is a {type(layer).__name__}, which keeps more than keys and "
            "values. Such a decoder is run the plain way."
        )
    (kind,) = (one for one in type(layer).__mro__ if one.__name__ == "DynamicLayer")
    plain_layer: Any = kind()
    plain_layer.lazy_initialization(layer.keys, layer.values)
    return plain_layer


def _grown(
    layer: Any, past: Past, number: int, keys: Tensor, values: Tensor, *_args: Any, **_given: Any
) -> tuple[Float[Tensor, "rows heads tokens size"], Float[Tensor, "rows heads tokens size"]]:
    layer.keys, layer.values = past.grown(number, keys, values)
    return layer.keys, layer.values
