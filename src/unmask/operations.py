"""Operations: a forward pass in which some operations are replaced by others.

Rules such as those of relevance propagation are about operations (a convolution, a ReLU, a
product), not about the modules that happen to call them. So they are given to a mode that meets
every call of torch while it lasts: modules and functions alike, in place or not, reused or not.
The model itself is never touched, and there is nothing to take away afterwards.

Two things are not met: what a model computes in an autograd function of its own, and what runs
inside TorchScript.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_NAMES: Mapping[str, str] = {
    # A sum of inputs times weights, plus a bias.
    "affine": """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
        addmm""",
    # Positively homogeneous and piecewise linear: each output follows one input.
    "relu": "relu leaky_relu prelu rrelu",
    "clamp": "threshold hardtanh relu6 clamp clamp_min clamp_max clip hardshrink softshrink",
    "maximum": """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
        adaptive_max_pool3d_with_indices amax amin max min maximum minimum fmax fmin abs topk sort
        kthvalue median""",
    # Smooth functions of each number by itself.
    "curve": """gelu silu tanh sigmoid elu celu selu softplus mish hardswish hardsigmoid logsigmoid
        softsign tanhshrink exp expm1 log log1p log2 log10 sqrt rsqrt pow __pow__ square reciprocal
        erf sin cos atan arctan""",
    "product": "mul multiply __mul__ __rmul__ addcmul",
    "quotient": "div divide true_divide __truediv__ __div__ __rtruediv__ __rdiv__ addcdiv",
    "contraction": """matmul __matmul__ __rmatmul__ bmm mm mv dot einsum baddbmm addbmm tensordot
        bilinear""",
    "attention": "scaled_dot_product_attention",
    "attention_layer": "multi_head_attention_forward _native_multi_head_attention",
    "softmax": "softmax log_softmax softmin logsumexp gumbel_softmax",
    "normalisation": """layer_norm group_norm instance_norm rms_norm normalize local_response_norm
        norm""",
    "batch_norm": "batch_norm",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
    # Sums and choices of inputs with fixed weights: linear, and without a bias of their own.
    "linear": """add __add__ __radd__ sub subtract __sub__ rsub __rsub__ neg negative __neg__
        positive __pos__ sum mean nansum cumsum diff cat concat concatenate stack hstack vstack
        dstack reshape view view_as reshape_as flatten unflatten ravel permute transpose swapaxes
        swapdims moveaxis movedim t adjoint squeeze unsqueeze expand expand_as broadcast_to
        broadcast_tensors repeat repeat_interleave tile chunk split split_with_sizes tensor_split
        unbind unsafe_chunk unsafe_split hsplit vsplit dsplit narrow select index_select gather
        take take_along_dim __getitem__ where masked_fill masked_select masked_scatter index_fill
        index_add index_put index_copy scatter scatter_add scatter_reduce slice_scatter
        select_scatter __setitem__ pad constant_pad_nd roll flip fliplr flipud rot90 tril triu
        diagonal diag diag_embed clone contiguous to type type_as float double half bfloat16 cpu
        cuda avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
        adaptive_avg_pool3d lp_pool interpolate upsample grid_sample unfold fold im2col col2im
        pixel_shuffle pixel_unshuffle channel_shuffle embedding embedding_bag dropout dropout1d
        dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout lerp atleast_1d
        atleast_2d atleast_3d meshgrid requires_grad_ retain_grad T mT H mH real as_strided
        T_copy view_copy fill zero copy zeros_like ones_like max_unpool1d max_unpool2d
        max_unpool3d""",
}

KINDS: Mapping[str, str] = {name: kind for kind, names in _NAMES.items() for name in names.split()}
"""The kind of every operation that is known, by its name, which all its spellings share."""


class UnsupportedLayer(TypeError):
    """A model holds an operation that a method has no rule for."""


@dataclass(frozen=True)
class Operation:
    """One call of torch within a model, out of place.

    Args:
        kind: one of the kinds above, or "unknown".
        name: what torch calls it, such as conv2d.
        run: the function itself; it is called outside the mode.
        args: what it was called with.
        kwargs: and by name.
    """

    kind: str
    name: str
    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    target: Tensor | None = None
    """The tensor that the model had it write on, of which the first argument is a copy."""

    def __call__(self) -> Any:
        """What it would have put out."""
        return self.run(*self.args, **self.kwargs)

    @property
    def in_place(self) -> bool:
        """Whether it writes on its first argument."""
        name = getattr(self.run, "__name__", "")
        return bool(self.kwargs.get("inplace", False)) or _out_of_place(name) != name

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument, however it was given."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def tensors(self) -> list[Tensor]:
        """The tensors it was called with, those in lists included."""
        return [*_tensors(self.args), *_tensors(self.kwargs.values())]

    @property
    def differentiable(self) -> bool:
        """Whether what it puts out can depend on the input that gradients are wanted for."""
        return any(tensor.requires_grad for tensor in self.tensors())


@dataclass(frozen=True)
class Affine:
    """An affine operation taken apart: input, weight and bias, and how they are put together.

    Args:
        input: a.
        weight: w, in the layout of the operation.
        bias: b, or None.
        apply: (a, w, b) -> what the operation makes of them.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]


def affine(operation: Operation) -> Affine:
    """The parts of an operation of the kind "affine"."""
    run, args, kwargs = operation.run, operation.args, dict(operation.kwargs)
    if operation.name == "addmm":  # torch.addmm(bias, input, weight), its factors left at 1
        bias, input_, weight = args[:3]
        return Affine(
            input_, weight, bias, lambda a, w, b: a @ w if b is None else torch.addmm(b, a, w)
        )
    input_ = kwargs.pop("input", None) if not args else args[0]
    weight = kwargs.pop("weight", None) if len(args) < 2 else args[1]
    bias = kwargs.pop("bias", None) if len(args) < 3 else args[2]
    rest = args[3:]
    return Affine(input_, weight, bias, lambda a, w, b: run(a, w, b, *rest, **kwargs))


Handler = Callable[[Operation], Any]
"""What stands in for an operation: it puts out what the model goes on with."""


class Replaced(TorchFunctionMode):
    """While this context lasts, operations of some kinds are replaced.

    A handler may call torch freely; what it calls is not replaced again. Operations in place are
    handed on out of place, and what comes back is written where the model expects it. A layer of
    attention that has no handler is met as the operations that it is made of.

    Parameters are handed on detached, so that what wants a gradient depends on the input: also
    where the model lies in a closure, out of reach of `internals.frozen`.

    Args:
        handlers: by kind. "unknown" is asked for operations of no known kind that put out
            something differentiable; all others run as they are.
        as_called: kinds whose handlers see to operations in place themselves.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], as_called: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self.handlers, self.as_called = handlers, as_called
        self.refusal: UnsupportedLayer | None = None

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        # An operator such as + takes a TypeError for "not implemented" and hides what it said.
        if self.refusal is not None:
            raise self.refusal from None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _QUESTIONS:
            return func(*args, **kwargs)
        plain = _out_of_place(name)
        kind = KINDS.get(plain, "unknown")
        args, kwargs = _detached(args), {key: _detached(one) for key, one in kwargs.items()}
        handler = self.handlers.get(kind)
        if handler is None and kind == "attention_layer" and isinstance(func, FunctionType):
            with self:
                return _unfolded(func)(*args, **kwargs)
        if handler is None:
            return func(*args, **kwargs)
        if kind == "unknown":
            return self._unknown(handler, name, func, args, kwargs)
        writes = plain != name or kwargs.get("inplace", False)
        if not writes or kind in self.as_called:
            return self._asked(handler, Operation(kind, plain, func, args, kwargs))
        # The handler must see the input as it was, and autograd keep it so.
        target = args[0] if args else kwargs["input"]
        kwargs = {key: value for key, value in kwargs.items() if key not in ("inplace", "input")}
        run = func if plain == name else getattr(Tensor, plain, None) or getattr(torch, plain)
        args = (target.clone(), *args[1:])
        made = self._asked(handler, Operation(kind, plain, run, args, kwargs, target))
        return target.copy_(made)

    def _unknown(
        self,
        handler: Handler,
        name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Only what puts out something differentiable is an operation; the rest are questions."""
        made = func(*args, **kwargs)
        if not any(tensor.requires_grad for tensor in _tensors((made,))):
            return made
        if name == "__get__":
            attribute = getattr(getattr(func, "__self__", None), "__name__", "")
            if attribute in KINDS:
                return made
            name = attribute
        return self._asked(handler, Operation("unknown", name, func, args, kwargs))

    def _asked(self, handler: Handler, operation: Operation) -> Any:
        try:
            return handler(operation)
        except UnsupportedLayer as refusal:
            self.refusal = refusal
            raise


_ASKED = """size dim numel is_floating_point is_complex element_size __len__ __hash__ requires_grad_
    nelement stride storage_offset data_ptr is_contiguous type_as_ detach item tolist __bool__
    __repr__ __set__ backward grad"""
_QUESTIONS = frozenset(_ASKED.split())
"""Asked of tensors all the time, and no operations."""
_IN_PLACE = {
    "__iadd__": "__add__",
    "__isub__": "__sub__",
    "__imul__": "__mul__",
    "__idiv__": "__truediv__",
    "__itruediv__": "__truediv__",
    "__ipow__": "__pow__",
}


def _out_of_place(name: str) -> str:
    if name in _IN_PLACE:
        return _IN_PLACE[name]
    if name.endswith("_") and not name.endswith("__") and name not in KINDS:
        return name[:-1]
    return name


def place(model: object) -> str:
    """The name of the layer of a model that is at work, to be said in an error.

    Asked from a handler. It is read off the stack, so that nothing has to be hung on the model.
    """
    names = {}
    if isinstance(model, nn.Module):
        names = {id(module): name for name, module in model.named_modules()}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
        if isinstance(module, nn.Module) and id(module) in names:
            return names[id(module)] or type(module).__name__
        frame = frame.f_back
    return "the model"


def _detached(value: Any) -> Any:
    """Without the graph of parameters; lists and tuples are looked into."""
    if isinstance(value, nn.Parameter):
        return value.detach() if value.requires_grad else value
    if type(value) in (list, tuple):
        return type(value)(_detached(one) for one in value)
    return value


def _unfolded(function: FunctionType) -> FunctionType:
    """A function of torch that does not hand itself over to a mode, only what it calls."""
    unfolded = FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": lambda _: False},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    unfolded.__kwdefaults__ = function.__kwdefaults__
    return unfolded


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
