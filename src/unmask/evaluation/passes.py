"""How often a model is run to make an explanation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor, nn

from unmask.evaluation.explained import Explain, explained
from unmask.score import Score


@dataclass
class Passes:
    """What was run through a model.

    Args:
        forward: inputs.
        backward: inputs whose gradient was taken.
    """

    forward: int = 0
    backward: int = 0

    @property
    def units(self) -> int:
        """A backward pass costs two forward ones."""
        return self.forward + 2 * self.backward

    def note(self, output: object) -> None:
        """Count a call of the model, and the gradients that will be asked of it.

        Args:
            output: of the model.
        """
        if not isinstance(output, Tensor):
            return
        count = len(output)
        self.forward += count
        if output.requires_grad:
            output.register_hook(lambda _: self._back(count))

    def _back(self, count: int) -> None:
        self.backward += count


def passes_of(
    score: Score,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    *,
    batch_size: int | None = None,
) -> tuple[Passes, Float[Tensor, "batch ..."]]:
    """Explain, and count: the passes, and the explanation itself.

    Counted are calls of the model as a whole. What a method does with its layers alone is not
    seen, nor what it reads off the parameters.

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanation.
        batch_size: inputs that are explained at a time.
    """
    passes = Passes()
    with counted(score.model, passes) as model:
        values = explained(replace(score, model=model), x, explain, batch_size=batch_size).values
    return passes, values


@contextmanager
def counted(
    model: Callable[[Tensor], Tensor], passes: Passes
) -> Iterator[Callable[[Tensor], Tensor]]:
    """A model whose calls are counted; a module keeps its layers for methods that look inside.

    Args:
        model: any.
        passes: what is added to.
    """
    if isinstance(model, nn.Module):
        handle = model.register_forward_hook(lambda *call: passes.note(call[-1]))
        try:
            yield model
        finally:
            handle.remove()
        return

    def watched(x: Tensor) -> Tensor:
        output = model(x)
        passes.note(output)
        return output

    yield watched
