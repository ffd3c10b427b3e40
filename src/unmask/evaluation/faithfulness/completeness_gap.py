"""The axioms of attribution as numbers: how far an explanation is from keeping them."""

import torch

from unmask.card import method
from unmask.evaluation.faithfulness.faithfulness_correlation import rounding, without_each
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating

_NOTHING = 1e-6
"""A change of the score below which the gap is no longer told as a share of it."""


@method("sundararajan2017axiomatic")
def completeness_gap(
    trial: Trial | Game, attribution: Attribution, *, relative: bool = True
) -> Rating:
    r"""What is left of the change of the score when all attributions are taken off.

    $$
    \epsilon = \frac{\bigl| v(N) - v(\emptyset) - \sum_i a_i \bigr|}
                    {\max\bigl( |v(N) - v(\emptyset)|,\ 10^{-6} \bigr)}
    $$

    0 is best: then the attributions have a unit and share out the whole change. It says nothing of
    whether they are shared out rightly; the same amount for every player has no gap either. Where
    removing everything changes nothing, even a small sum is a large share of it. What belongs to no
    player counts on neither side.

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 2.0, 1.0]), tuple("abcd"))
    >>> round(completeness_gap(game, Attribution(torch.tensor([[4.0, 3.0, 2.0, 0.0]]))).mean, 6)
    0.1

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        relative: whether the gap is divided by the change; else it is in the unit of the score.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    whole, nothing = trial.ends()
    change = whole.double() - nothing.double()
    gap = (change - values.double().sum(1).to(change.device)).abs()
    if relative:
        gap = gap / change.abs().clamp_min(_NOTHING)
    return Rating(gap, False, evaluations=2 * trial.each * trial.inputs)


@method("nguyen2020quantitative")
def non_sensitivity(
    trial: Trial | Game, attribution: Attribution, *, tolerance: float = 1e-5
) -> Rating:
    r"""The share of players that are said to matter and do not, or the reverse.

    $$
    \frac1n \Bigl| \bigl\{i : a_i = 0\bigr\} \,\triangle\,
    \bigl\{i : v(N) = v(N \setminus \{i\})\bigr\} \Bigr|
    $$

    0 is best. Zero means: at most the tolerance times the largest of its kind, and for the score
    also its rounding. A player matters here if removing it alone changes the score. Of two players
    that can stand in for each other neither does, so that an explanation which rightly names both
    is punished; where such are to be expected, use `logic_fidelity`.

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 0.0, 0.0]), tuple("abcd"))
    >>> non_sensitivity(game, Attribution(torch.tensor([[4.0, 0.0, 1.0, 0.0]]))).mean
    0.5

    Args:
        trial: the inputs, and what becomes of the score when players are removed.
        attribution: a, what is said of each.
        tolerance: below which share of the largest a number is zero.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(
            f"The tolerance is a share of the largest number, but got {tolerance}. "
            "Give at least 0 and less than 1."
        )
    trial = tried(trial)
    values = trial.of(attribution).abs()
    whole = trial.under(torch.ones(1, values.shape[1], dtype=torch.bool))
    scores = without_each(trial)
    fall = (whole - scores).abs().to(values.device)
    noise = rounding(torch.cat([whole, scores], 1)).to(values.device)
    silent = values <= tolerance * values.amax(1, keepdim=True)
    idle = fall <= torch.maximum(tolerance * fall.amax(1), noise)[:, None]
    wrong = (silent != idle).to(fall).mean(1)
    return Rating(wrong, False, evaluations=trial.each * (scores.numel() + whole.numel()))
