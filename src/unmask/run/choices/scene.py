"""One input among others, with the model that reads it: what choices look at."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask.admission import finite
from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened
from unmask.run.models.sentence import Sentence
from unmask.run.nearest import nearest
from unmask.run.plan import OWN
from unmask.zoo import Exhibit


@dataclass(frozen=True)
class Scene:
    """An input and its model.

    Args:
        opened: the model.
        material: all inputs.
        number: which of them this is.
    """

    opened: Opened
    material: Material
    number: int

    @cached_property
    def x(self) -> Shaped[Tensor, "*input"]:
        """The input, without a batch axis."""
        if self.number in self.material.unreadable:
            raise ValueError(self.material.unreadable[self.number])
        x = self.material.inputs[self.number]
        return x if self.opened.device is None else x.to(self.opened.device)

    @property
    def sentence(self) -> Sentence | None:
        """The input as a text, if it is one."""
        return self.material.sentences[self.number] if self.material.sentences else None

    def brought(self, what: str, ways: Iterable[str], *, with_input: bool = True) -> Exhibit:
        """The exhibit that brings score, players or baseline along.

        Args:
            what: is looked for.
            ways: the other ways to it, by name.
            with_input: whether it comes with the exhibit's own inputs only.
        """
        exhibit = self.opened.exhibit
        if exhibit is None or (with_input and self.material.kind != "given"):
            raise ValueError(
                f"The choice of {what} is {OWN!r}, but this {'input' if with_input else 'model'} "
                f"brings no {what} along. {nearest(OWN, [way for way in ways if way != OWN])}"
            )
        return exhibit

    def output(self) -> Float[Tensor, " classes"]:
        """What the model says of the input; of a language model, of the next token."""
        finite("The input", self.x)
        with torch.no_grad():
            output = self.opened.model(self.x[None].clone())  # it may work in place
        if not isinstance(output, Tensor):
            raise TypeError(
                f"The model returned a {type(output).__name__}, not one tensor. Wrap it in a "
                "function: `lambda x: model(x).logits`, or whichever part is meant."
            )
        if output.ndim == 3 and self.opened.causal:
            output = output[:, -1]
        if output.ndim == 1:
            output = output[:, None]
        if output.ndim != 2 or len(output) != 1:
            raise ValueError(
                f"For one input the model returned the shape {tuple(output.shape)}. "
                "Let it return one row of numbers per input: [batch, classes]."
            )
        if not output.isfinite().all():
            raise ValueError(
                f"The model returned {float(output[~output.isfinite()][0])} for this input. "
                "Look at the input's scale, and at what the model divides by."
            )
        return output[0].float()
