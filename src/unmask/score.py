"""A score: a model read as one number per input."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor
from torch.nn import functional

Target = int | np.integer | Integer[Tensor, "*batch"]
"""A class, or one class per input."""

Reader = Callable[[Tensor, Int[Tensor, " batch"] | None], Float[Tensor, " batch"]]
"""What turns an output of the model into numbers, given the input each row came from."""


@dataclass(frozen=True)
class Score:
    """A model and the one number that is read from its output for each input.

    A method that multiplies rows (masks, noise, nodes of a path) passes `rows`, the index of the
    input that each row was made from, so that a score with one class per input reads the right
    one. Sums within a score are taken in float32 at least, whatever the model's dtype.
    """

    model: Callable[[Tensor], Tensor]
    read: Reader
    name: str = "score"
    targets: int | None = None
    """How many inputs have a class of their own; None where all share one."""

    def __call__(
        self,
        x: Shaped[Tensor, "batch *input"],
        rows: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        return self.of(self.output(x), rows)

    def at(self, rows: Int[Tensor, " batch"]) -> "Score":
        """The score of a batch that is made from inputs, to be read without saying from which.

        Args:
            rows: the input that each row of the batch was made from.
        """

        def read(output: Tensor, made_from: Tensor | None) -> Tensor:
            chosen = rows.to(output.device)
            return self.read(output, chosen if made_from is None else chosen[made_from])

        own = None if self.targets is None else len(rows)
        return Score(self.model, read, self.name, own)

    def __getattr__(self, name: str) -> NoReturn:
        """Tell whoever gives a score to a method of a game how to make one."""
        if name in ("names", "table"):
            raise TypeError(
                f"A method of a game was given a score, the {self.name}. "
                "Make a game of it: masked(score, x, players, baseline)."
            )
        raise AttributeError(f"A score has no {name!r}.")

    def output(self, x: Shaped[Tensor, "batch *input"]) -> Shaped[Tensor, "batch ..."]:
        """What the model puts out, still to be read."""
        if x.ndim == 0 or len(x) == 0:
            raise ValueError(
                f"The batch is empty: x has shape {tuple(x.shape)}. Give at least one input, with "
                "the batch as the first axis."
            )
        output = self.model(x)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"A score reads one tensor, but the model returned a {type(output).__name__}. "
                "Wrap the model: `lambda x: model(x).logits`, or whichever part is meant."
            )
        if output.ndim == 0 or len(output) != len(x):
            raise ValueError(
                f"The model returned shape {tuple(output.shape)} for {len(x)} inputs. "
                "Return one row per input."
            )
        return output

    def of(
        self, output: Shaped[Tensor, "batch ..."], rows: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, " batch"]:
        """The number that is read from each row of the model's output."""
        values = self.read(output, rows)
        if values.shape != output.shape[:1]:
            raise ValueError(
                f"A score is one number per input, but for {len(output)} inputs the reading has "
                f"shape {tuple(values.shape)}. Read a single number from each row of the output."
            )
        if not values.is_floating_point():
            raise TypeError(
                f"A score is a real number per input, but the reading holds {values.dtype}. "
                "Read the logits that a class or a decision is made from."
            )
        return _wide(values)


def logit(model: Callable[[Tensor], Tensor], target: Target) -> Score:
    r"""Read the model's output for a class as it is.

    $$
    v(x) = z_y(x)
    $$

    Args:
        model: gives a row of logits z per input, or a single number (then y is 0).
        target: y, one class for all inputs or one class per input.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        return _pick(_rows_of_numbers(output), target, rows)

    return Score(model, read, f"logit of {_named(target)}", _own(target))


def log_odds(model: Callable[[Tensor], Tensor], target: Target) -> Score:
    r"""Read how strongly the model prefers a class to all the others together.

    $$
    v(x) = \log \frac{p_y}{1 - p_y} = z_y - \log \sum_{c \ne y} e^{z_c}
    $$

    Unlike a probability it does not saturate, so interactions of high order are not an artefact
    of the scale. A model with one output z stands for two classes: v = z for y = 1, -z for y = 0.

    Args:
        model: gives a row of logits z per input.
        target: y, one class for all inputs or one class per input.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        return _log_odds(_rows_of_numbers(output), target, rows)

    return Score(model, read, f"log-odds of {_named(target)}", _own(target))


def probability(model: Callable[[Tensor], Tensor], target: Target) -> Score:
    r"""Read the probability of a class.

    $$
    v(x) = p_y = \frac{e^{z_y}}{\sum_c e^{z_c}}
    $$

    A model with one output z stands for two classes, of probability sigmoid(z) for y = 1.

    Args:
        model: gives a row of logits z per input.
        target: y, one class for all inputs or one class per input.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        return _pick(_two_sided(_rows_of_numbers(output)).softmax(-1), target, rows)

    return Score(model, read, f"probability of {_named(target)}", _own(target))


def margin(model: Callable[[Tensor], Tensor], target: int, other: int) -> Score:
    r"""Read by how much the logit of one class exceeds that of another.

    $$
    v(x) = z_y(x) - z_o(x)
    $$

    Args:
        model: gives a row of logits z per input.
        target: y.
        other: o.
    """
    target, other = index(target), index(other)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        z = _two_sided(_rows_of_numbers(output))
        return _pick(z, target, rows) - _pick(z, other, rows)

    return Score(model, read, f"margin of class {target} over class {other}")


def loss(model: Callable[[Tensor], Tensor], target: Target) -> Score:
    r"""Read the cross-entropy, in nats, of each input's own label.

    $$
    v(x) = -\log p_y(x)
    $$

    Args:
        model: gives a row of logits per input.
        target: y, one class per input, or one for all.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        z = _two_sided(_rows_of_numbers(output))
        return functional.cross_entropy(z, _classes(z, target, rows), reduction="none")

    return Score(model, read, "cross-entropy", _own(target))


def correct(model: Callable[[Tensor], Tensor], target: Target) -> Score:
    r"""Read whether the model chooses a class: 1 if it does, else 0. The mean is an accuracy.

    $$
    v(x) = [\arg\max_c z_c(x) = y]
    $$

    Args:
        model: gives a row of logits z per input.
        target: y, one class per input, or one for all.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        z = _two_sided(_rows_of_numbers(output))
        return (z.argmax(1) == _classes(z, target, rows)).to(z)

    return Score(model, read, f"choice of {_named(target)}", _own(target))


def token_log_odds(
    model: Callable[[Tensor], Tensor], target: Target, *, position: int = -1
) -> Score:
    r"""Read how strongly a language model prefers a token at one position.

    $$
    v(x) = z_y - \log \sum_{c \ne y} e^{z_c}, \qquad z = \mathrm{logits}(x)_{\mathrm{position}}
    $$

    Args:
        model: gives logits of shape [batch, tokens, vocabulary].
        target: y, one token for all prompts or one token per prompt.
        position: where the logits are read; -1 is the next token after the prompt.
    """
    target = _settled(target)

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        if output.ndim != 3:
            raise ValueError(
                "token_log_odds reads logits of shape [batch, tokens, vocabulary], but the model "
                f"returned {tuple(output.shape)}. For one row of logits per input use log_odds."
            )
        if not -output.shape[1] <= position < output.shape[1]:
            raise ValueError(
                f"Position {position} is out of range: the model returned {output.shape[1]} "
                "positions. Count from 0, or back from -1."
            )
        return _log_odds(_wide(output[:, position]), target, rows)

    named = f"token {target}" if isinstance(target, int) else "each prompt's token"
    return Score(model, read, f"log-odds of {named}", _own(target))


@torch.no_grad()
def predicted(
    model: Callable[[Tensor], Tensor], x: Shaped[Tensor, "batch *input"]
) -> Int[Tensor, " batch"]:
    """The classes that the model chooses, to be passed as target.

    Of a language model's logits [batch, tokens, vocabulary] the last position is read.
    """
    output = model(x)
    if output.ndim == 3:
        output = output[:, -1]
    return _two_sided(_rows_of_numbers(output)).argmax(-1)


def _log_odds(z: Tensor, target: int | Tensor, rows: Tensor | None) -> Tensor:
    z = _two_sided(z)
    if z.shape[1] == 2 and isinstance(target, int):
        return _pick(z, target, rows) - z[:, 1 - target]  # the sum over others has one term
    y = _classes(z, target, rows)[:, None]
    others = z.scatter(1, y, -torch.inf)
    return z.gather(1, y)[:, 0] - others.logsumexp(1)


def _rows_of_numbers(output: Tensor) -> Float[Tensor, "batch classes"]:
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim != 2:
        raise ValueError(
            "This score reads one row of numbers per input, but the model returned shape "
            f"{tuple(output.shape)}. Reduce it to [batch, classes]; for the logits of a language "
            "model use token_log_odds."
        )
    return _wide(output)


def _wide(output: Tensor) -> Tensor:
    """Half precision is enough for a layer, not for a difference of logits."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def _two_sided(z: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch classes"]:
    """One output is the log-odds of class 1: give class 0 the logit zero."""
    return torch.cat([torch.zeros_like(z), z], dim=1) if z.shape[1] == 1 else z


def _pick(z: Float[Tensor, "batch classes"], target: int | Tensor, rows: Tensor | None) -> Tensor:
    if isinstance(target, int):
        _in_range(target, z.shape[1])
        return z[:, target]
    return z.gather(1, _classes(z, target, rows)[:, None])[:, 0]


def _classes(z: Tensor, target: int | Tensor, rows: Tensor | None) -> Int[Tensor, " batch"]:
    """The class to read from each row of the output, checked."""
    count = z.shape[1]
    if isinstance(target, int):
        _in_range(target, count)
        return torch.full((len(z),), target, device=z.device)
    classes = target.to(z.device)
    if rows is not None:
        classes = classes[rows]
    if classes.shape != (len(z),):
        raise ValueError(
            f"There are {len(z)} inputs, but target has shape {tuple(target.shape)}. "
            "Give one class, or one class per input."
        )
    _in_range(int(classes.min()), count)
    _in_range(int(classes.max()), count)
    return classes


def _settled(target: Target) -> int | Tensor:
    """A whole number, or whole numbers of the type that torch indexes by."""
    if isinstance(target, Tensor) and target.ndim > 0 and not target.is_floating_point():
        return target.long()
    if not isinstance(target, Tensor) or target.ndim == 0:
        try:
            return index(target)  # pyright: ignore[reportArgumentType] - refused below
        except TypeError:
            pass
    raise TypeError(
        f"A target is a class, counted from 0, but got {target!r}. "
        "Give a whole number, or one whole number per input."
    )


def _own(target: int | Tensor) -> int | None:
    return None if isinstance(target, int) else len(target)


def _in_range(target: int, count: int) -> None:
    if not 0 <= target < count:
        raise ValueError(
            f"Class {target} is out of range: the model has {count} outputs. "
            f"Give a target from 0 to {count - 1}."
        )


def _named(target: int | Tensor) -> str:
    return f"class {target}" if isinstance(target, int) else "each input's class"
