"""What the methods of removal ask of their inputs before they run the model."""

from jaxtyping import Float, Shaped
from torch import Tensor

from unmask import admission
from unmask.score import Score


def admit(score: Score, x: Shaped[Tensor, "batch *input"], batch_size: int | None) -> None:
    """Refuse broken or empty inputs, a score of other inputs, and batches of nothing."""
    admit_model(score.model, x, batch_size)
    if score.targets not in (None, len(x)):
        raise ValueError(
            f"The {score.name} is of {score.targets} inputs, but x holds {len(x)}. "
            "Give one class, or one class per input."
        )


def admit_model(model: object, x: Shaped[Tensor, "batch *input"], batch_size: int | None) -> None:
    """The same where no score is read."""
    admission.finite("The input", x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(
            f"The batch is empty: x has shape {tuple(x.shape)}. Give at least one input, with "
            "the batch as the first axis."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"A batch of {batch_size} inputs is too small. Give at least 1.")
    admission.settled(model)


def refuse_broken(score: Score, values: Float[Tensor, " rows"]) -> None:
    """Refuse scores that are no numbers."""
    broken = ~values.isfinite()
    if broken.any():
        first = float(values[broken][0])
        raise ValueError(
            f"The {score.name} is {first} on {int(broken.sum())} of {len(values)} inputs with a "
            "part removed. Look at what the model returns there, or put something else in the "
            "place of what is removed."
        )
