"""Differences from a reference, handed back through a model operation by operation.

The model runs once on the references, where what goes into each operation is kept, and once on the
inputs. Then, instead of its derivative, every operation hands back its mean derivative along the
straight line between the two: the multiplier that turns the difference of what goes in into the
difference of what comes out. For a function of one number that is the Rescale rule,

$$
m = \\frac{f(a) - f(a^0)}{a - a^0}
$$

for a product it is the mean of the other factor, and for anything else (softmax, attention,
normalisation) a quadrature of few nodes. So whatever autograd can differentiate is handed back
completely.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from unmask import admission
from unmask.internals import admit, frozen
from unmask.methods.saliency.propagation.chords import (
    POOLS,
    Between,
    Cancelling,
    Met,
    Rescale,
    Winners,
)
from unmask.operations import Affine, Handler, Operation, Replaced, affine, place
from unmask.results import Attribution
from unmask.score import Score

_BENT = ("relu", "clamp", "curve")
_KINDS = (
    *_BENT,
    *("maximum", "product", "quotient", "contraction", "attention", "attention_layer", "softmax"),
    *("normalisation", "recurrent", "affine", "unknown"),
)
_NODES = 16
"""Nodes of the quadrature for operations that are not linear, bilinear or elementwise."""
_AT_ONCE = 64
"""Rows in one call of the model where inputs are few and baselines many."""


@dataclass
class Course:
    """The course of a score on some inputs, kept so that several references can share it.

    Args:
        score: F.
        x: the inputs.
        rows: which input each row stands for, for a score with one class per input.
        cancelling: whether dense layers keep apart what raises and what lowers (RevealCancel).
    """

    score: Score
    x: Float[Tensor, "rows *input"]
    rows: Tensor | None = None
    cancelling: bool = False
    reference: list[Met] = field(default_factory=list)
    shapes: list[list[torch.Size]] = field(default_factory=list)
    dense: dict[int, tuple[Tensor, Affine, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.point = _leaf(self.x)

    def multipliers(
        self, references: Iterable[Float[Tensor, "references *input"]]
    ) -> Iterator[tuple[Float[Tensor, " rows"], Float[Tensor, " rows"], Tensor]]:
        """The score of the inputs, that of the references, and the multipliers between them.

        Args:
            references: each as many as the inputs, or a single one for all.
        """
        values: Tensor | None = None
        for reference in references:
            # Modes end before a result is handed out: whoever takes it may never come back.
            with torch.inference_mode(False), torch.enable_grad(), frozen(self.score.model):
                base = self._record(reference)
                if values is None:
                    with Replaced(self._handlers()):
                        values = self.score(self.point.clone(), self.rows)
                    self._same_course()
                if not self._fits():  # inputs are folded into another axis: one reference for each
                    base = self._record(reference.expand_as(self.x))
                multipliers = self._back(values)
            yield values.detach(), base, multipliers

    def _back(self, values: Tensor) -> Tensor:
        found = None
        if values.requires_grad:
            (found,) = torch.autograd.grad(
                values.sum(), self.point, retain_graph=True, allow_unused=True
            )
        if found is None:
            raise ValueError(
                f"The {self.score.name} does not depend on x by any differentiable path. "
                "Look for detach(), argmax or no_grad in the model, or use a method of a game."
            )
        return found

    def _record(self, reference: Tensor) -> Tensor:
        """Run the model on the references and keep what goes into each operation."""
        self.reference = []

        def keep(operation: Operation) -> Any:
            made = operation()
            if operation.differentiable:
                inputs = [leaf.detach() for leaf in _leaves(operation)]
                output = made.detach() if isinstance(made, Tensor) else None
                self.reference.append(Met(operation.name, inputs, output))
            return made

        point = _leaf(reference)  # so that the same operations are met
        with Replaced(dict.fromkeys(_KINDS, keep)):
            output = self.score.output(point.clone())
            if len(output) == 1:  # read for every input, as each may have a class of its own
                output = output.expand(len(self.x), *output.shape[1:])
            return self.score.of(output, self.rows).detach()

    def _fits(self) -> bool:
        """Whether every tensor of the references stands beside one of the inputs."""
        each = zip(self.reference, self.shapes, strict=True)
        return all(_broadcasts(met.inputs, shapes) for met, shapes in each)

    def _same_course(self) -> None:
        if len(self.shapes) != len(self.reference):
            raise ValueError(
                f"The model runs {len(self.shapes)} operations on the inputs but "
                f"{len(self.reference)} on the baseline. Its course depends on the values: take a "
                "baseline for which it takes the same one, or a method of a game."
            )

    def _handlers(self) -> Mapping[str, Handler]:
        handlers: dict[str, Handler] = dict.fromkeys(_KINDS, self._mean)
        handlers |= dict.fromkeys(_BENT, self._bent)
        handlers |= {"maximum": self._maximum, "affine": self._affine}
        return handlers

    def _meet(self, operation: Operation) -> int:
        """The number of an operation, which finds its counterpart at the references."""
        number = len(self.shapes)
        if number >= len(self.reference) or self.reference[number].name != operation.name:
            raise ValueError(
                f"In {place(self.score.model)!r} the model runs {operation.name!r} on the inputs, "
                "but not on the baseline. Its course depends on the values: take a baseline for "
                "which it takes the same one, or a method of a game."
            )
        self.shapes.append([leaf.shape for leaf in _leaves(operation)])
        return number

    def _bent(self, operation: Operation) -> Any:
        if not operation.differentiable:
            return operation()
        number = self._meet(operation)
        moving = [tensor for tensor in operation.tensors() if tensor.requires_grad]
        known = operation.target if operation.target is not None else moving[0]
        if id(known) in self.dense:
            _, layer, layer_number = self.dense[id(known)]
            return Cancelling.apply(
                layer.input, moving[0].detach(), operation, layer, self.at, number, layer_number
            )
        if len(moving) > 1 or operation.args[0] is not moving[0]:
            return self._between(operation, number, _NODES)
        return Rescale.apply(moving[0], operation, self.at, number)

    def _maximum(self, operation: Operation) -> Any:
        if not operation.differentiable:
            return operation()
        number = self._meet(operation)
        if operation.name == "abs":
            return Rescale.apply(operation.args[0], operation, self.at, number)
        if operation.name in POOLS:
            return Winners.apply(operation.args[0], operation, self.at, number)
        return self._between(operation, number, _NODES)

    def _affine(self, operation: Operation) -> Any:
        if not operation.differentiable:
            return operation()
        number = self._meet(operation)
        layer = affine(operation)
        if layer.weight.requires_grad:
            return self._between(operation, number, 1)
        made = operation()
        if self.cancelling and operation.name == "linear":
            self.dense[id(made)] = made, layer, number  # kept, so that no other tensor has its id
        return made

    def _mean(self, operation: Operation) -> Any:
        if not operation.differentiable:
            return operation()
        number = self._meet(operation)
        bilinear = operation.kind in ("product", "contraction")
        moving = sum(tensor.requires_grad for tensor in operation.tensors())
        if bilinear and moving == 1:
            return operation()
        return self._between(operation, number, 1 if bilinear else _NODES)

    def _between(self, operation: Operation, number: int, nodes: int) -> Any:
        leaves, shape = pytree.tree_flatten((operation.args, dict(operation.kwargs)))
        moving = [number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        made_shape: list[Any] = []

        def again(*tensors: Tensor) -> list[Any]:
            moved = list(leaves)
            for which, tensor in zip(moving, tensors, strict=True):
                moved[which] = tensor
            args, kwargs = pytree.tree_unflatten(moved, shape)
            made, found = pytree.tree_flatten(operation.run(*args, **kwargs))
            made_shape[:] = [found]
            return made

        made = Between.apply(again, self.at, number, nodes, *(leaves[which] for which in moving))
        return pytree.tree_unflatten(list(made), made_shape[0])

    def at(self, number: int) -> Met:
        """What was met at the references as the operation of that number."""
        return self.reference[number]


def contributions(
    score: Score,
    x: Float[Tensor, "batch *input"],
    baseline: Float[Tensor, "*background"],
    batch_size: int | None,
    *,
    cancelling: bool,
) -> Attribution:
    """The mean over the baselines of multiplier times difference.

    Args:
        score: F.
        x: the inputs.
        baseline: x', or a set of them.
        batch_size: inputs in one call of the model, by default as many as there are.
        cancelling: whether dense layers keep apart what raises and what lowers.
    """
    admit(score, x, batch_size)
    backgrounds = admission.backgrounds_for(x[0], baseline)
    values, left = torch.empty_like(x), x.new_empty(len(x), dtype=torch.float64)
    for rows in torch.arange(len(x), device=x.device).split(batch_size or len(x)):
        total, change = _sums(score, x, rows, backgrounds, batch_size or _AT_ONCE, cancelling)
        values[rows] = (total / len(backgrounds)).to(x.dtype)
        left[rows] = change / len(backgrounds) - values[rows].double().flatten(1).sum(1)
    return Attribution(values, gap=left, evaluations=len(x) + len(backgrounds))


def _sums(
    score: Score, x: Tensor, rows: Tensor, backgrounds: Tensor, batch_size: int, cancelling: bool
) -> tuple[Tensor, Tensor]:
    """Over the baselines the sums of contributions and of changes.

    As many baselines are taken at a time as fill a batch. While their number stays the same the
    model runs on the inputs only once.
    """
    inputs = x[rows].detach()
    wide = torch.promote_types(x.dtype, torch.float32)
    total, change = torch.zeros_like(inputs, dtype=wide), inputs.new_zeros(len(rows)).double()
    at_once = min(len(backgrounds), max(1, batch_size // len(rows)))
    equal = len(backgrounds) // at_once * at_once
    for chosen, count in (backgrounds[:equal], at_once), (backgrounds[equal:], 1):
        if len(chosen) == 0:
            continue
        course = Course(
            score, inputs.repeat(count, *[1] * (x.ndim - 1)), rows.repeat(count), cancelling
        )
        parts = chosen.split(count)
        # One after the other: all baselines beside all inputs would outgrow a batch.
        references = (
            part if count == 1 else part.repeat_interleave(len(rows), 0) for part in parts
        )
        for part, (value, base, multiplier) in zip(
            parts, course.multipliers(references), strict=True
        ):
            apart = inputs.to(wide) - part[:, None].to(wide)
            total += (multiplier.to(wide).unflatten(0, (count, -1)) * apart).sum(0)
            change += (value.double() - base.double()).view(count, -1).sum(0)
    return total, change


def _leaf(x: Tensor) -> Tensor:
    """Values that a gradient can be asked for, also where x was made in inference mode."""
    with torch.inference_mode(False):
        return (x.clone() if x.is_inference() else x.detach()).requires_grad_()


def _leaves(operation: Operation) -> list[Tensor]:
    """The tensors that an operation was called with, in the order that they are put back."""
    leaves = pytree.tree_leaves((operation.args, dict(operation.kwargs)))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _broadcasts(references: list[Tensor], shapes: list[torch.Size]) -> bool:
    return len(references) == len(shapes) and all(
        one.ndim == len(shape) and all(a in (1, b) for a, b in zip(one.shape, shape, strict=True))
        for one, shape in zip(references, shapes, strict=True)
    )
