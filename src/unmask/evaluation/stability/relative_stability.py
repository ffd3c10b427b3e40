"""Relative stability: how far an explanation moves for each step of input, output or layer."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import internals
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.stability.surroundings import Surroundings, cube, highest, surroundings
from unmask.results import Rating
from unmask.score import Score


@method("agarwal2022rethinking")
def relative_stability(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    radius: float = 0.1,
    samples: int = 200,
    least: float = 1e-6,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""By what share an explanation changes for each share by which the input does.

    $$
    \mathrm{RIS}(x) = \max_{\lVert y - x \rVert_\infty \le r}
    \frac{\lVert (\Phi(x) - \Phi(y)) / \Phi(x) \rVert_2}
         {\max\bigl(\lVert (x - y) / x \rVert_2, \epsilon\bigr)}
    $$

    Shares are taken number by number, and one that is nearly zero is taken for epsilon. So
    a pixel that is black, or that hardly counts in the explanation, rules the result: read it for
    tables, and doubt it for pictures. What is found is a lower bound, as of few points.

    >>> from unmask import Attribution, logit
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> rating = relative_stability(
    ...     logit(lambda x: x, 0), x, explain=lambda score, x: Attribution(5 * x), samples=8
    ... )
    >>> round(rating.mean, 4)
    1.0

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanation Phi.
        radius: r, in the units of x.
        samples: points about each input; the steps to them are the same for all inputs.
        least: epsilon, below which nothing is divided by.
        same_class: whether points count only where the model chooses the class that it does for x.
        generator: source of the points.
        batch_size: points that are explained at a time, by default what a processor's cache holds.
    """
    about = surroundings(score, x, explain, same_class, batch_size)
    noise = cube(x, radius, samples, generator)

    def read(points: Tensor) -> Tensor:
        return points.flatten(1)

    return _rated(about, noise, read, _share, least)


@method("agarwal2022rethinking")
def relative_output_stability(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    radius: float = 0.1,
    samples: int = 200,
    least: float = 1e-6,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""By what share an explanation changes for each step by which the outputs do.

    $$
    \mathrm{ROS}(x) = \max_{\lVert y - x \rVert_\infty \le r}
    \frac{\lVert (\Phi(x) - \Phi(y)) / \Phi(x) \rVert_2}
         {\max\bigl(\lVert h(x) - h(y) \rVert_2, \epsilon\bigr)}
    $$

    h are all outputs of the model, its logits. An explanation may move where the model does, and
    this does not hold that against it, as a step of the input would.

    >>> from unmask import Attribution, logit
    >>> x = torch.tensor([[2.0]])
    >>> rating = relative_output_stability(
    ...     logit(lambda x: 4 * x, 0), x, explain=lambda score, x: Attribution(x), samples=8
    ... )
    >>> round(rating.mean, 4)  # a share of a half for each step of four
    0.125

    Args:
        score: what is explained, of the model that gives h.
        x: the inputs.
        explain: makes the explanation Phi.
        radius: r, in the units of x.
        samples: points about each input; the steps to them are the same for all inputs.
        least: epsilon, below which nothing is divided by.
        same_class: whether points count only where the model chooses the class that it does for x.
        generator: source of the points.
        batch_size: points that are explained at a time, by default what a processor's cache holds.
    """
    about = surroundings(score, x, explain, same_class, batch_size)
    noise = cube(x, radius, samples, generator)

    @torch.inference_mode(False)
    @torch.no_grad()
    def read(points: Tensor) -> Tensor:
        return score.output(points.clone()).reshape(len(points), -1)  # of one number too

    return _rated(about, noise, read, _step, least)


@method("agarwal2022rethinking")
def relative_representation_stability(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    layer: str,
    explain: Explain,
    radius: float = 0.1,
    samples: int = 200,
    least: float = 1e-6,
    same_class: bool = True,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""By what share an explanation changes for each share by which a layer does.

    $$
    \mathrm{RRS}(x) = \max_{\lVert y - x \rVert_\infty \le r}
    \frac{\lVert (\Phi(x) - \Phi(y)) / \Phi(x) \rVert_2}
         {\max\bigl(\lVert (h(x) - h(y)) / h(x) \rVert_2, \epsilon\bigr)}
    $$

    h is what the layer puts out. A neuron that is silent at x and wakes nearby counts as a share
    of its activity over epsilon, a very large one, so that of layers behind a ReLU the result is
    close to zero. Choose a layer before it.

    >>> from unmask import Attribution, logit
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1))
    >>> rating = relative_representation_stability(
    ...     logit(model, 0), torch.tensor([[2.0]]), layer="0", samples=8,
    ...     explain=lambda score, x: Attribution(x), same_class=False,
    ... )
    >>> round(rating.mean, 3)
    1.0

    Args:
        score: what is explained, of the model that has the layer.
        x: the inputs.
        layer: whose output is h.
        explain: makes the explanation Phi.
        radius: r, in the units of x.
        samples: points about each input; the steps to them are the same for all inputs.
        least: epsilon, below which nothing is divided by.
        same_class: whether points count only where the model chooses the class that it does for x.
        generator: source of the points.
        batch_size: points that are explained at a time, by default what a processor's cache holds.
    """
    model = internals.module_of(score, "relative_representation_stability")
    internals.layer(model, layer)
    about = surroundings(score, x, explain, same_class, batch_size)
    noise = cube(x, radius, samples, generator)

    @torch.inference_mode(False)
    @torch.no_grad()
    def read(points: Tensor) -> Tensor:
        with internals.record(model, [layer]) as outputs:
            score.output(points.clone())
        return outputs[layer].flatten(1).clone()

    return _rated(about, noise, read, _share, least)


def _rated(
    about: Surroundings,
    noise: Float[Tensor, "samples *input"],
    read: Callable[[Tensor], Tensor],
    apart: Callable[[Tensor, Tensor, float], Tensor],
    least: float,
) -> Rating:
    """The largest share of the explanation over how far apart two readings are."""
    if not least > 0:
        raise ValueError(
            f"Nothing is divided by less than `least`, which must be positive, but got {least}. "
            "Give a small number, such as 1e-6."
        )
    wide = about.here.dtype
    before = torch.cat([read(some) for some in about.x.split(about.rows)]).to(wide)

    def measure(rows: Tensor, points: Tensor, there: Tensor) -> Tensor:
        moved = _share(about.here[rows], there, least)
        way = apart(before[rows], read(points).to(wide), least)
        return moved / way.clamp(min=least)

    drawn = about.of(lambda rows, k: about.x[rows] + noise[k], len(noise), measure)
    curve = highest(drawn)
    at = torch.arange(1, len(noise) + 1).to(curve)
    return Rating(curve[:, -1], higher_is_better=False, curve=curve, at=at)


def _share(here: Tensor, there: Tensor, least: float) -> Float[Tensor, " rows"]:
    return ((here - there) / here.abs().clamp(min=least)).norm(dim=1)


def _step(here: Tensor, there: Tensor, least: float) -> Float[Tensor, " rows"]:
    return (here - there).norm(dim=1)
