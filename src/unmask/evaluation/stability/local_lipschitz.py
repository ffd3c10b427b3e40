"""Local Lipschitz estimate: how fast an explanation moves as the input does."""

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


@method("alvarezmelis2018robustness")
def local_lipschitz(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    radius: float = 0.1,
    samples: int = 200,
    steps: int = 0,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""How fast an explanation moves at most as the input moves a little.

    $$
    \max_{\lVert y - x \rVert_\infty \le r}
    \frac{\lVert \Phi(y) - \Phi(x) \rVert_2}{\lVert y - x \rVert_2}
    $$

    Of the gradient of a smooth model this is, for small r, the largest curvature: the spectral norm
    of its Hessian. The units are those of the explanation over those of the input, so compare
    explanations of one kind, or use `max_sensitivity`.

    Points are drawn evenly from the cube, so what is found is a lower bound, and a loose one in
    many dimensions, where few directions are the steep ones. `curve` is what had been found after
    each point. It is NaN where no point keeps the class.

    >>> from unmask import Attribution, logit
    >>> rating = local_lipschitz(
    ...     logit(lambda x: x, 0), torch.tensor([[1.0, 2.0]]), steps=100,
    ...     explain=lambda score, x: Attribution(x * torch.tensor([3.0, 1.0])),
    ... )
    >>> round(rating.mean, 2)
    3.0

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
    measure = _speed(about)
    noise = cube(x, radius, samples, generator)
    drawn = about.of(lambda rows, k: about.x[rows] + noise[k], samples, measure)
    further = climbed(about, noise, drawn, measure, radius, steps, generator)
    curve = highest(torch.cat([drawn, further], 1))
    at = torch.arange(1, curve.shape[1] + 1).to(curve)
    return Rating(curve[:, -1], higher_is_better=False, curve=curve, at=at)


def _speed(about: Surroundings) -> Measure:
    def measure(rows: Tensor, points: Tensor, there: Tensor) -> Tensor:
        # The way from x to the point as rounding left it; where it left none there is no speed.
        wide = about.here.dtype
        way = (points.to(wide) - about.x[rows].to(wide)).flatten(1).norm(dim=1)
        moved = (there - about.here[rows]).norm(dim=1)
        return torch.where(way > 0, moved / way, torch.nan)

    return measure
