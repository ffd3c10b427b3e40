"""An affine layer at work under a rule: its way back, and its merger with a batch normalisation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from unmask.methods.saliency.propagation.backward import ratio
from unmask.methods.saliency.propagation.pieces import pieces
from unmask.methods.saliency.propagation.rules import InputRule, Part, Rule, kept, quotient
from unmask.operations import Affine


@dataclass(frozen=True)
class Layer:
    """An affine operation, and the rule by which its relevance is shared out.

    Args:
        source: what it reads, with its graph.
        parts: the operation.
        rule: of the layer.
        live: a leaf in place of the source and the end of its graph through the operation, where
            the rule needs no other weights than those of the forward pass.
        scale: of each output, by the batch normalisations that are merged into it.
        bounds: the lowest and highest that the source can be.
        axis: of the weights, on which the outputs lie; None where they lie on no axis.
        groups: in which a transposed convolution has them.
        version: of the source when it was read.
    """

    source: Tensor
    parts: Affine
    rule: Rule | InputRule
    live: tuple[Tensor, GradientEdge] | None = None
    scale: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None
    axis: int | None = None
    groups: int = 1
    version: int = 0

    def pull(self, g: Tensor, value: Tensor) -> Tensor:
        """The gradient of the source, or for a rule of the input its relevance.

        Args:
            g: the gradient of what the layer puts out.
            value: what it puts out.
        """
        rule = self.rule
        if self.live is not None:
            leaf, end = self.live
            s = kept(g, value, rule.epsilon)
            if self.scale is not None:
                s.mul_(self.scale.view(-1, *[1] * (s.ndim - 2)))
            return torch.autograd.grad(end, leaf, s, retain_graph=True)[0]
        a = self.source.detach()
        if a._version != self.version:
            raise ValueError(
                "The model writes over the input of a layer after the layer has read it, so that "
                "no rule can be applied to it. Let the model do that out of place."
            )
        if isinstance(rule, InputRule):
            return self._to_input(rule, a, g, value)
        return _to_hidden(rule, self.parts, a, g, value)

    def merged(self, scale: Tensor, shift: Tensor) -> "Layer":
        """The layer with each of its outputs scaled and shifted, as one affine layer.

        Args:
            scale: of each output.
            shift: of each output.
        """
        w, b = self.parts.weight, self.parts.bias
        assert self.axis is not None
        if self.groups > 1:
            factor = scale.view(self.groups, 1, -1, *[1] * (w.ndim - 2))
            w = (w.unflatten(0, (self.groups, -1)) * factor).flatten(0, 1)
        else:
            w = w * scale.view([-1 if axis == self.axis else 1 for axis in range(w.ndim)])
        parts = replace(self.parts, weight=w, bias=shift if b is None else b * scale + shift)
        return replace(self, parts=parts, scale=scale if self.scale is None else self.scale * scale)

    def _to_input(self, rule: InputRule, a: Tensor, g: Tensor, value: Tensor) -> Tensor:
        """The relevance of what the layer reads, the bias left out."""
        low, high = self.bounds or (a, a)
        w = self.parts.weight
        if self.axis != 0 or not 2 < w.ndim == a.ndim or w.shape[1] != a.shape[1]:
            return self._handed_on(rule, value, g, a, low, high)
        found = [
            self._handed_on(rule, *some, beside=True) for some in pieces(value, g, a, low, high)
        ]
        return torch.cat(found)

    def _handed_on(
        self,
        rule: InputRule,
        value: Tensor,
        g: Tensor,
        a: Tensor,
        low: Tensor,
        high: Tensor,
        *,
        beside: bool = False,
    ) -> Tensor:
        """The relevance of some inputs.

        Args:
            rule: of the layer.
            value: what it puts out.
            g: the gradient of that.
            a: what it reads.
            low: the lowest that this can be.
            high: the highest.
            beside: the terms are laid beside each other, as further channels.
        """
        read = [make(a, low, high) for make, _ in rule.terms]
        weights = [change(self.parts.weight) for _, change in rule.terms]
        if beside:  # one convolution of six channels takes a fifth of the time of two of three
            read, weights = [torch.cat(read, 1)], [torch.cat(weights, 1)]
        read = [u.detach().requires_grad_() for u in read]
        with torch.enable_grad():
            sums = [self.parts.apply(u, w, None) for u, w in zip(read, weights, strict=True)]
            z = sum(sums[1:], sums[0])
        s = _divided(torch.mul, value, g, z.detach(), rule.epsilon)
        found = torch.autograd.grad(z, read, s)
        shares = [u.detach() * gu for u, gu in zip(read, found, strict=True)]
        if beside:
            shares = shares[0].split(a.shape[1], dim=1)
        return sum(shares[1:], shares[0])


def _to_hidden(rule: Rule, parts: Affine, a: Tensor, g: Tensor, value: Tensor) -> Tensor:
    """The gradient of what the layer reads: its relevance is a times that."""
    signed = bool(a.amin() < 0)
    given: list[tuple[Part, Tensor, Tensor]] = []
    for part in rule.parts:
        if part.own and not _wanted(part, value, g):  # such as what lies below zero before a ReLU
            continue
        leaf = a.detach().requires_grad_()
        with torch.enable_grad():
            given.append((part, leaf, _contributions(rule, part, parts, leaf, signed)))
    if rule.renormalise:
        g = ratio(
            g, torch.stack([part.share * (z.detach() != 0).to(g) for part, _, z in given]).sum(0)
        )
    found = []
    for part, leaf, z in given:
        sign = 0 if rule.zero_bias else part.sign
        s = _divided(part.relevance, value, g, z.detach(), rule.epsilon, sign)
        gradient = torch.autograd.grad(z, leaf, s)[0]
        found.append(gradient if part.share == 1 else part.share * gradient)
    return sum(found[1:], found[0]) if found else torch.zeros_like(a)


def _wanted(part: Part, value: Tensor, g: Tensor) -> bool:
    """Whether any output has relevance that is for this part."""
    return any(any(part.relevance(*some).aminmax()) for some in pieces(value, g))


def _divided(
    relevance: Callable[[Tensor, Tensor], Tensor],
    value: Tensor,
    g: Tensor,
    z: Tensor,
    epsilon: float,
    sign: int = 0,
) -> Tensor:
    """The relevance that values and gradients make, over denominators; written over these."""
    for over, *some in pieces(z, value, g):
        quotient(relevance(*some), over, epsilon, sign)
    return z


def _contributions(rule: Rule, part: Part, parts: Affine, a: Tensor, signed: bool) -> Tensor:
    """The denominators: what the layer would put out, with the weights of a part of its rule."""
    b = None if parts.bias is None or rule.zero_bias else part.weights(parts.bias)
    w = part.weights(parts.weight)
    if not signed or w is parts.weight:
        return parts.apply(a, w, b)
    below = parts.apply(a.clamp(max=0), part.mirrored(parts.weight), None)
    return parts.apply(a.clamp(min=0), w, b) + below
