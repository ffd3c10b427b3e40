"""What an explanation says of sets of players, against what the trial says of them."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import comb

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.association import constant, pearson
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.lattice import coalitions
from unmask.results import Attribution, Rating

_AT_ONCE = 2**22
"""Entries of the masks that are held at a time. Which sets are drawn depends on it, so that it
must not depend on the batch."""


@method("bhatt2020evaluating")
def faithfulness_correlation(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    samples: int = 100,
    size: int | None = None,
    generator: torch.Generator | None = None,
) -> Rating:
    r"""Remove random sets of players: does the score fall where the explanation says so?

    $$
    \rho = \mathrm{corr}_{S,\ |S| = s} \Bigl( \sum_{i \in S} a_i,\ v(N) - v(N \setminus S) \Bigr)
    $$

    1 is best; the sums need not have the right scale. Where there are no more sets of that size
    than samples, each is taken once and nothing is left to chance. All inputs share the sets.
    One size of set asks for one context: with few removed the interactions among them are hardly
    seen, `sensitivity_n` looks at several sizes. NaN where one of the two is the same for all sets,
    up to rounding.

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 2.0, 1.0]), tuple("abcd"))
    >>> right = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> round(faithfulness_correlation(game, right, size=2).mean, 6)
    1.0

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        samples: sets that are drawn.
        size: s; by default a fifth of the players.
        generator: source of the sets.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    n = values.shape[1]
    size = max(1, round(n / 5)) if size is None else _admitted(size, n)
    drawn = sets_of(n, size, _enough(samples, 2), admission.drawing(generator))
    told, scores = told_and_found(trial, values, drawn)
    return Rating(_agreement(values, told, scores), True, evaluations=trial.each * scores.numel())


@method("alvarezmelis2018towards")
def faithfulness_estimate(trial: Trial | Game, attribution: Attribution) -> Rating:
    r"""Remove each player by itself: does the score fall as the explanation says?

    $$
    \rho = \mathrm{corr}_i \bigl( a_i,\ v(N) - v(N \setminus \{i\}) \bigr)
    $$

    1 is best. A player whose part another one can play changes nothing when it is removed alone:
    an explanation that names both of two such players is punished here. Of two players the
    correlation can only be 1 or -1. NaN where all players are said, or found, to be alike.

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 2.0, 1.0]), tuple("abcd"))
    >>> faithfulness_estimate(game, Attribution(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))).mean
    -1.0

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    scores = without_each(trial)
    return Rating(_agreement(values, values, scores), True, evaluations=trial.each * scores.numel())


@method("ancona2018towards")
def sensitivity_n(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    sizes: tuple[int, ...] | None = None,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> Rating:
    r"""The faithfulness correlation of sets of each size.

    $$
    \rho_s = \mathrm{corr}_{S,\ |S| = s} \Bigl( \sum_{i \in S} a_i,\ v(N) - v(N \setminus S) \Bigr)
    $$

    The curve holds it over s, and the rating is its mean over the sizes at which it has a meaning.
    An explanation is 1 at all sizes, and complete, if and only if the score is additive; where
    players interact none can be. At s = 1 what an explanation must be is the effect of removing
    each player alone. Packages differ: Quantus removes players in the order of their attribution
    and correlates over inputs, which is another question.

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 2.0, 1.0]), tuple("abcd"))
    >>> found = sensitivity_n(game, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]])))
    >>> found.at.tolist(), [round(one, 6) for one in found.curve[0].tolist()]
    ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        sizes: s; by default up to ten of them, from 1 to four fifths of the players, evenly on a
            logarithmic scale.
        samples: sets that are drawn of each size.
        generator: source of the sets.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    n = values.shape[1]
    _enough(samples, 2)
    generator = admission.drawing(generator)
    if sizes is None:
        steps = torch.logspace(0, 1, 10, base=max(1, int(0.8 * n)), dtype=torch.float64)
        sizes = tuple(steps.round().long().unique().tolist())
    elif not sizes:
        raise ValueError("There are no sizes of sets: sizes is (). Give one at least.")
    curve, asked = [], 0
    for size in sizes:
        drawn = sets_of(n, _admitted(size, n), samples, generator)
        told, scores = told_and_found(trial, values, drawn)
        curve.append(_agreement(values, told, scores))
        asked += scores.numel()
    rho = torch.stack(curve, 1)
    return Rating(
        rho.nanmean(1), True, rho, torch.tensor(sizes).to(rho), evaluations=trial.each * asked
    )


@method("yeh2019fidelity")
def surrogate_r2(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    samples: int = 512,
    generator: torch.Generator | None = None,
) -> Rating:
    r"""Take the explanation for a model, a sum over the players that are left: how well does it do?

    $$
    R^2 = 1 - \frac{\sum_S \bigl(v(S) - v(\emptyset) - \sum_{i \in S} a_i\bigr)^2}
                   {\sum_S \bigl(v(S) - \bar v\bigr)^2}
    $$

    1 is best; 0 is no better than the mean score, and an explanation on the wrong scale may be far
    below. S is a random coalition, in which each player is with a chance of a half; where there are
    no more than samples, all are taken once. Of many players hardly any S is nearly empty or whole,
    so that this asks what players do amid half of the others. Where they interact, no explanation
    reaches 1: the product of two players is explained to 1/3 by their Shapley values. NaN where the
    score is the same for all coalitions, up to rounding.

    >>> product = Game(lambda own: 6.0 * own.all(1).double(), ("a", "b"))
    >>> round(surrogate_r2(product, Attribution(torch.tensor([[3.0, 3.0]]))).mean, 6)
    0.333333

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        samples: coalitions that are drawn.
        generator: source of the coalitions.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    n = values.shape[1]
    drawn = any_sets(n, _enough(samples, 2), admission.drawing(generator))
    told, scores = told_and_found(trial, values, drawn)
    nothing = trial.under(torch.zeros(1, n, dtype=torch.bool))
    wide = scores.double()
    # What is removed is told; what is left is the rest of the sum.
    left = nothing.double() + values.double().sum(1, keepdim=True) - told
    error = (wide - left).square().sum(1)
    spread = (wide - wide.mean(1, keepdim=True)).square().sum(1)
    r2 = torch.where(level(scores), torch.nan, 1 - error / spread)
    return Rating(r2, True, evaluations=trial.each * (scores.numel() + nothing.numel()))


def sets_of(
    players: int, size: int, samples: int, generator: torch.Generator
) -> Iterator[Bool[Tensor, "sets players"]]:
    """Random sets of one size, some at a time; all there are, where these are no more.

    Args:
        players: how many to choose from.
        size: of each set.
        samples: sets.
        generator: source of the sets.
    """
    if comb(players, size) <= samples:
        chosen = torch.tensor(list(combinations(range(players), size)))
        yield torch.zeros(len(chosen), players, dtype=torch.bool).scatter_(1, chosen, True)
        return
    for some in _portions(players, samples):
        chance = torch.rand(some, players, generator=generator, device=generator.device)
        yield torch.zeros_like(chance, dtype=torch.bool).scatter_(
            1, chance.topk(size).indices, True
        )


def any_sets(
    players: int, samples: int, generator: torch.Generator
) -> Iterator[Bool[Tensor, "sets players"]]:
    """Random sets of any size, each player in it or not; all there are, where these are no more.

    Args:
        players: how many to choose from.
        samples: sets.
        generator: source of the sets.
    """
    if players < 63 and 2**players <= samples:
        yield coalitions(players)
        return
    for some in _portions(players, samples):
        chance = torch.rand(some, players, generator=generator, device=generator.device)
        yield chance < 0.5


def told_and_found(
    trial: Trial,
    values: Float[Tensor, "inputs players"],
    sets: Iterable[Bool[Tensor, "sets players"]],
) -> tuple[Float[Tensor, "inputs sets"], Float[Tensor, "inputs sets"]]:
    """What an explanation says of sets together, and the scores when they are removed.

    Args:
        trial: the inputs.
        values: what is said of each player.
        sets: who is removed.
    """
    wide = values.double()
    told, scores = [], []
    for removed in sets:
        told.append(wide @ removed.to(wide.device, wide.dtype).T)
        scores.append(trial.under(~removed).to(wide.device))
    return torch.cat(told, 1), torch.cat(scores, 1)


def without_each(trial: Trial) -> Float[Tensor, "inputs players"]:
    """The scores when each player is removed by itself.

    Args:
        trial: the inputs.
    """
    n = len(trial.names)
    return trial.ask(lambda _, one: torch.arange(n, device=one.device) != one[:, None], n)


def level(scores: Float[Tensor, "inputs numbers"]) -> Bool[Tensor, " inputs"]:
    """Which rows hold the same number again and again, but for rounding.

    Args:
        scores: in the type in which they were computed.
    """
    spread = scores.amax(1) - scores.amin(1)
    return spread <= rounding(scores)


def rounding(scores: Float[Tensor, "inputs numbers"]) -> Float[Tensor, " inputs"]:
    """How far a score may be off: a few of the last digits of the largest one.

    Args:
        scores: in the type in which they were computed.
    """
    return 8 * torch.finfo(scores.dtype).eps * scores.abs().amax(1)


def _agreement(values: Tensor, told: Tensor, scores: Tensor) -> Float[Tensor, " inputs"]:
    """The correlation of what is told with the fall of the score, which is level where it is."""
    rho = pearson(told, -scores)
    return torch.where(constant(values) | level(scores), torch.nan, rho)


def _portions(players: int, samples: int) -> Iterator[int]:
    at_once = max(1, _AT_ONCE // players)
    for done in range(0, samples, at_once):
        yield min(at_once, samples - done)


def _admitted(size: int, players: int) -> int:
    if not 1 <= size < players:
        raise ValueError(
            f"Sets of {size} of {players} players cannot be told apart or do not exist. "
            f"Give a size from 1 to {players - 1}."
        )
    return size


def _enough(samples: int, least: int) -> int:
    if samples < least:
        raise ValueError(f"{samples} sets tell nothing. Draw samples={least} at least.")
    return samples
