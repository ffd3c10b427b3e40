"""The rules of relevance propagation, as values: how a layer shares out what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.methods.saliency.propagation.backward import ratio

Bound = float | Tensor
"""The lowest or highest that an input can be; a tensor must broadcast to the inputs."""


def same(w: Tensor) -> Tensor:
    """The weights as they are."""
    return w


def _above(w: Tensor) -> Tensor:
    return w.clamp(min=0)


def _below(w: Tensor) -> Tensor:
    return w.clamp(max=0)


def _ones(a: Tensor, _low: Tensor, _high: Tensor) -> Tensor:
    return torch.ones_like(a)


@dataclass(frozen=True)
class Part:
    r"""One way of weighing contributions, and how much of the relevance is shared out by it.

    A contribution a w has two signs that matter. `weights` says what an input above zero meets; by
    mirror symmetry one below zero meets $-f(-w)$, so that $a f(w)$ is large for the same sign of
    the contribution.

    Args:
        weights: f.
        share: of the relevance of an output.
        sign: of what is summed up, or 0 where that can have either.
        own: whether this is for the outputs of that sign alone.
    """

    weights: Callable[[Tensor], Tensor]
    share: float = 1.0
    sign: int = 0
    own: bool = False

    def mirrored(self, w: Tensor) -> Tensor:
        """What inputs below zero meet."""
        return -self.weights(-w)

    def relevance(self, z: Tensor, g: Tensor) -> Tensor:
        """That of the outputs that this is for, activation times gradient; zero for the others."""
        if not self.own:
            return z * g
        return (z.clamp(min=0) if self.sign > 0 else z.clamp(max=0)).mul_(g)


@dataclass(frozen=True)
class Rule:
    """How an affine layer shares its relevance out among its inputs, by their contributions.

    Args:
        name: as people call it.
        parts: what is summed up.
        epsilon: moves denominators away from zero, and keeps as much relevance back.
        zero_bias: leaves the bias out of the denominators, so that it absorbs nothing.
        renormalise: hands the share of a part that has no contributions to the others.
    """

    name: str
    parts: tuple[Part, ...]
    epsilon: float = 1e-6
    zero_bias: bool = False
    renormalise: bool = False

    def __post_init__(self) -> None:
        if not self.epsilon >= 0:
            raise ValueError(
                f"The epsilon of the rule {self.name} is {self.epsilon}. Give 0 or more: it moves "
                "denominators away from zero."
            )

    @property
    def plain(self) -> bool:
        """Whether the contributions are those of the forward pass itself."""
        return len(self.parts) == 1 and self.parts[0].weights is same and not self.zero_bias


@dataclass(frozen=True)
class InputRule:
    """How a layer that reads the input shares its relevance out, also to pixels that are zero.

    Args:
        name: as people call it.
        terms: pairs of a function of (a, lowest a, highest a) and one of w, whose products are the
            contributions.
        low: the lowest that an input can be.
        high: the highest.
        epsilon: moves denominators away from zero.
    """

    name: str
    terms: tuple[tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]], ...]
    low: Bound | None = None
    high: Bound | None = None
    epsilon: float = 1e-6

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds in the shape of the inputs, which must lie within."""
        if self.low is None or self.high is None:
            return x, x
        ends = [torch.as_tensor(bound).to(x) for bound in (self.low, self.high)]
        try:
            low, high = (end.expand_as(x) for end in ends)
        except RuntimeError:
            raise ValueError(
                f"A box of shape {tuple(ends[0].shape)} and {tuple(ends[1].shape)} does not fit "
                f"inputs of shape {tuple(x.shape)}. Give numbers, or tensors that broadcast to x."
            ) from None
        slack = 1e-6 * (ends[1] - ends[0]).abs().max().clamp(min=1)
        outside = (x < low - slack) | (x > high + slack)
        if outside.any():
            place = tuple(outside.nonzero()[0].tolist())
            raise ValueError(
                f"The box reaches from {float(low[place]):g} to {float(high[place]):g} at index "
                f"{place}, but x is {float(x[place]):g} there ({int(outside.sum())} such values in "
                "all). Give the lowest and highest values that an input can have."
            )
        return low, high


@dataclass(frozen=True)
class Rules:
    """Which rule holds for which layer.

    Args:
        convolution: for convolutions, transposed ones too.
        dense: for layers that join everything with everything.
        first: for the layers that read the input, through no other affine layer.
        named: by dotted name of a layer, for all inside it; goes before the others.
    """

    convolution: Rule
    dense: Rule
    first: Rule | InputRule | None = None
    named: Mapping[str, Rule | InputRule] = field(default_factory=dict)


def epsilon(epsilon: float = 1e-6, *, zero_bias: bool = False) -> Rule:
    """By contribution, a w / (z + epsilon sign z)."""
    return Rule("epsilon", (Part(same),), epsilon, zero_bias)


def zero(*, zero_bias: bool = False) -> Rule:
    """By contribution, a w / z: unstable where contributions cancel."""
    return Rule("zero", (Part(same),), 0.0, zero_bias)


def gamma(gamma: float = 0.25, *, epsilon: float = 1e-6, zero_bias: bool = False) -> Rule:
    """By contribution, those of the sign of the output counted (1 + gamma) times.

    For inputs of both signs this is the generalised rule; for inputs above zero and an output
    above zero it is a (w + gamma w+) as published.
    """
    if not gamma >= 0:
        raise ValueError(f"The rule gamma was given {gamma}. Give 0 or more.")
    parts = (
        Part(lambda w: torch.add(w, w.clamp(min=0), alpha=gamma), sign=1, own=True),
        Part(lambda w: torch.add(w, w.clamp(max=0), alpha=gamma), sign=-1, own=True),
    )
    return Rule("gamma", parts, epsilon, zero_bias)


def alpha_beta(
    alpha: float = 2.0,
    beta: float = 1.0,
    *,
    epsilon: float = 1e-6,
    zero_bias: bool = False,
    renormalise: bool = False,
) -> Rule:
    """Contributions above zero share alpha of the relevance, those below zero -beta of it.

    An output without contributions below zero hands on alpha times its relevance, and nothing
    takes the surplus off; `renormalise` gives it alpha = 1 instead.
    """
    if beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise ValueError(
            f"The rule alpha-beta was given alpha = {alpha} and beta = {beta}. Give a beta of 0 or "
            "more and alpha = 1 + beta, so that relevance is kept."
        )
    parts = (Part(_above, alpha, 1), Part(_below, -beta, -1))[: 2 if beta else 1]
    return Rule("alpha-beta", parts, epsilon, zero_bias, renormalise)


def z_plus(*, epsilon: float = 1e-6, zero_bias: bool = False) -> Rule:
    """Contributions above zero share everything; an output that has none loses its relevance."""
    return Rule("z+", (Part(_above, sign=1),), epsilon, zero_bias)


def w_square(*, epsilon: float = 1e-6) -> InputRule:
    """By the square of the weight: for inputs without bounds."""
    return InputRule("w^2", ((_ones, torch.square),), epsilon=epsilon)


def flat(*, epsilon: float = 1e-6) -> InputRule:
    """To all inputs of an output alike."""
    return InputRule("flat", ((_ones, torch.ones_like),), epsilon=epsilon)


def box(low: Bound, high: Bound, *, epsilon: float = 1e-6) -> InputRule:
    """By contribution, less that of the corner of the box which speaks most against the output.

    Args:
        low: the lowest that an input of the model can be, before anything is done to it.
        high: the highest.
        epsilon: moves denominators away from zero.
    """
    if bool((torch.as_tensor(low) > torch.as_tensor(high)).any()):
        raise ValueError(
            f"The box of the z^B rule reaches from {low} to {high}. Give the lowest value first."
        )
    terms = (
        (lambda a, low, high: a - low, _above),
        (lambda a, low, high: a - high, _below),
    )
    return InputRule("z^B", terms, low, high, epsilon)


EPSILON = Rules(epsilon(), epsilon())
EPSILON_PLUS = Rules(z_plus(), epsilon())
EPSILON_PLUS_FLAT = Rules(z_plus(), epsilon(), first=flat())
ALPHA2_BETA1 = Rules(alpha_beta(), epsilon())
ALPHA2_BETA1_FLAT = Rules(alpha_beta(), epsilon(), first=flat())
DEEP_TAYLOR = Rules(z_plus(), z_plus(), first=w_square())


def epsilon_gamma_box(low: Bound, high: Bound) -> Rules:
    """Gamma for convolutions, epsilon for dense layers, z^B at pixels: for pictures."""
    return Rules(gamma(), epsilon(), first=box(low, high))


def deep_taylor_box(low: Bound, high: Bound) -> Rules:
    """Deep Taylor decomposition of inputs with bounds."""
    return Rules(z_plus(), z_plus(), first=box(low, high))


def quotient(r: Tensor, z: Tensor, epsilon: float, sign: int = 0) -> Tensor:
    """Relevance over a denominator that is moved away from zero by epsilon; written over it.

    Where both are zero there are no contributions, and nothing is handed on. New memory would cost
    more than all the arithmetic here.

    Args:
        r: relevance.
        z: the denominator, which is lost.
        epsilon: by how much.
        sign: that z has wherever r is not zero, if that is known.
    """
    if epsilon == 0:
        return z.copy_(ratio(r, z))
    if sign == 0:
        z.add_(torch.copysign(torch.tensor(epsilon, dtype=z.dtype, device=z.device), z))
    elif sign > 0:
        z.clamp_(min=0).add_(epsilon)
    else:
        z.clamp_(max=0).sub_(epsilon)
    return torch.div(r, z, out=z)


def kept(g: Tensor, z: Tensor, epsilon: float) -> Tensor:
    """What the rule epsilon leaves of a gradient, g z / (z + epsilon sign z), in new memory."""
    if epsilon == 0:
        return g.clone()
    size = z.abs().add_(epsilon)
    return torch.addcdiv(g, g, size, value=-epsilon, out=size)
