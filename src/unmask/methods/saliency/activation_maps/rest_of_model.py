"""A model from one of its layers on: what comes before is run once and never again."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask import internals
from unmask.internals import edit, module_of
from unmask.score import Score

Call = tuple[nn.Module, Tensor]
"""A call of a module, and what it put out."""


@dataclass(frozen=True)
class RestOfModel:
    """The score as a function of what a layer puts out.

    Args:
        score: F.
        x: the inputs.
        rows: which inputs of the score these are.
        layer: of the model, by name.
        output: what the layer puts out on x, by itself.
        values: the score of x.
        calls: how often the layer is called in one run; the last call counts.
        before: the calls of modules that are over when the layer is done, in order; their outputs
            stand in for them. None where the model has to be run as a whole.
        reaches: whether any of that is used after the layer, so that it is kept.
        evaluations: inputs that the model was run on to get so far.
    """

    score: Score
    x: Float[Tensor, "batch *input"]
    rows: Int[Tensor, " batch"]
    layer: str
    output: Float[Tensor, "batch *layer"]
    values: Float[Tensor, " batch"]
    calls: int
    before: tuple[Call, ...] | None
    reaches: bool
    evaluations: int

    def __call__(
        self, z: Float[Tensor, "points *layer"], which: Int[Tensor, " points"]
    ) -> Float[Tensor, " points"]:
        """The score where the layer puts out z instead, of copies of the inputs.

        Args:
            z: in place of the layer's output.
            which: the input of x that each row of z belongs to.
        """
        x = self.x[which]
        if self.before is not None:
            return self._from_layer(self.before, x, z, which)
        passed = iter(range(1, self.calls + 1))

        def instead(output: Tensor) -> Tensor:
            return z.clone() if next(passed) == self.calls else output

        with edit(module_of(self.score, ""), {self.layer: instead}):
            return self.score(x, self.rows[which])

    def _from_layer(
        self, before: Sequence[Call], x: Tensor, z: Tensor, which: Tensor
    ) -> Float[Tensor, " points"]:
        queues: dict[nn.Module, deque[Tensor]] = {}
        for module, output in before:
            of_rows = output[which] if self.reaches else output.expand(len(z), *output.shape[1:])
            queues.setdefault(module, deque()).append(of_rows)
        last = queues[before[-1][0]]
        last[-1] = z.clone()  # what comes next may work in place
        with ExitStack() as patches:
            for module, queue in queues.items():
                patches.enter_context(_answering(module, queue))
            values = self.score(x, self.rows[which])
        if last:
            raise RuntimeError(f"Layer {self.layer!r} was passed by.")
        return values


def rest_of_model(
    score: Score,
    x: Float[Tensor, "batch *input"],
    layer: str,
    rows: Int[Tensor, " batch"] | None = None,
) -> RestOfModel:
    """Run a model once and keep what it takes to run it again from a layer on.

    A module that has finished before the layer has need not run again: its output is put in its
    place. Mostly nothing of it reaches past the layer; then it is not kept either, and a row of
    NaN stands there, which takes no memory and would not go unnoticed. Where a shortcut does reach
    past the layer the outputs are kept. Either way is tried on what the layer really puts out, and
    taken only if that gives the score of the whole model again; if neither does, as where a model
    works in place on what was kept, the whole model is run every time.

    Of a layer that is called several times in one run, the last call counts.

    Args:
        score: F, of a module.
        x: the inputs.
        layer: a dotted name.
        rows: which inputs of the score these are; without them, all in their order.
    """
    model = module_of(score, "A method that changes a layer")
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    with torch.no_grad():
        values, output, times, over = _recorded(score, model, x, layer, rows)
        rest = RestOfModel(score, x, rows, layer, output, values, times, None, True, len(x))
        if any(made.shape[:1] != x.shape[:1] for _, made in over):
            return rest
        ways = [(True, over)]
        if all(made.is_floating_point() for _, made in over):  # there is no NaN of whole numbers
            ways = [(False, tuple((module, _unknown(made)) for module, made in over)), *ways]
        for reaches, before in ways:
            tried = replace(rest, before=before, reaches=reaches)
            rest = replace(rest, evaluations=rest.evaluations + 2 * len(x))
            if _same(tried):
                return replace(tried, evaluations=rest.evaluations)
    return rest


def _same(rest: RestOfModel) -> bool:
    """Whether the rest of the model, fed with what the layer puts out, does what the whole does."""
    all_of_it = torch.arange(len(rest.x), device=rest.x.device)
    try:
        # Twice, as a model that works in place on what was kept may be right the first time.
        rest(rest.output, all_of_it)
        values = rest(rest.output, all_of_it)
    except Exception:  # whatever is wrong, the whole model does without it or says it better
        return False
    room = min(
        256 * torch.finfo(rest.output.dtype).eps, 0.05
    )  # as a rule they are equal bit by bit
    return torch.allclose(
        values, rest.values, rtol=room, atol=room * float(rest.values.abs().max())
    )


def _recorded(
    score: Score, model: nn.Module, x: Tensor, layer: str, rows: Tensor
) -> tuple[Tensor, Tensor, int, tuple[Call, ...]]:
    """The score, what the layer puts out and how often, and the outermost calls over by then."""
    over: list[Call] = []
    starts: list[int] = []
    kept: list[tuple[Tensor, tuple[Call, ...]]] = []
    wanted = internals.layer(model, layer)

    def begin(_module: nn.Module, _inputs: object) -> None:
        starts.append(len(over))

    def end(module: nn.Module, _inputs: object, output: Any) -> None:
        del over[starts.pop() :]  # what it called inside need not be known
        over.append((module, output if isinstance(output, Tensor) else x[:0]))
        if module is wanted:
            kept.append((output.clone(), tuple(over)))

    with ExitStack() as hooks:
        hooks.enter_context(edit(model, {layer: lambda output: output}))  # refuses tuples
        for module in model.modules():
            hooks.callback(module.register_forward_pre_hook(begin).remove)
            hooks.callback(module.register_forward_hook(end).remove)
        values = score(x, rows)
    if not kept:
        raise ValueError(
            f"Layer {layer!r} is never called on these inputs. Name a layer that the model passes "
            "through on its way to this score."
        )
    if not values.isfinite().all():
        raise ValueError(
            f"The {score.name} of {int((~values.isfinite()).sum())} of {len(x)} inputs is not "
            "finite. Look at what the model computes on them: a root or a logarithm of zero, or a "
            "number too large for its type."
        )
    output, calls = kept[-1]
    return values, output, len(kept), calls


def _unknown(output: Tensor) -> Tensor:
    """One row of NaN, shaped like those of an output, in one number of memory."""
    return output[:0].new_full((), torch.nan).expand(1, *output.shape[1:])


@contextmanager
def _answering(module: nn.Module, answers: deque[Tensor]) -> Iterator[None]:
    """Let a module give these answers without running, and run again when they are used up."""
    own, run = "forward" in vars(module), module.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        return answers.popleft() if answers else run(*inputs, **named)

    answer: Callable[..., Any] = forward
    module.forward = answer
    try:
        yield
    finally:
        if own:
            module.forward = run
        else:
            del module.forward
