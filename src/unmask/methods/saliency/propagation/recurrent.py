"""Recurrent layers, unrolled: how relevance passes through their gates and through time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unmask.methods.saliency.propagation.backward import proportional
from unmask.operations import Operation

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class Recurrence:
    """A handler for recurrent layers and cells.

    A gate passes on what it lets through and takes nothing for itself; sums share by contribution;
    tanh passes relevance unchanged; what is summed up with weights shares by the rule epsilon.

    Args:
        epsilon: moves denominators away from zero.
        bias_share: of what biases and epsilon take, this share is spread evenly over the inputs.
    """

    epsilon: float = 1e-3
    bias_share: float = 0.0

    def __call__(self, operation: Operation) -> Any:
        if not operation.differentiable:
            return operation()
        if operation.name.endswith("_cell"):
            return self._of_cell(operation)
        return self._of_layers(operation)

    def _of_cell(self, operation: Operation) -> Any:
        kind = operation.name.removesuffix("_cell")
        x, state, *weights = operation.args
        state = tuple(state) if kind == "lstm" else (state,)
        found = self._step(kind, x, state, [*weights, None, None][:4])
        return _as_run(operation, found if kind == "lstm" else found[0])

    def _of_layers(self, operation: Operation) -> Any:
        kind = operation.name
        x, state = operation.args[:2]
        weights, biased, layers, dropout, training, both_ways, batch_first = operation.args[2:9]
        if dropout and training:
            raise ValueError(
                f"There is dropout of {dropout} between the layers of {kind!r}, which is in "
                "training mode. Call model.eval() first."
            )
        whole = 4 if biased else 2
        ways = 2 if both_ways else 1
        if len(weights) != whole * layers * ways:
            raise ValueError(
                f"{kind!r} has {len(weights)} weights where {whole * layers * ways} belong: it "
                "projects its states. Use a layer with proj_size=0."
            )
        states = tuple(state) if kind == "lstm" else (state,)
        h = x.transpose(0, 1) if batch_first else x
        last = []
        for layer in range(layers):
            outs = []
            for number in range(layer * ways, layer * ways + ways):
                cell = [*weights[whole * number : whole * (number + 1)], None, None][:4]
                start = tuple(part[number] for part in states)
                out, end = self._through_time(kind, h, start, cell, number % ways == 1)
                outs.append(out)
                last.append(end)
            h = torch.cat(outs, -1)
        ends = [torch.stack(parts) for parts in zip(*last, strict=True)]
        return _as_run(operation, (h.transpose(0, 1) if batch_first else h, *ends))

    def _through_time(
        self, kind: str, x: Tensor, state: tuple[Tensor, ...], cell: list[Any], backwards: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        outs = []
        for one in reversed(x.unbind(0)) if backwards else x.unbind(0):
            state = self._step(kind, one, state, cell)
            outs.append(state[0])
        return torch.stack(outs[::-1] if backwards else outs), state

    def _step(
        self, kind: str, x: Tensor, state: tuple[Tensor, ...], cell: list[Any]
    ) -> tuple[Tensor, ...]:
        """The state after one more input; h comes first."""
        w_x, w_h, b_x, b_h = cell
        size = len(w_x) // _GATES[kind]
        h = state[0]
        if b_x is None:
            b_x = b_h = torch.zeros_like(w_x[:, 0])
        with torch.no_grad():
            of_x, of_h = functional.linear(x, w_x, b_x), functional.linear(h, w_h, b_h)
        if kind == "lstm":
            i, f, _, o = (of_x + of_h).split(size, -1)
            i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
            rows = slice(2 * size, 3 * size)
            terms = (x, w_x[rows], None), (h, w_h[rows], None)
            z = self._joined(terms, (b_x + b_h)[rows])
            c = f * state[1] + i * proportional(z, z.detach().tanh())
            return o * proportional(c, c.detach().tanh()), c
        if kind == "gru":
            r, u = (of_x + of_h)[..., : 2 * size].sigmoid().split(size, -1)
            rows = slice(2 * size, 3 * size)
            terms = (x, w_x[rows], None), (h, w_h[rows], r)
            z = self._joined(terms, b_x[rows] + r * b_h[rows])
            return ((1 - u) * proportional(z, z.detach().tanh()) + u * h,)
        z = self._joined(((x, w_x, None), (h, w_h, None)), b_x + b_h)
        act = torch.tanh if kind == "rnn_tanh" else torch.relu
        return (proportional(z, act(z.detach())),)

    def _joined(self, terms: Any, bias: Tensor) -> Tensor:
        found = _Joined.apply(self, bias, *(part for term in terms for part in term))
        assert isinstance(found, Tensor)
        return found


class _Joined(torch.autograd.Function):
    """A sum of weighted inputs, each weighted sum let through a gate: the rule epsilon."""

    @staticmethod
    def forward(ctx: Any, rule: Recurrence, bias: Tensor, *flat: Any) -> Tensor:
        ctx.rule, ctx.bias, ctx.flat = rule, bias, flat
        z = bias
        for a, w, gate in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            part = functional.linear(a, w)
            z = z + (part if gate is None else gate * part)
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (z,) = ctx.saved_tensors
        rule, flat = ctx.rule, ctx.flat
        moved = torch.copysign(torch.full_like(z, rule.epsilon), z)
        s = (gradients[0] * z / (z + moved)).masked_fill(z == 0, 0.0)
        # A state that is zero, as all begin, hands nothing on: it takes no part.
        units = sum(a.shape[-1] for a in flat[::3] if a.any())
        taken = (s * (ctx.bias + moved)).sum(-1, keepdim=True)
        each = rule.bias_share * taken / max(1, units)
        found: list[Any] = [None, None]
        for a, w, gate in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            given = (s if gate is None else s * gate) @ w
            if rule.bias_share:
                given = given + (each / a).masked_fill(a == 0, 0.0)
            found += [given, None, None]
        return tuple(found)


def _as_run(operation: Operation, found: Any) -> Any:
    """The values of the layer itself, to the last bit, with the graph of the unrolled one."""
    with torch.no_grad():
        made = operation()
    if isinstance(made, Tensor):
        return found + (made - found).detach()
    pairs = zip(made, found, strict=True)
    return tuple(one + (value - one).detach() for value, one in pairs)
