"""A forward pass that carries every activation as two parts: of a group, and of all the rest."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from unmask.internals import frozen
from unmask.methods.saliency.propagation.chords import POOLS, pooled
from unmask.operations import KINDS, Operation, Replaced, affine
from unmask.score import Score

_LINEAR_IN_ONE = ("product", "quotient", "contraction", "affine")


def part_of_group(
    score: Score,
    x: Float[Tensor, "rows *input"],
    group: Bool[Tensor, "rows *input"],
    rows: Int[Tensor, " rows"] | None = None,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The score of each input, and the part of it that is due to the group.

    Args:
        score: F.
        x: the inputs.
        group: which positions of each belong to the group.
        rows: which input each row stands for, for a score with one class per input.
    """
    parts = _Parts()
    kinds = dict.fromkeys(set(KINDS.values()) | {"unknown"}, parts.go)
    # Operations that nobody has heard of are known by their gradient, so there is one.
    with torch.inference_mode(False), torch.enable_grad(), frozen(score.model):
        x = x.clone() if x.is_inference() else x.detach()
        start = x.detach().requires_grad_().clone()
        parts.keep(start, torch.where(group, x, 0))
        with Replaced(kinds):
            values = score(start, rows)
            found = parts.of(values)
    # What comes back from NumPy has no part, though a question such as .to(x) may lend it one.
    if found is None or not values.requires_grad:
        raise ValueError(
            f"The {score.name} does not depend on x by any operation of torch. "
            "Look for detach(), argmax or NumPy in the model, or use a method of a game."
        )
    return values.detach(), found


@dataclass
class _Parts:
    """beta, the part of the group, of every tensor that depends on it; the rest is gamma."""

    known: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, tensor: Any) -> Tensor | None:
        found = self.known.get(id(tensor))
        return None if found is None else found[1]

    def keep(self, tensor: Tensor, beta: Tensor) -> None:
        self.known[id(tensor)] = tensor, beta  # held, so that no other tensor gets its id

    def go(self, operation: Operation) -> Any:
        """Run an operation, and split what it puts out."""
        leaves = pytree.tree_leaves((operation.args, dict(operation.kwargs)))
        if operation.target is not None and (beta := self.of(operation.target)) is not None:
            self.keep(operation.args[0], beta)
        if all(self.of(leaf) is None for leaf in leaves):
            return operation()
        made = operation()
        with torch.no_grad():
            betas = self._split(operation, made)
        for one, beta in zip(pytree.tree_leaves(made), betas, strict=True):
            if _is_number(one):
                self.keep(one, beta)
        if operation.target is not None:
            self.keep(operation.target, betas[0])
        return made

    def _split(self, operation: Operation, made: Any) -> list[Any]:
        name, kind = operation.name, operation.kind
        first = operation.argument(0, "input")
        alone = sum(self.of(leaf) is not None for leaf in operation.tensors()) == 1
        beta = self.of(first)
        if kind == "affine" and alone and name != "addmm" and beta is not None:
            return [self._affine(operation, made, beta)]
        if kind == "batch_norm" and alone and beta is not None:
            of_nothing = self._again(operation, lambda tensor, beta: torch.zeros_like(beta))
            of_group = self._again(operation, lambda tensor, beta: beta)[0] - of_nothing[0]
            return [of_group + _share(of_group, made - of_nothing[0] - of_group) * of_nothing[0]]
        if name == "relu" and beta is not None:
            return [torch.relu(beta)]
        if name in POOLS and beta is not None:
            winners = pooled(operation, first)[1]
            plane = -int(name[-2])
            return [beta.flatten(plane).gather(-1, winners.flatten(plane)).view_as(made)]
        if name == "lstm" and isinstance(operation.args[2], list | tuple):
            return self._lstm(operation)
        of_group = self._again(operation, lambda tensor, beta: beta)
        of_nothing = self._again(operation, lambda tensor, beta: torch.zeros_like(beta))
        let_in_first = _differences(of_group, of_nothing)
        of_rest = self._again(operation, lambda tensor, beta: tensor - beta)
        if kind == "linear" or (kind in _LINEAR_IN_ONE and alone):
            rest = _differences(of_rest, of_nothing)
            return [
                _with_constant(*three) if _is_number(three[0]) else three[0]
                for three in zip(let_in_first, rest, of_nothing, strict=True)
            ]
        # Anything else: it is let in first and last, and gets the mean of what that changes.
        let_in_last = _differences(pytree.tree_leaves(made), of_rest)
        return [
            (a + b) / 2 if _is_number(a) else a
            for a, b in zip(let_in_first, let_in_last, strict=True)
        ]

    def _again(self, operation: Operation, part: Callable[[Tensor, Tensor], Tensor]) -> list[Any]:
        """The operation on a part of every tensor that has two."""

        def change(leaf: Any) -> Any:
            beta = self.of(leaf)
            if beta is None:
                return leaf
            return torch.where(leaf.isinf(), leaf, part(leaf, beta))  # a mask hides in every part

        args, kwargs = pytree.tree_map(change, (operation.args, dict(operation.kwargs)))
        return pytree.tree_leaves(operation.run(*args, **kwargs))

    def _affine(self, operation: Operation, made: Tensor, beta: Tensor) -> Tensor:
        layer = affine(operation)
        of_group = layer.apply(beta, layer.weight, None)
        if layer.bias is None:
            return of_group
        bias = layer.bias
        if operation.name.startswith("conv"):
            bias = bias.view(-1, *[1] * (made.ndim - 2))
        return of_group + _share(of_group, made - bias - of_group) * bias

    def _lstm(self, operation: Operation) -> list[Tensor]:
        x, state, weights, biased, layers, _, _, both_ways, batch_first = operation.args
        whole = 4 if biased else 2
        ways = 2 if both_ways else 1
        given = self.of(x)
        h, beta = x, torch.zeros_like(x) if given is None else given
        if batch_first:
            h, beta = h.transpose(0, 1), beta.transpose(0, 1)
        inside = (beta != 0).any(-1, keepdim=True)
        last: list[tuple[Tensor, Tensor]] = []
        for layer in range(layers):
            outs = []
            for number in range(layer * ways, layer * ways + ways):
                cell = [*weights[whole * number : whole * (number + 1)], None, None][:4]
                starts = [(part[number], self._start(part, number)) for part in state]
                backwards = number % ways == 1
                outs.append(_lstm_layer(h, beta, inside, cell, starts, backwards=backwards))
            h = torch.cat([out[0] for out in outs], -1)
            beta = torch.cat([out[1] for out in outs], -1)
            last += [out[2] for out in outs]
        hidden, cells = (torch.stack([pair[k] for pair in last]) for k in (0, 1))
        return [beta.transpose(0, 1) if batch_first else beta, hidden, cells]

    def _start(self, part: Tensor, number: int) -> Tensor:
        beta = self.of(part)
        return torch.zeros_like(part[number]) if beta is None else beta[number]


def _lstm_layer(
    x: Tensor, beta: Tensor, inside: Tensor, cell: list[Any], starts: list[tuple[Tensor, Tensor]],
    *, backwards: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """One layer in one direction: states, their parts, and the parts of the last two."""
    w_x, w_h, b_x, b_h = cell
    bias = 0.0 if b_x is None else b_x + b_h
    (h, h_beta), (c, c_beta) = starts
    seen, parts = [], []
    times = range(len(x) - 1, -1, -1) if backwards else range(len(x))
    for t in times:
        r = beta[t] @ w_x.T + h_beta @ w_h.T
        s = (x[t] - beta[t]) @ w_x.T + (h - h_beta) @ w_h.T
        i, f, g, o = (
            _three_ways(act, *(_gate(part, k) for part in (r, s, bias)))
            for k, act in enumerate((torch.sigmoid, torch.sigmoid, torch.tanh, torch.sigmoid))
        )
        (i_r, i_s, i_b), (f_r, f_s, f_b), (g_r, g_s, g_b) = i, f, g
        together = i_b * g_b
        c_gamma = c - c_beta
        new = i_r * (g_r + g_b) + i_b * g_r + torch.where(inside[t], together, 0.0)
        new = new + (f_r + f_b) * c_beta
        rest = i_s * (g_r + g_s + g_b) + (i_r + i_b) * g_s
        rest = rest + torch.where(inside[t], 0.0, together)
        rest = rest + (f_r + f_s + f_b) * c_gamma + f_s * c_beta
        c, c_beta = new + rest, new
        shown = sum(o)
        h = shown * torch.tanh(c)
        h_beta = shown * (torch.tanh(new) + torch.tanh(c) - torch.tanh(rest)) / 2
        seen.append(h)
        parts.append(h_beta)
    if backwards:
        seen, parts = seen[::-1], parts[::-1]
    return torch.stack(seen), torch.stack(parts), (h_beta, c_beta)


def _gate(part: Tensor | float, k: int) -> Any:
    return part.chunk(4, -1)[k] if isinstance(part, Tensor) else part


def _three_ways(
    act: Callable[[Tensor], Tensor], r: Tensor, s: Tensor, b: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """What the group, the rest and the bias each add to act(r + s + b)."""
    b = torch.as_tensor(b, dtype=r.dtype, device=r.device)
    of_r = (act(r + b) - act(b) + act(r + s + b) - act(s + b)) / 2
    of_s = (act(s + b) - act(b) + act(r + s + b) - act(r + b)) / 2
    return of_r, of_s, act(b).expand_as(r)


def _share(beta: Tensor, gamma: Tensor) -> Tensor:
    """The part of a bias that goes with the group, by how large it is beside the rest."""
    whole = beta.abs() + gamma.abs()
    return torch.where(whole > 0, beta.abs() / whole, 0.5)


def _with_constant(beta: Tensor, gamma: Tensor, constant: Tensor) -> Tensor:
    """What is added to both is a bias; but where it stands alone, or hides, it is of neither."""
    shared = constant.isfinite() & ((beta != 0) | (gamma != 0))
    return beta + torch.where(shared, _share(beta, gamma) * constant, 0.0)


def _is_number(made: Any) -> bool:
    return isinstance(made, Tensor) and made.is_floating_point()


def _differences(one: list[Any], other: list[Any]) -> list[Any]:
    # Where a mask has put the same infinity into both, they do not differ.
    return [
        torch.where(a == b, 0.0, a - b) if _is_number(a) else a
        for a, b in zip(one, other, strict=True)
    ]
