"""Infidelity: how far the score is from moving as an explanation says it does."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission, internals
from unmask.card import method
from unmask.evaluation.faithfulness.faithfulness_correlation import any_sets, told_and_found
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.masking import cached_rows
from unmask.results import Attribution, Rating
from unmask.score import Score

Perturbation = Callable[[Tensor, torch.Generator], Tensor]
"""One draw of I for all inputs, shaped like them, to be taken off. Inputs should share the draw:
draw in the shape of one of them."""


@dataclass(frozen=True)
class GaussianNoise:
    """Normal noise on every position, the same for all inputs.

    Args:
        deviation: its standard deviation; by default a fifth of each input's range.
    """

    deviation: float | None = None

    def __call__(
        self, x: Float[Tensor, "batch *input"], generator: torch.Generator
    ) -> Float[Tensor, "batch *input"]:
        drawn = torch.randn(x.shape[1:], generator=generator, device=generator.device)
        if self.deviation is not None:
            return (self.deviation * drawn).to(x).expand_as(x)
        flat = x.flatten(1)
        span = (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.ndim - 1))
        return 0.2 * span * drawn.to(x)


@dataclass(frozen=True)
class RandomSquare:
    """Removal of a square of the image, at the same random place of all inputs.

    Args:
        side: of the square.
        baseline: what stands there then.
    """

    side: int
    baseline: float = 0.0

    def __call__(
        self, x: Float[Tensor, "batch *input"], generator: torch.Generator
    ) -> Float[Tensor, "batch *input"]:
        height, width = x.shape[-2:]
        if x.ndim < 3 or not 1 <= self.side <= min(height, width):
            raise ValueError(
                f"A square with a side of {self.side} does not fit inputs of shape "
                f"{tuple(x.shape[1:])}. Give images, and a side that fits into them."
            )
        rooms = torch.tensor([height, width]) - self.side + 1
        chance = torch.rand(2, generator=generator, device=generator.device).cpu()
        top, left = (chance * rooms).long().tolist()
        taken = torch.zeros_like(x)
        square = (..., slice(top, top + self.side), slice(left, left + self.side))
        taken[square] = x[square] - self.baseline
        return taken


@method("yeh2019fidelity")
def infidelity(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    attribution: Attribution,
    perturbation: Perturbation | None = None,
    samples: int = 100,
    normalized: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Move the inputs a little: how far is the score from moving as the explanation says?

    $$
    \mathrm{INFD} = E_I \Bigl[ \Bigl( \sum_i I_i\, a_i - \bigl( F(x) - F(x - I) \bigr) \Bigr)^2
    \Bigr]
    $$

    0 is best. The attribution is taken for a slope, in units of the score per unit of the input:
    that is what gradients are. One that shares out the score, such as integrated gradients or
    Shapley values, is judged by `removal_infidelity`. The answer depends on the perturbation at
    least as much as on the explanation, and its square on the scale of the score; normalized, the
    attribution is first brought to the scale that fits best:

    $$
    \beta = E[(I \cdot a)\, d] \,/\, E[(I \cdot a)^2], \qquad d = F(x) - F(x - I)
    $$

    >>> from unmask import logit
    >>> from unmask.planted import linear_network
    >>> weights = torch.tensor([4.0, 3.0, 2.0, 1.0])
    >>> score, x = logit(linear_network(weights), 0), torch.ones(1, 4)
    >>> infidelity(score, x, attribution=Attribution(weights[None])).mean < 1e-9
    True

    Args:
        score: F; of a class of each input's own, or of one for all.
        x: the inputs.
        attribution: a, shaped like the inputs.
        perturbation: draws I; by default normal noise of a fifth of each input's range.
        samples: draws.
        normalized: whether the attribution is first brought to the best scale.
        generator: source of the draws.
        batch_size: inputs in one call of the model.
    """
    internals.admit_any(score, x, batch_size)
    if not x.is_floating_point():
        raise TypeError(
            f"Noise is added to real numbers, but x holds {x.dtype}. "
            "Remove parts of such inputs instead: removal_infidelity(trial, attribution)."
        )
    if samples < 1:
        raise ValueError(f"{samples} draws tell nothing. Give samples=1 at least.")
    slope = _slope(x, attribution)
    generator = admission.drawing(generator)
    draw = GaussianNoise() if perturbation is None else perturbation
    rows = batch_size or cached_rows(x[0])
    whole = _scores(score, x.detach(), torch.arange(len(x), device=x.device), rows)
    together = max(1, rows // len(x))  # draws that fill a call of the model
    told, found = [], []
    for done in range(0, samples, together):
        count = min(together, samples - done)
        taken = torch.cat([_drawn(draw, x, generator) for _ in range(count)])
        moved = x.detach().repeat(count, *[1] * (x.ndim - 1)) - taken
        # Rounding may take off something else than was drawn.
        step = (x.detach().to(slope) - moved.view(count, *x.shape).to(slope)).flatten(2)
        told.append((step * slope.flatten(1)).sum(2, dtype=torch.float64))
        index = torch.arange(len(x), device=x.device).repeat(count)
        after = _scores(score, moved, index, rows).view(count, len(x))
        found.append(whole.double() - after.double())
    said, fall = torch.cat(told), torch.cat(found)
    if normalized:
        size = said.square().mean(0)
        said = said * torch.where(size > 0, (said * fall).mean(0) / size, 0)
    values = (said - fall).square().mean(0)
    return Rating(values, False, evaluations=len(x) * (samples + 1))


@method("yeh2019fidelity")
def removal_infidelity(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    samples: int = 512,
    generator: torch.Generator | None = None,
) -> Rating:
    r"""Remove random sets of players: how far is the score from falling by what is said of them?

    $$
    \mathrm{INFD} = E_S \Bigl[ \Bigl( \sum_{i \in S} a_i - \bigl( v(N) - v(N \setminus S) \bigr)
    \Bigr)^2 \Bigr]
    $$

    0 is best. It is the infidelity of explanations that share out the score. Each player is in S
    with a chance of a half; where there are no more sets than samples, all are taken once. It is in
    squares of the unit of the score, so that only explanations of the same score compare.

    >>> product = Game(lambda own: 6.0 * own.all(1).double(), ("a", "b"))
    >>> removal_infidelity(product, Attribution(torch.tensor([[3.0, 3.0]]))).mean
    4.5

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        samples: sets that are drawn.
        generator: source of the sets.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    if samples < 1:
        raise ValueError(f"{samples} sets tell nothing. Give samples=1 at least.")
    n = values.shape[1]
    drawn = any_sets(n, samples, admission.drawing(generator))
    told, scores = told_and_found(trial, values, drawn)
    whole = trial.under(torch.ones(1, n, dtype=torch.bool)).to(told)
    error = (told - (whole - scores)).square().mean(1)
    asked = trial.each * (scores.numel() + whole.numel())
    return Rating(error, False, evaluations=asked)


def _slope(x: Tensor, attribution: Attribution) -> Tensor:
    """What is said of every position, checked, in float32 at least."""
    if not isinstance(attribution, Attribution):
        raise TypeError(
            f"A metric rates an Attribution, but got a {type(attribution).__name__}. "
            "Wrap the values: Attribution(values)."
        )
    values = attribution.values.detach()
    admission.finite("The attribution", values)
    if values.shape != x.shape:
        raise ValueError(
            f"The attribution has shape {tuple(values.shape)}, but the inputs {tuple(x.shape)}. "
            "Give a value per position."
        )
    return values.to(x.device, torch.promote_types(values.dtype, torch.float32))


def _drawn(draw: Perturbation, x: Tensor, generator: torch.Generator) -> Tensor:
    taken = draw(x.detach(), generator)
    if not isinstance(taken, Tensor) or taken.shape != x.shape:
        raise ValueError(
            f"The perturbation is {tuple(taken.shape) if isinstance(taken, Tensor) else taken!r}, "
            f"but the inputs have shape {tuple(x.shape)}. Return what is to be taken off each."
        )
    admission.finite("The perturbation", taken)
    return taken.detach().to(x)


@torch.inference_mode(False)
@torch.no_grad()
def _scores(score: Score, points: Tensor, rows: Tensor, size: int) -> Float[Tensor, " batch"]:
    """The score of each point; a model that works in place is lent a copy."""
    parts = [
        score(some.clone(), index)
        for some, index in zip(points.split(size), rows.split(size), strict=True)
    ]
    values = torch.cat(parts)
    internals.refuse_broken(score, values)
    return values
