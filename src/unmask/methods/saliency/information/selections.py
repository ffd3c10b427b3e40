"""Ways to learn which words to select, though a choice has no gradient."""

from dataclasses import dataclass
from math import log
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_LOW, _HIGH = -0.1, 1.1
"""The interval to which a Kumaraswamy variable is stretched before it is cut to [0, 1]."""


@runtime_checkable
class Selection(Protocol):
    """Draws selections z of words whose logits are given; a word is selected where they are
    positive, when nothing is drawn."""

    def draw(
        self, logits: Float[Tensor, "rows tokens"], uniform: Float[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens"]:
        """A selection for each row, made of uniform numbers."""
        ...

    def share(self, logits: Float[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens"]:
        """The probability that a word is not left out."""
        ...

    def credit(
        self, logits: Float[Tensor, "rows tokens"], z: Float[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens"] | None:
        """The log-probability of each choice, where the choice itself has no gradient."""
        ...


@dataclass(frozen=True)
class Reinforce:
    """Choices without a gradient; those that turned out well are made likelier, as published."""

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        return (uniform < logits.sigmoid()).to(logits)

    def share(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def credit(self, logits: Tensor, z: Tensor) -> Tensor | None:
        return functional.logsigmoid(torch.where(z > 0.5, logits, -logits))


@dataclass(frozen=True)
class StraightThrough:
    """Hard choices with the gradient of soft ones, by the Gumbel trick.

    Args:
        temperature: of the soft choices.
    """

    temperature: float = 1.0

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        soft = ((logits + uniform.logit(1e-6)) / self.temperature).sigmoid()
        return (soft > 0.5).to(soft) + soft - soft.detach()

    def share(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def credit(self, logits: Tensor, z: Tensor) -> Tensor | None:
        return None


@dataclass(frozen=True)
class HardKuma:
    """Choices between 0 and 1 that often are exactly 0 or 1, and have a gradient.

    A Kumaraswamy variable with a = exp(logit / 2) and b = exp(-logit / 2), a family of one
    parameter of the published two, is stretched to (-0.1, 1.1) and cut to [0, 1].
    """

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        a, b = self._shape(logits)
        rest = torch.exp(torch.log1p(-uniform.clamp(1e-6, 1 - 1e-6)) / b)  # (1 - u)^(1 / b)
        kuma = torch.exp(torch.log1p(-rest.clamp(max=1 - 1e-6)) / a)
        return (_LOW + (_HIGH - _LOW) * kuma).clamp(0, 1)

    def share(self, logits: Tensor) -> Tensor:
        a, b = self._shape(logits)
        return torch.exp(b * torch.log1p(-torch.exp(a * log(-_LOW / (_HIGH - _LOW)))))

    def credit(self, logits: Tensor, z: Tensor) -> Tensor | None:
        return None

    def _shape(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        half = logits.clamp(-8, 8) / 2
        return half.exp(), (-half).exp()


def omega(
    share: Float[Tensor, "rows tokens"],
    there: Bool[Tensor, "rows tokens"],
    length: float,
    breaks: float,
) -> Float[Tensor, " rows"]:
    r"""What a selection costs: $\lambda_1 \sum_t z_t + \lambda_2 \sum_t |z_t - z_{t-1}|$.

    Of independent choices this is the expectation, exactly; of choices that were made, the cost.
    No break is counted at either end of a text, nor against padding.

    Args:
        share: z, or the probability that it is not zero.
        there: where there are words.
        length: lambda_1.
        breaks: lambda_2.
    """
    q = torch.where(there, share, 0.0)
    one, next_ = q[:, :-1], q[:, 1:]
    changes = (one * (1 - next_) + next_ * (1 - one)) * (there[:, :-1] & there[:, 1:])
    return length * q.sum(1) + breaks * changes.sum(1)
