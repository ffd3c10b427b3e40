"""Deletion and insertion: the area under the score as parts are taken away, or put back."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.faithfulness.faithfulness_correlation import rounding
from unmask.evaluation.faithfulness.pixel_flipping import only, places, removals, without
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating


@method("petsiuk2018rise")
def deletion(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    steps: int | None = None,
    normalized: bool = True,
) -> Rating:
    r"""Take the players away, the most relevant first, and measure what is left of the score.

    $$
    \mathrm{AUC} = \int_0^1 c(t)\, dt, \qquad
    c(t) = \frac{F(x_{\setminus t}) - F(x_{\setminus 1})}{F(x) - F(x_{\setminus 1})}
    $$

    Where the share t of the players is removed, the input is x without t. The integral is that of
    straight lines between the points. A faithful explanation lets the score fall at once: lower is
    better. c goes from 1 to 0, so that inputs of high and of low scores count alike; it may leave
    these bounds on the way. If the score is the same with all players and with none, up to
    rounding, it means nothing, and the rating is NaN, as it is if the explanation ranks no player
    before another. Without the division it is the plain area, which is also known as selectivity.

    The papers read a probability, and remove to zero.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> deletion(trial, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))).values.tolist()
    [0.375]

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        steps: points after the first, equal to within one player; by default one player at a time.
        normalized: whether c runs from 1 to 0, or is F itself.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    removed = removals(values.shape[1], steps)
    curve = without(trial, places(values), removed)
    at = removed.to(curve) / values.shape[1]
    return _area(trial, values, curve, at, curve[:, :1], curve[:, -1:], normalized, False)


@method("petsiuk2018rise")
def insertion(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    steps: int | None = None,
    normalized: bool = True,
) -> Rating:
    r"""Put the players back, the most relevant first, and measure how soon the score is there.

    $$
    \mathrm{AUC} = \int_0^1 c(t)\, dt, \qquad
    c(t) = \frac{F(x_t) - F(x_0)}{F(x) - F(x_0)}
    $$

    x_t holds the share t of the players, and x_0 none of them. A faithful explanation lets the
    score rise at once: higher is better. c goes from 0 to 1, and the rating is NaN where the score
    is the same at both ends, up to rounding, or where the explanation ranks no player before
    another.

    With the same fill, insertion in one order is deletion in the other, read backwards. The paper
    begins with a blurred image, because parts that are put on an even ground show sharp edges:
    `on_trial(score, x, players, blurred(x))`.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> insertion(trial, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))).values.tolist()
    [0.625]

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        steps: points after the first, equal to within one player; by default one player at a time.
        normalized: whether c runs from 0 to 1, or is F itself.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    inserted = removals(values.shape[1], steps)
    curve = only(trial, places(values), inserted)
    at = inserted.to(curve) / values.shape[1]
    return _area(trial, values, curve, at, curve[:, -1:], curve[:, :1], normalized, True)


def _area(
    trial: Trial,
    values: Float[Tensor, "inputs players"],
    curve: Float[Tensor, "inputs points"],
    at: Float[Tensor, " points"],
    whole: Float[Tensor, "inputs one"],
    nothing: Float[Tensor, "inputs one"],
    normalized: bool,
    higher_is_better: bool,
) -> Rating:
    evaluations = trial.each * curve.numel()
    if normalized:
        same = (whole - nothing).abs() <= rounding(curve)[:, None]
        curve = torch.where(same, torch.nan, (curve - nothing) / (whole - nothing))
    area = torch.trapezoid(curve, at)
    return Rating(
        torch.where(constant(values), torch.nan, area),
        higher_is_better,
        curve,
        at,
        evaluations=evaluations,
    )
