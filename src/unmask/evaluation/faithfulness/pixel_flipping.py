"""Pixel flipping: the score as the parts said to matter most are removed, one after the other."""

import torch
from jaxtyping import Float, Int
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
    curve = trial.ask(lambda rows, k: place[rows] >= removed.to(k.device)[k, None], len(removed))
    aopc = (curve[:, :1] - curve).mean(1)
    undefined = constant(values.abs() if absolute else values)
    return Rating(
        torch.where(undefined, torch.nan, aopc),
        not ascending,
        curve,
        removed.to(curve) / values.shape[1],
        evaluations=curve.numel(),
    )


def places(
    values: Float[Tensor, "inputs players"], ascending: bool = False
) -> Int[Tensor, "inputs players"]:
    """When each player is removed, counted from 0: the most relevant first, or the least.

    Args:
        values: of the players.
        ascending: whether the least relevant go first.
    """
    return values.argsort(dim=1, descending=not ascending, stable=True).argsort(1)


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
