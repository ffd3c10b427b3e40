"""Max-sensitivity: the farthest that an explanation moves when the input is moved a little."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.stability.surroundings import (
    Measure,
    Surroundings,
    climbed,
    cube,
    highest,
    surroundings,
)
from unmask.results import Rating
from unmask.score import Score


@method("yeh2019fidelity")
def max_sensitivity(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    radius: float = 0.02,
    samples: int = 10,
    steps: int = 0,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""How far an explanation moves at most when the input is moved a little.

    $$
    \max_{\lVert y - x \rVert_\infty \le r}
    \frac{\lVert \Phi(y) - \Phi(x) \rVert}{\lVert \Phi(x) \rVert}
    $$

    The maximum is sought at points that are drawn evenly from the cube, so what is found is a
    lower bound: say of how many points. `curve` is what had been found after each point, and still
    rises where they were too few. The steps look on from the best of them at random.

    Low is stable, which is not yet good: an explanation that says the same of every input is the
    most stable of all. It is NaN where an explanation is zero, or where no point keeps the class.

    >>> from unmask import Attribution, logit
    >>> rating = max_sensitivity(
    ...     logit(lambda x: x, 0), torch.tensor([[3.0, 4.0]]), radius=0.1, samples=200, steps=200,
    ...     explain=lambda score, x: Attribution(x), same_class=False,
    ... )
    >>> round(rating.mean, 4)  # at a corner: 0.1 times the root of two, of a length of five
    0.0283

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanation Phi.
        radius: r, in the units of x.
        samples: points about each input; the steps to them are the same for all inputs.
        steps: further points, each a random step on from the best so far.
        same_class: whether points count only where the model chooses the class that it does for x.
        generator: source of the points.
        batch_size: points that are explained at a time, by default what a processor's cache holds.
    """
    generator = admission.drawing(generator)
    about = surroundings(score, x, explain, same_class, batch_size)
    measure = _relative(about)
    noise = cube(x, radius, samples, generator)
    drawn = _drawn(about, noise, measure)
    further = climbed(about, noise, drawn, measure, radius, steps, generator)
    curve = highest(torch.cat([drawn, further], 1))
    at = torch.arange(1, curve.shape[1] + 1).to(curve)
    return Rating(curve[:, -1], higher_is_better=False, curve=curve, at=at)


@method("yeh2019fidelity", "bhatt2020evaluating")
def average_sensitivity(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    radius: float = 0.02,
    samples: int = 10,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""How far an explanation moves on average when the input is moved a little.

    $$
    \mathbb{E}_{y \sim U(\lVert y - x \rVert_\infty \le r)}
    \frac{\lVert \Phi(y) - \Phi(x) \rVert}{\lVert \Phi(x) \rVert}
    $$

    Unlike the maximum it does not grow with the number of points. `curve` is the mean over the
    points so far. It is NaN where an explanation is zero, or where no point keeps the class.

    >>> from unmask import Attribution, logit
    >>> rating = average_sensitivity(
    ...     logit(lambda x: x, 0), torch.tensor([[4.0]]), radius=0.1, samples=10_000,
    ...     explain=lambda score, x: Attribution(x), same_class=False,
    ... )
    >>> round(rating.mean, 3)  # half of the radius, of a length of four: 0.0125
    0.012

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanation Phi.
        radius: r, in the units of x.
        samples: points about each input; the steps to them are the same for all inputs.
        same_class: whether points count only where the model chooses the class that it does for x.
        generator: source of the points.
        batch_size: points that are explained at a time, by default what a processor's cache holds.
    """
    about = surroundings(score, x, explain, same_class, batch_size)
    drawn = _drawn(about, cube(x, radius, samples, generator), _relative(about))
    known = ~drawn.isnan()
    curve = drawn.nan_to_num(0).double().cumsum(1) / known.cumsum(1)
    curve = curve.to(drawn.dtype)
    at = torch.arange(1, samples + 1).to(curve)
    return Rating(curve[:, -1], higher_is_better=False, curve=curve, at=at)


def _drawn(about: Surroundings, noise: Tensor, measure: Measure) -> Float[Tensor, "inputs points"]:
    return about.of(lambda rows, k: about.x[rows] + noise[k], len(noise), measure)


def _relative(about: Surroundings) -> Measure:
    length = about.here.norm(dim=1)
    length = torch.where(length > 0, length, torch.nan)  # what says nothing cannot move by a share
    return lambda rows, _, there: (there - about.here[rows]).norm(dim=1) / length[rows]
