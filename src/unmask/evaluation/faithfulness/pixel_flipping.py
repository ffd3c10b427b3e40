"""Pixel flipping: the score as the parts said to matter most are removed, one after the other."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating


@method("bach2015pixel", "samek2017evaluating")
def pixel_flipping(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    steps: int | None = None,
    ascending: bool = False,
    absolute: bool = False,
) -> Rating:
    r"""Remove players in the order of their attribution and watch the score.

    $$
    \mathrm{AOPC} = \frac{1}{L+1} \sum_{k=0}^{L} \bigl(F(x_0) - F(x_k)\bigr)
    $$

    x_0 is the whole input, and x_L what is left when all players are removed. The most relevant
    go first, so that a faithful explanation lets the score fall early: higher is better. With the
    least relevant first, lower is. Regions are players that own several positions each.

    The curve holds F(x_k), over the share of the players that is removed. An explanation that says
    the same of all players ranks none, and its rating is NaN. Ties go in the order of the players.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> pixel_flipping(trial, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))).values.tolist()
    [6.0]

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        steps: L, equal to within one player; by default one player at a time.
        ascending: whether the least relevant go first.
        absolute: whether players rank by the size of what is said of them, whatever its sign.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    removed = removals(values.shape[1], steps)
    place = places(values.abs() if absolute else values, ascending)
    curve = without(trial, place, removed)
    aopc = (curve[:, :1] - curve).mean(1)
    undefined = constant(values.abs() if absolute else values)
    return Rating(
        torch.where(undefined, torch.nan, aopc),
        not ascending,
        curve,
        removed.to(curve) / values.shape[1],
        evaluations=trial.each * curve.numel(),
    )


def places(
    values: Float[Tensor, "inputs players"], ascending: bool = False
) -> Int[Tensor, "inputs players"]:
    """When each player is removed, counted from 0: the most relevant first, or the least.

    Args:
        values: of the players.
        ascending: whether the least relevant go first.
    """
    order = values.argsort(dim=1, descending=not ascending, stable=True)
    counted = torch.arange(values.shape[1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, counted)


def removals(players: int, steps: int | None) -> Int[Tensor, " points"]:
    """How many players are removed at each point of a curve, from none to all.

    Args:
        players: how many there are.
        steps: from one point to the next; by default one for each player.
    """
    if steps is not None and not 1 <= steps <= players:
        raise ValueError(
            f"{players} players cannot be removed in {steps} steps. "
            f"Give a number from 1 to {players}."
        )
    count = players if steps is None else steps
    return torch.arange(count + 1) * players // count


def portions(players: int, shares: Sequence[float]) -> Int[Tensor, " shares"]:
    """How many players are nearest to each share of them, and one at least.

    Args:
        players: how many there are.
        shares: above 0, and 1 at most.
    """
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(
            f"Shares of the players lie above 0 and are 1 at most, but got {tuple(shares)}. "
            "Give some, such as (0.1, 0.5)."
        )
    wanted = torch.tensor([float(share) for share in shares], dtype=torch.float64)
    return (wanted * players).round().long().clamp_min(1)


def without(
    trial: Trial, place: Int[Tensor, "inputs players"], counts: Int[Tensor, " points"]
) -> Float[Tensor, "inputs points"]:
    """The scores when as many players as that are removed.

    Args:
        trial: the inputs.
        place: when each player is removed, counted from 0.
        counts: how many of them are.
    """
    return _at_counts(trial, counts, lambda rows, count: place[rows] >= count)


def only(
    trial: Trial, place: Int[Tensor, "inputs players"], counts: Int[Tensor, " points"]
) -> Float[Tensor, "inputs points"]:
    """The scores when no more players than that are left.

    Args:
        trial: the inputs.
        place: when each player is put in, counted from 0.
        counts: how many of them are.
    """
    return _at_counts(trial, counts, lambda rows, count: place[rows] < count)


def _at_counts(
    trial: Trial,
    counts: Int[Tensor, " points"],
    left: Callable[[Tensor, Tensor], Bool[Tensor, "batch players"]],
) -> Float[Tensor, "inputs points"]:
    # Of few players several shares are the same number, and the model is asked once.
    distinct, where = counts.unique(return_inverse=True)
    curve = trial.ask(lambda rows, k: left(rows, distinct.to(k.device)[k, None]), len(distinct))
    return curve[:, where.to(curve.device)]
