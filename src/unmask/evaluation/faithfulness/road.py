"""ROAD: remove and debias. Accuracy when the parts said to matter are imputed from the rest."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.faithfulness.pixel_flipping import places, portions, without
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating

SHARES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09)
SHARES = (*SHARES, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""One in a hundred to one in ten, then by tens: early removals tell most."""


@method("rong2022consistent")
def road(
    trial: Trial | Game,
    attribution: Attribution,
    *,
    shares: Sequence[float] = SHARES,
    ascending: bool = False,
) -> Rating:
    r"""Remove shares of the players, the most relevant first, and see if the model is still right.

    $$
    \frac{1}{|Q|} \sum_{q \in Q} F(x_{\setminus q}), \qquad F(x) = [\arg\max_c z_c(x) = y]
    $$

    x without q lacks the share q of its players, one at least. The mean over the inputs is the
    accuracy after removal. With the most relevant first, lower is better; with the least relevant
    first, higher is. An explanation that ranks no player before another has no rating.

    What makes it ROAD is the trial: its score is `correct(model, labels)`, and its baseline is
    `linear_imputation(x)`, which fills holes from the pixels around them. So neither the hole nor
    its shape tells the model what was there, and nothing needs to be trained again as in ROAR.
    With all pixels removed there is nothing to fill from, so give shares below 1 there.

    >>> from unmask import correct, patches
    >>> from unmask.evaluation import linear_imputation, on_trial
    >>> x = torch.zeros(2, 1, 6, 6)
    >>> x[0, 0, :2, :2], x[1, 0, 4:, 4:] = 1.0, 1.0
    >>> spotted = lambda x: torch.stack([torch.ones(len(x)), x.sum((1, 2, 3))], 1)
    >>> score, players = correct(spotted, 1), patches((1, 6, 6), (3, 3))
    >>> trial = on_trial(score, x, players, linear_imputation(x, noise=0.0))
    >>> road(trial, Attribution(x), shares=(1 / 9,)).mean
    0.0

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        shares: Q, above 0.
        ascending: whether the least relevant go first.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    removed = portions(values.shape[1], shares)
    curve = without(trial, places(values, ascending), removed)
    return _rated(values, curve, removed, ascending, trial.each)


@method("rong2022consistent")
def road_combined(
    trial: Trial | Game, attribution: Attribution, *, shares: Sequence[float] = SHARES
) -> Rating:
    r"""Set what is left without the least relevant players against what is without the most.

    $$
    \frac{1}{2 |Q|} \sum_{q \in Q} \bigl(F(x_{\setminus q}^{\mathrm{least}})
        - F(x_{\setminus q}^{\mathrm{most}})\bigr)
    $$

    The two orders of `road` can rank explanations differently, and this weighs both: higher is
    better, between -1/2 and 1/2 for an accuracy. An explanation at random is at 0, whatever the
    model makes of inputs with holes. Trial and score are those of `road`.

    >>> from unmask import correct, patches
    >>> from unmask.evaluation import linear_imputation, on_trial
    >>> x = torch.zeros(2, 1, 6, 6)
    >>> x[0, 0, :2, :2], x[1, 0, 4:, 4:] = 1.0, 1.0
    >>> spotted = lambda x: torch.stack([torch.ones(len(x)), x.sum((1, 2, 3))], 1)
    >>> score, players = correct(spotted, 1), patches((1, 6, 6), (3, 3))
    >>> trial = on_trial(score, x, players, linear_imputation(x, noise=0.0))
    >>> road_combined(trial, Attribution(x), shares=(1 / 9,)).mean
    0.5

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        shares: Q, above 0.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    removed = portions(values.shape[1], shares)
    most = without(trial, places(values), removed)
    least = without(trial, places(values, ascending=True), removed)
    return _rated(values, (least - most) / 2, removed, True, 2 * trial.each)


def _rated(
    values: Float[Tensor, "inputs players"],
    curve: Float[Tensor, "inputs shares"],
    removed: Int[Tensor, " shares"],
    higher_is_better: bool,
    asked: int,
) -> Rating:
    n = values.shape[1]
    return Rating(
        torch.where(constant(values), torch.nan, curve.mean(1)),
        higher_is_better,
        curve,
        removed.to(curve) / n,
        evaluations=asked * len(curve) * len(removed.unique()),
    )
