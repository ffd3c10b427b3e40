"""Parameter randomisation: does an explanation change when the model forgets what it has learnt?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.evaluation.randomization.similarity import Similarity, rank_similarity
from unmask.evaluation.randomization.smoothed import smoothed
from unmask.evaluation.randomization.weights import (
    Draw,
    Order,
    as_new,
    layers,
    redrawn,
    top_down,
    walk,
)
from unmask.internals import admit_any, module_of
from unmask.results import Rating
from unmask.score import Score

_SHUFFLES, _SHUFFLED = 64, 4096
"""How often explanations are shuffled for each random model, at most; and numbers in all."""


@method("adebayo2018sanity", "binder2023shortcomings")
def parameter_randomization(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    order: Order = top_down,
    draw: Draw = as_new,
    similarity: Similarity = rank_similarity,
    repeats: int = 5,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Draw the weights of more and more layers anew, and see how alike explanations stay.

    $$
    s_k = \frac1R \sum_{r=1}^R \mathrm{similarity}\bigl(A(F), A(F_{k, r})\bigr)
    $$

    F_{k, r} has random layers where the order says so at step k; at the last step L all are, and
    the rating is s_L: lower is better. An explanation that stays as it was tells nothing of what
    the model has learnt. The curve is s_0 to s_L, over the number of steps; s_0 is 1.

    The class that is explained stays what it was. Going down from the output, what the lower
    layers extract from the input is left to the last, so that similarity on the way is partly the
    architecture's, not the method's [binder2023shortcomings]. What is low, a
    comparison tells: see `sanity_checks`.

    Where a random model explains everything by the same number, as a dead one does, the draw is
    left out of the mean; where all do, or the model itself does, the rating is NaN.

    >>> from unmask.planted import linear_network
    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    >>> x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    >>> blind = parameter_randomization(score, x, explain=lambda _, x: Attribution(x.abs()))
    >>> blind.values.tolist()
    [1.0]

    Args:
        score: F, of a module.
        x: the inputs.
        explain: A.
        order: in which layers become random: `top_down`, `bottom_up` or `one_by_one`.
        draw: how: `as_new`, as torch does, or `like_moments`, as large as they were.
        similarity: of two explanations of the same input.
        repeats: R, random models.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
    """
    found = randomized(
        score, x, explain, {"": similarity}, order, draw, repeats, generator, batch_size
    )
    return found.rating("")


@method("hedstrom2023sanity")
def smooth_mprt(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    samples: int = 50,
    noise: float = 0.1,
    order: Order = top_down,
    draw: Draw = as_new,
    similarity: Similarity = rank_similarity,
    repeats: int = 5,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Randomise parameters, with each explanation averaged over noisy copies of its input.

    $$
    s_k = \frac1R \sum_{r=1}^R \mathrm{similarity}\bigl(\bar A(F), \bar A(F_{k, r})\bigr),
    \qquad \bar A(F, x) = \frac1n \sum_{j=1}^n A(F, x + \sigma \varepsilon_j)
    $$

    A gradient is rough, and rough maps are unlike for no reason of the model's. In the mean over
    noise (the same for all models and inputs) what they share shows. All else is as in
    `parameter_randomization`.

    >>> from unmask.planted import linear_network
    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    >>> x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    >>> smooth_mprt(score, x, explain=lambda _, x: Attribution(x.abs())).values.tolist()
    [1.0]

    Args:
        score: F, of a module.
        x: the inputs.
        explain: A.
        samples: n, noisy copies of each input.
        noise: sigma as a share of each input's range, from its least to its largest.
        order: in which layers become random: `top_down`, `bottom_up` or `one_by_one`.
        draw: how: `as_new`, as torch does, or `like_moments`, as large as they were.
        similarity: of two explanations of the same input.
        repeats: R, random models.
        generator: source of randomness.
        batch_size: copies that are explained at a time.
    """
    generator = admission.drawing(generator)
    smooth = smoothed(
        explain, samples=samples, noise=noise, generator=generator, batch_size=batch_size
    )
    found = randomized(
        score, x, smooth, {"": similarity}, order, draw, repeats, generator, batch_size
    )
    return found.rating("")


@dataclass(frozen=True)
class Randomized:
    """How alike explanations stay as layers become random, by the name of a similarity.

    Args:
        curves: over the steps, from none random to all.
        null: at the end, but with the explanation of the random model shuffled: what is left is
            chance. NaN where it was not wanted.
        floor: between explanations of two models that are both random; NaN of a single one. What
            they share is owed to the input, the architecture and the method.
        evaluations: inputs that the model was run on.
    """

    curves: Mapping[str, Float[Tensor, "inputs points"]]
    null: Mapping[str, Float[Tensor, " inputs"]]
    floor: Mapping[str, Float[Tensor, " inputs"]]
    evaluations: int | None

    def rating(self, name: str) -> Rating:
        """The last step of one of the curves.

        Args:
            name: of the similarity.
        """
        curve = self.curves[name]
        at = torch.arange(curve.shape[1], device=curve.device).to(curve)
        return Rating(curve[:, -1], False, curve, at, self.evaluations)


def randomized(
    score: Score,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    similarities: Mapping[str, Similarity],
    order: Order,
    draw: Draw,
    repeats: int,
    generator: torch.Generator | None,
    batch_size: int | None,
    *,
    compared: bool = False,
) -> Randomized:
    """Draw layers anew, step by step, and compare the explanations in several ways at once.

    Args:
        score: of a module.
        x: the inputs.
        explain: makes the explanations.
        similarities: of two explanations of the same input, by name.
        order: in which layers become random.
        draw: how.
        repeats: random models.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
        compared: whether the null and the floor are wanted as well; without, they are NaN.
    """
    admit_any(score, x, batch_size)
    model = module_of(score, "parameter randomisation")
    generator = admission.drawing(generator)
    if repeats < 1:
        raise ValueError(f"{repeats} random models are too few. Give at least 1.")
    parts = layers(model, x)
    steps = order(tuple(parts))
    if not steps or set(steps[-1]) != set(parts):
        raise ValueError(
            f"The order ends with {', '.join(steps[-1]) if steps else 'no step'}, but the layers "
            f"are {', '.join(parts)}. Let the last step be all of them, as in top_down."
        )
    counted = Counted(explain)
    here = explained(score, x, counted, batch_size=batch_size).values
    same = {name: alike(here, here) for name, alike in similarities.items()}
    # Of its own, so that the models do not hang on whether anything is shuffled.
    chance = torch.Generator().manual_seed(_seed(generator))
    means = {name: Mean() for name in similarities}
    nulls = {name: Mean() for name in similarities}
    floors = {name: Mean() for name in similarities}
    first = last = here
    for repeat in range(repeats):
        other = redrawn(model, parts, draw, generator)
        found = {name: [value] for name, value in same.items()}
        there = here
        for mixed in walk(model, other, parts, steps):
            there = explained(replace(score, model=mixed), x, counted, batch_size=batch_size).values
            for name, alike in similarities.items():
                found[name].append(alike(here, there))
        # Each random model against the next, and the last against the first: no more than three
        # explanations are kept at a time.
        pairs = [(last, there)] if repeat > 0 else []
        pairs += [(there, first)] if repeat > 1 and repeat == repeats - 1 else []
        first, last = there if repeat == 0 else first, there
        for name, alike in similarities.items():
            means[name].add(torch.stack(found[name], 1))
            for one, two in pairs if compared else ():
                floors[name].add(alike(one, two))
        for mixed_up in _shuffled(there, chance) if compared else ():
            for name, alike in similarities.items():
                nulls[name].add(alike(here, mixed_up))
    unknown = {name: torch.full_like(value, torch.nan) for name, value in same.items()}
    return Randomized(
        {name: mean.value for name, mean in means.items()},
        {name: mean.value for name, mean in nulls.items()} if compared else unknown,
        {name: mean.value for name, mean in floors.items()}
        if compared and repeats > 1
        else unknown,
        counted.evaluations,
    )


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


def _shuffled(values: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Explanations with their places exchanged at random, alike for all inputs.

    A few numbers are alike by chance more often than many, so they are shuffled more often.
    """
    flat = values.flatten(1)
    places = flat.shape[1]
    for _ in range(max(1, min(_SHUFFLES, _SHUFFLED // max(1, places)))):
        order = torch.randperm(places, generator=generator, device=generator.device)
        yield flat[:, order.to(flat.device)].view_as(values)


@dataclass
class Mean:
    """A mean of tensors that come one after the other. What is not a number is left out of it.

    Args:
        total: their sum so far.
        count: how many there were, number by number.
    """

    total: Tensor | None = None
    count: Tensor | None = None

    def add(self, values: Float[Tensor, "*shape"]) -> None:
        """One more.

        Args:
            values: of the same shape as those before.
        """
        known = (~values.isnan()).to(values)
        values = values.nan_to_num(0.0)
        self.total = values if self.total is None else self.total + values
        self.count = known if self.count is None else self.count + known

    @property
    def value(self) -> Tensor:
        """The mean; NaN where there was no number."""
        assert self.total is not None  # something was added
        assert self.count is not None
        return torch.where(self.count > 0, self.total / self.count, torch.nan)
