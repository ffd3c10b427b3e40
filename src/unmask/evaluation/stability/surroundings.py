"""What becomes of explanations close to an input: points about each, explained in batches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission, internals
from unmask.evaluation.explained import Explain, explained
from unmask.masking import cached_rows
from unmask.score import Score, predicted

Measure = Callable[
    [Int[Tensor, " rows"], Float[Tensor, "rows *input"], Float[Tensor, "rows values"]],
    Float[Tensor, " rows"],
]
"""How far an explanation has moved: of points made from these inputs, with what is said of them."""


@dataclass(frozen=True)
class Surroundings:
    """Inputs, what is said of them, and the means to ask what is said of points nearby.

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanations.
        here: those of the inputs.
        classes: that the model chooses for the inputs, if points of another do not count.
        rows: points that are explained at a time.
    """

    score: Score
    x: Float[Tensor, "inputs *input"]
    explain: Explain
    here: Float[Tensor, "inputs values"]
    classes: Int[Tensor, " inputs"] | None
    rows: int

    def of(
        self,
        points: Callable[
            [Int[Tensor, " rows"], Int[Tensor, " rows"]], Float[Tensor, "rows *input"]
        ],
        count: int,
        measure: Measure,
    ) -> Float[Tensor, "inputs points"]:
        """What is measured at each of the points of every input; NaN where one does not count.

        Args:
            points: the points of these numbers about these inputs.
            count: how many there are of each input.
            measure: what is asked of a point.
        """
        every = torch.arange(len(self.x) * count, device=self.x.device)
        parts = [
            self._measured(some // count, points(some // count, some % count), measure)
            for some in every.split(self.rows)
        ]
        return torch.cat(parts).view(len(self.x), count)

    def _measured(self, rows: Tensor, points: Tensor, measure: Measure) -> Tensor:
        found = self.here.new_full((len(rows),), torch.nan)
        kept = torch.ones_like(rows, dtype=torch.bool)
        if self.classes is not None:
            kept = chosen(self.score, points) == self.classes[rows]
        if kept.any():
            rows, points = rows[kept], points[kept]
            there = explained(self.score, points, self.explain, rows=rows).values.flatten(1)
            if there.shape[1:] != self.here.shape[1:]:
                raise ValueError(
                    f"The explanation of a changed input has {there.shape[1]} values, that of the "
                    f"input itself {self.here.shape[1]}. Explain both in the same way."
                )
            found[kept] = measure(rows, points, there).to(found)
        return found


def surroundings(
    score: Score,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    same_class: bool,
    batch_size: int | None,
) -> Surroundings:
    """Explain the inputs, and make ready to explain what lies about them.

    Args:
        score: what is explained.
        x: the inputs.
        explain: makes the explanations.
        same_class: whether points count only where the model chooses the class of their input.
        batch_size: points that are explained at a time.
    """
    admit(score, x, batch_size)
    rows = batch_size or cached_rows(x[0])
    here = explained(score, x, explain, batch_size=rows).values.flatten(1)
    classes = torch.cat([chosen(score, some) for some in x.split(rows)]) if same_class else None
    return Surroundings(score, x, explain, here, classes, rows)


def admit(score: Score, x: Float[Tensor, "batch *input"], batch_size: int | None) -> None:
    """Refuse what cannot be moved a little, and what no method takes."""
    internals.admit_any(score, x, batch_size)
    if not x.is_floating_point():
        raise TypeError(
            f"Only real numbers can be moved a little, but x holds {x.dtype}. For token ids, "
            "move the embeddings: wrap the model in unmask.internals.Embedded(model, ids, layer) "
            "and pass its embeddings() as x."
        )


@torch.inference_mode(False)
def chosen(score: Score, x: Float[Tensor, "batch *input"]) -> Int[Tensor, " batch"]:
    """The class that the model chooses for each input."""
    return predicted(score.model, x.clone())  # a model may work in place


def cube(
    x: Float[Tensor, "batch *input"], radius: float, samples: int, generator: torch.Generator | None
) -> Float[Tensor, "samples *input"]:
    """Steps to points of the cube about an input, the same steps for all inputs.

    Args:
        x: the inputs.
        radius: half of a side of the cube.
        samples: how many.
        generator: source of the draws.
    """
    within(radius)
    whole("samples", samples, 1)
    source = admission.drawing(generator)
    drawn = torch.rand(samples, *x.shape[1:], generator=source, device=source.device)
    return ((2 * drawn - 1) * radius).to(x)


def within(radius: float) -> None:
    """Refuse a radius in which nothing lies."""
    if not 0 < radius < float("inf"):
        raise ValueError(
            f"Points lie within a positive distance of an input, but the radius is {radius}. "
            "Give a small part of the range of the inputs."
        )


def whole(what: str, number: int, least: int) -> None:
    """Refuse a number of draws or steps that cannot be."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(
            f"`{what}` is how many there are, but got {number!r}. "
            f"Give a whole number from {least} on."
        )


def climbed(
    about: Surroundings,
    noise: Float[Tensor, "samples *input"],
    drawn: Float[Tensor, "inputs samples"],
    measure: Measure,
    radius: float,
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "inputs steps"]:
    """Go on from the best draw of each input, a random step at a time, never back.

    An explanation comes without a graph, so that its change has no gradient to follow. A step
    that leads up is made, and the next is bolder; after one that does not, the next is shorter.

    Args:
        about: the inputs.
        noise: the draws.
        drawn: what was measured there.
        measure: the same.
        radius: half of a side of the cube that is not left.
        steps: how many to try.
        generator: source of the directions.
    """
    whole("steps", steps, 0)
    best = drawn.nan_to_num(-torch.inf).max(1)
    height, offset = best.values, noise[best.indices]
    size = torch.full_like(height, radius / 2)
    wide = (-1, *[1] * (about.x.ndim - 1))
    tried = []
    for _ in range(steps):
        shape = about.x.shape[1:]
        direction = torch.randn(shape, generator=generator, device=generator.device).to(about.x)
        further = (offset + size.view(wide).to(offset) * direction).clamp(-radius, radius)
        found = _at(about, further, measure)
        tried.append(found)
        up = found > height  # False of NaN: a point of another class is never stepped on
        height = torch.where(up, found, height)
        offset = torch.where(up.view(wide), further, offset)
        size = torch.where(up, size * 1.5, size * 0.85).clamp(max=radius)
    return torch.stack(tried, 1) if tried else drawn[:, :0]


def _at(about: Surroundings, offset: Tensor, measure: Measure) -> Tensor:
    return about.of(lambda rows, _: about.x[rows] + offset[rows], 1, measure)[:, 0]


def highest(values: Float[Tensor, "inputs points"]) -> Float[Tensor, "inputs points"]:
    """The largest so far, point by point; NaN until one counts."""
    so_far = values.nan_to_num(-torch.inf).cummax(1).values
    return torch.where(so_far == -torch.inf, torch.nan, so_far)
