"""The mechanism of relevance propagation: one forward pass, one backward pass, any rules.

Relevance is activation times gradient, with the gradients of single operations replaced: at every
tensor u of the network, u times what arrives there is its relevance. So sums, copies, reshaping,
pooling and ReLU need nothing, and a rule is another way back through one operation. The values of
the forward pass are those of the network itself, to the last bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.weak import WeakTensorKeyDictionary

from unmask.internals import admit
from unmask.internals import layer as layer_of
from unmask.methods.saliency.propagation import unweighted
from unmask.methods.saliency.propagation.backward import (
    made_of,
    pulled,
    pushed,
    ratio,
    reads_input,
    weakened,
)
from unmask.methods.saliency.propagation.recurrent import Recurrence
from unmask.methods.saliency.propagation.rules import InputRule, Rule, Rules, kept
from unmask.methods.saliency.propagation.sharing import Layer
from unmask.operations import (
    Affine,
    Handler,
    Operation,
    Replaced,
    UnsupportedLayer,
    affine,
    place,
)
from unmask.results import Attribution
from unmask.score import Score

_EPSILON = 1e-6
"""Of a batch normalisation that stands alone."""


class Propagation:
    """One forward pass under rules: what it must remember, and a handler for each operation.

    Further handlers are made of `backward.pulled`, `proportional` and `weakened`, and of ordinary
    differentiable code: what they return must have a graph to the tensors that it was made of, by
    which each tensor times its gradient is the relevance that it gets. One whose insides are to
    meet the rules again runs them `with Replaced(propagation.handlers)`.

    Args:
        rules: for affine layers.
        model: for the names of its layers.
        point: x, a leaf.
    """

    def __init__(self, rules: Rules, model: object, point: Tensor) -> None:
        self.rules, self.model, self.point = rules, model, point
        self.entrances: list[Entrance] = []
        self.unused = set(rules.named)
        self._layers = WeakTensorKeyDictionary()

    @property
    def handlers(self) -> dict[str, Handler]:
        """By kind of operation. None for ReLU, maxima, softmax, and for all that is linear."""
        return {
            "affine": self.affine,
            "contraction": self.contraction,
            "batch_norm": self.batch_norm,
            "product": unweighted.product,
            "quotient": unweighted.quotient,
            "curve": unweighted.curve,
            "clamp": unweighted.curve,
            "attention": unweighted.attention,
            "normalisation": unweighted.normalisation,
            "recurrent": Recurrence(self.rules.dense.epsilon),
            "unknown": self.unknown,
        }

    def affine(self, operation: Operation) -> Any:
        """A layer of weights, by its rule."""
        parts, transposed = affine(operation), operation.name.startswith("conv_transpose")
        axis = 1 if transposed or operation.name == "addmm" else 0
        groups = operation.argument(6, "groups", 1) if transposed else 1
        return self.shared(parts, operation, axis=axis, groups=groups)

    def contraction(self, operation: Operation) -> Any:
        """With a constant it is a layer of weights; of two tensors of the input, a product."""
        args = operation.args
        places = [i for i, one in enumerate(args) if isinstance(one, Tensor)]
        moving = [i for i in places if args[i].requires_grad]
        if len(places) != 2 or len(moving) != 1 or len(operation.tensors()) != 2:
            return unweighted.product(operation)
        (i,) = moving
        (j,) = set(places) - {i}

        def apply(a: Tensor, w: Tensor, _: Tensor | None) -> Tensor:
            given = {i: a, j: w}
            return operation.run(*(given.get(k, one) for k, one in enumerate(args)))

        return self.shared(Affine(args[i], args[j], None, apply), operation)

    def shared(
        self, parts: Affine, operation: Operation, *, axis: int | None = None, groups: int = 1
    ) -> Tensor:
        """What an affine operation puts out, its relevance shared out by the rule of its layer."""
        a, w, b = parts.input, parts.weight, parts.bias
        if w.requires_grad:  # weights that depend on the input are a factor like it
            if a.requires_grad:
                a, w = weakened(a, 0.5), weakened(w, 0.5)
            return parts.apply(a, w, b)
        if not a.requires_grad:
            return parts.apply(a, w, b)
        if b is not None and b.requires_grad:
            return self.shared(replace(parts, bias=None), operation) + b
        rule = self._rule(operation, a)
        bounds = None
        if isinstance(rule, InputRule):
            bounds = self._bounds(rule, a)
            self.entrances.append(Entrance(a.detach().requires_grad_(), a))
            a = self.entrances[-1].leaf
        plain = isinstance(rule, Rule) and rule.plain
        leaf = a.detach().requires_grad_(plain)
        value = parts.apply(leaf, w, b)
        live = (leaf, get_gradient_edge(value)) if plain else None
        made = Layer(a, parts, rule, live, None, bounds, axis, groups, a._version)
        return self._entered(made, value.detach())

    def _entered(self, made: Layer, value: Tensor) -> Tensor:
        """What a layer puts out: a copy, as the model may write over it."""
        found = pulled(made.source, value.clone(), made.pull, kept=(value,), affine=True)
        self._layers[found] = made, found._version
        return found

    def _rule(self, operation: Operation, a: Tensor) -> Rule | InputRule:
        """By the name of the layer, else as the first, else by kind."""
        here = place(self.model) if self.rules.named else ""
        inside = [name for name in self.rules.named if f"{here}.".startswith(f"{name}.")]
        if inside:
            rule = self.rules.named[max(inside, key=len)]
            self.unused -= set(inside)
            if isinstance(rule, InputRule) and not reads_input(a):
                raise ValueError(
                    f"The rule {rule.name} is for inputs, but was given for the layer {here!r}, "
                    "which reads what other layers put out. Give epsilon, gamma or z_plus."
                )
            return rule
        if self.rules.first is not None and reads_input(a):
            return self.rules.first
        return self.rules.convolution if operation.name.startswith("conv") else self.rules.dense

    def _bounds(self, rule: InputRule, a: Tensor) -> tuple[Tensor, Tensor] | None:
        """The bounds of what a layer reads, from those of x."""
        if rule.low is None:
            return None
        point = self.point.detach()
        low, high = (a.detach() + pushed(self.point, a, end - point) for end in rule.bounds(point))
        return torch.minimum(low, high), torch.maximum(low, high)

    def batch_norm(self, operation: Operation) -> Any:
        """Merged into the layer before it; where there is none, a layer of its own."""
        if not operation.differentiable:
            return operation()
        u, value = operation.args[0], operation().detach()
        scale, shift = self._scale(operation)
        made = self._before(u)
        if made is None:
            if reads_input(u):
                return operation()  # it stands for how the input is prepared
            factor = kept(scale.view(-1, *[1] * (u.ndim - 2)).expand_as(u), value, _EPSILON)
            return pulled(u, value, torch.mul, kept=(factor,))
        return self._entered(made.merged(scale, shift), value)

    def _before(self, u: Tensor) -> Layer | None:
        """The layer that put this out with a channel per output, if nothing was written over it."""
        known: tuple[Layer, int] | None = self._layers.get(u)
        if known is None or u._version != known[1] or known[0].axis is None:
            return None
        lines = known[0].parts.weight.ndim == 2 and u.ndim != 2  # outputs on the last axis
        return None if lines else known[0]

    def _scale(self, operation: Operation) -> tuple[Tensor, Tensor]:
        """What a batch normalisation multiplies a channel with, and then adds to it."""
        order = ("running_mean", "running_var", "weight", "bias")
        if operation.run is torch.batch_norm:
            order = ("weight", "bias", "running_mean", "running_var")
        given = {name: operation.argument(i, name) for i, name in enumerate(order, 1)}
        mean, spread = given["running_mean"], given["running_var"]
        if mean is None or operation.argument(5, "training", False):
            raise ValueError(
                f"The layer {place(self.model)!r} is batch normalisation in training mode: an "
                "input's output would depend on the rest of its batch. Call model.eval() first."
            )
        scale = (spread + operation.argument(7, "eps", 1e-5)).rsqrt()
        scale = scale if given["weight"] is None else scale * given["weight"].detach()
        shift = -mean * scale
        return scale, shift if given["bias"] is None else shift + given["bias"].detach()

    def unknown(self, operation: Operation) -> Any:
        """Measures of a size are taken as constant; all else is refused."""
        if operation.name in unweighted.SIZES:
            return unweighted.size(operation)
        if not operation.differentiable:
            return operation()
        raise UnsupportedLayer(
            f"There is no rule of relevance for {operation.name!r}, met in the layer "
            f"{place(self.model)!r}; there are rules for {', '.join(self.handlers)}. Explain the "
            "model up to there or from there on, or use a method of gradients or of a game."
        )


@dataclass(frozen=True)
class Entrance:
    """An affine layer that reads the input by a rule of its own.

    Args:
        leaf: what the layer reads; what arrives there on the way back is relevance.
        read: the same with its graph to x.
    """

    leaf: Tensor
    read: Tensor

    def carried(self, point: Tensor, relevance: Tensor) -> Tensor:
        """Each number that the layer reads hands its relevance on to what it was made of.

        What lies between is taken as linear: moving, padding, scaling and centring pixels.
        """
        weight = pushed(point, self.read, torch.ones_like(point))
        share = ratio(relevance, weight)
        (found,) = torch.autograd.grad(self.read, point, share, retain_graph=True)
        return found


Handlers = Callable[[Propagation], Mapping[str, Handler]]
"""Further handlers, given the pass that they work in."""


def relevance(
    score: Score,
    x: Float[Tensor, "batch *input"],
    rules: Rules,
    *,
    handlers: Handlers | None = None,
    batch_size: int | None = None,
) -> Attribution:
    """Hand the score of each input back to the input.

    Args:
        score: what is handed back.
        x: the inputs.
        rules: for affine layers.
        handlers: of further kinds of operation, or instead of those of `Propagation`.
        batch_size: inputs in one call of the model.
    """
    admit(score, x, batch_size)
    _check(score, x, rules)
    values, gaps = [], []
    for rows in torch.arange(len(x), device=x.device).split(batch_size or len(x)):
        with torch.inference_mode(False), torch.enable_grad():
            some = x if len(rows) == len(x) else x[rows]
            point = (some.clone() if some.is_inference() else some.detach()).requires_grad_()
            value, found = _propagated(score, point, rows, rules, handlers)
        values.append(found.to(x.dtype))
        handed = values[-1].reshape(len(rows), -1).sum(1, dtype=torch.float64)
        gaps.append(value.double() - handed)
        broken = ~gaps[-1].isfinite()
        if broken.any():
            raise ValueError(
                f"The relevance of the {score.name} at input {int(rows[broken][0])} is not finite. "
                "Give the rules a larger epsilon, or look at what the model computes there."
            )
    return Attribution(torch.cat(values), gap=torch.cat(gaps), evaluations=len(x))


def _propagated(
    score: Score, point: Tensor, rows: Tensor, rules: Rules, handlers: Handlers | None
) -> tuple[Tensor, Tensor]:
    """The scores of some inputs and their relevance, in float32 at least."""
    work = Propagation(rules, score.model, point)
    with Replaced({**work.handlers, **(handlers(work) if handlers else {})}):
        output = score.output(point.clone())  # a model may begin in place, but not on a leaf
    if work.unused:
        raise ValueError(
            f"A rule was given for {sorted(work.unused)[0]!r}, but no layer of weights was met "
            "there. Name a layer that the model uses, or one that holds such layers."
        )
    value = score.of(output, rows)
    if not value.requires_grad:
        raise ValueError(
            f"The {score.name} does not depend on x by any differentiable path. "
            "Look for detach(), argmax or no_grad in the model, or use a method of a game."
        )
    ends = [point, *(entrance.leaf for entrance in work.entrances)]
    # Only a way beside the entrances can use up what `carried` needs; kept, it costs much memory.
    beside = len(ends) > 1 and made_of(value, point)
    gradient, *parts = torch.autograd.grad(
        value.sum(), ends, retain_graph=beside, allow_unused=True
    )
    total = torch.zeros_like(point, dtype=torch.promote_types(point.dtype, torch.float32))
    if gradient is not None:
        total += point.detach().to(total) * gradient
    for entrance, part in zip(work.entrances, parts, strict=True):
        if part is not None:
            total += entrance.carried(point, part)
    return value.detach(), total.detach()


def _check(score: Score, x: Tensor, rules: Rules) -> None:
    for rule in (rules.first, *rules.named.values()):
        if isinstance(rule, InputRule):
            rule.bounds(x)
    if rules.named and not isinstance(score.model, nn.Module):
        raise TypeError(
            f"Rules for named layers need a model that has layers, but this score wraps a "
            f"{type(score.model).__name__}. Make the score from an nn.Module."
        )
    for name in rules.named:
        if isinstance(score.model, nn.Module):
            layer_of(score.model, name)
