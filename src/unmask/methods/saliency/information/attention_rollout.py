"""Attention followed through the layers."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from unmask import admission
from unmask.card import method
from unmask.results import Attribution

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


@method("abnar2020quantifying")
def attention_rollout(
    model: Callable[[Tensor], object],
    x: Shaped[Tensor, "batch tokens *embedding"],
    *,
    query: int | None = None,
    residual: float = 0.5,
    batch_size: int | None = None,
) -> Attribution:
    r"""Follow attention from a position of the last layer down to the tokens that went in.

    $$
    R = \tilde A_L \tilde A_{L-1} \cdots \tilde A_1, \qquad
    \tilde A_l = \rho\, I + (1 - \rho)\, \bar A_l
    $$

    A is the attention of a layer, averaged over its heads; the residual connection carries the
    share rho past it. The values of an input are a row of R, or the mean of its rows, and sum to
    1. They speak of where the model looked, not of what it made of it: values, feed-forward parts
    and the sign of an effect are all left out.

    Attention is taken where it is computed, by whatever class: at calls of torch's
    `scaled_dot_product_attention` and `multi_head_attention_forward`, and at every softmax over
    [.., tokens, tokens]. No hook is set and the model need not be told to return anything. The
    calls are the layers, in their order; a model that attends to something else than its own
    tokens, or that joins tokens on the way, has no such product.

    Args:
        model: any function of x that calls attention.
        x: token ids, embeddings or images.
        query: the position to explain: 0 for a first token that stands for all, -1 for the next
            token of a language model; by default all alike.
        residual: rho.
        batch_size: inputs in one call of the model, by default all.

    >>> def layer(x):
    ...     return x + functional.scaled_dot_product_attention(0 * x, x, x)
    >>> attention_rollout(layer, torch.ones(1, 4, 2), query=0).values
    tensor([[0.6250, 0.1250, 0.1250, 0.1250]])
    """
    admission.finite("The input", x)
    _check(x, residual, batch_size)
    admission.settled(model)
    found = []
    for part in x.detach().split(batch_size or len(x)):
        watch = Watch(len(part), residual)
        with torch.no_grad(), watch:
            model(part.clone())  # which may work in place
        found.append(_rows(watch.rolled, query))
    return Attribution(torch.cat(found), evaluations=len(x))


class Watch(TorchFunctionMode):
    """Multiplies the attention of every layer that runs while it lasts.

    Only the product is kept, never the layers.

    Args:
        inputs: how many run together.
        residual: rho.
    """

    def __init__(self, inputs: int, residual: float) -> None:
        super().__init__()
        self.inputs, self.residual = inputs, residual
        self.rolled: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            self._follow(_weights(*args, **given))
            return func(*args, **given)
        if func is functional.multi_head_attention_forward:
            return self._multi_head(func, args, given)
        result = func(*args, **given)
        if func in _SOFTMAX and isinstance(result, Tensor) and result.ndim in (3, 4):
            axis = given.get("dim", args[1] if len(args) > 1 else -1)
            if result.shape[-1] == result.shape[-2] and axis in (-1, result.ndim - 1):
                self._follow(result)
        return result

    def _multi_head(
        self, func: Callable[..., Any], args: tuple[Any, ...], given: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """torch's own module: ask it for the weights of every head, and hand on what was asked."""
        wanted = given.get("need_weights", True)
        averaged = given.get("average_attn_weights", True)
        output, weights = func(*args, **given | _EVERY_HEAD)
        self._follow(weights)
        return output, (weights.mean(-3) if averaged else weights) if wanted else None

    def _follow(self, weights: Float[Tensor, "*heads queries keys"]) -> None:
        queries, keys = weights.shape[-2:]
        if queries != keys or len(weights) % self.inputs:
            raise ValueError(
                f"An attention of shape {tuple(weights.shape)} does not lead from the tokens of "
                f"{self.inputs} inputs to themselves. Explain a part of the model without it, such "
                "as the encoder."
            )
        wide = torch.promote_types(weights.dtype, torch.float32)
        mean = weights.detach().to(wide).reshape(self.inputs, -1, keys, keys).mean(1)
        mean = mean.nan_to_num(0.0)  # a padded position may look at nothing at all
        one = torch.eye(keys, dtype=wide, device=weights.device)
        layer = self.residual * one + (1 - self.residual) * mean
        layer = layer / layer.sum(-1, keepdim=True).clamp(min=torch.finfo(wide).tiny)
        if self.rolled is not None and self.rolled.shape != layer.shape:
            raise ValueError(
                f"The layers attend to {self.rolled.shape[-1]} tokens and then to {keys}, so that "
                "their product is not defined. Explain a part of the model where tokens stay."
            )
        self.rolled = layer if self.rolled is None else layer @ self.rolled


_EVERY_HEAD = {"need_weights": True, "average_attn_weights": False}


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*heads queries keys"]:
    """What scaled_dot_product_attention computes and does not return."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    wide = torch.promote_types(query.dtype, torch.float32)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    told = scale * (query.to(wide) @ key.to(wide).transpose(-2, -1))
    if is_causal:
        told = told.masked_fill(~torch.ones_like(told, dtype=torch.bool).tril(), -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        told = told.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        told = told + attn_mask.to(wide)
    return told.softmax(-1)


def _rows(rolled: Tensor | None, query: int | None) -> Float[Tensor, "batch tokens"]:
    if rolled is None:
        raise ValueError(
            "The model called no attention: neither scaled_dot_product_attention nor a softmax "
            "over [tokens, tokens]. Give a model with self-attention; one that was compiled or "
            "exported no longer calls torch's functions."
        )
    if query is None:
        return rolled.mean(1)
    tokens = rolled.shape[1]
    if not -tokens <= query < tokens:
        raise ValueError(
            f"Position {query} is out of range: the model attends to {tokens} tokens. "
            "Count from 0, or back from -1."
        )
    return rolled[:, query]


def _check(x: Tensor, residual: float, batch_size: int | None) -> None:
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"The batch is empty, or has no tokens: x has shape {tuple(x.shape)}. Give at least "
            "one input, with the batch as the first axis."
        )
    if not 0 <= residual < 1:
        raise ValueError(
            f"A residual of {residual} leaves no attention to follow. Give a share from 0 up to "
            "but without 1."
        )
    admission.batched(batch_size)
