"""IROF: iterative removal of segments, the most relevant first."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.faithfulness.pixel_flipping import places, removals, without
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating


@method("rieger2020irof")
def irof(trial: Trial | Game, attribution: Attribution, *, steps: int | None = None) -> Rating:
    r"""Remove segments in the order of their mean attribution; measure what is lost of the score.

    $$
    \mathrm{AOC} = \frac1L \sum_{k=1}^{L} \Bigl(1 - \frac{F(x_k)}{F(x_0)}\Bigr)
    $$

    The players are the segments (`segments(labels)`), x_0 is the whole input, and x_L what is left
    when all of them are removed. A faithful explanation lets the score fall early: higher is
    better. Segments differ in size, so they rank by what is said of one of their positions on
    average; what is said of each player as a whole ranks them as it is.

    The ratio has a meaning where F is positive, such as the probability that the paper reads.
    Where F(x_0) is 0, or the explanation ranks no segment before another, the rating is NaN. The
    paper replaces segments with the mean colour: `data.mean((0, 2, 3))[:, None, None]` as baseline.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> irof(trial, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))).values.tolist()
    [0.75]

    Args:
        trial: the inputs, and what becomes of F when segments are removed.
        attribution: what is said of each.
        steps: L, equal to within one segment; by default one segment at a time.
    """
    trial = tried(trial)
    values = _of_a_position(trial, attribution)
    removed = removals(values.shape[1], steps)
    curve = without(trial, places(values), removed)
    whole = curve[:, :1]
    left = torch.where(whole == 0, torch.nan, curve / whole)
    aoc = (1 - left[:, 1:]).mean(1)
    return Rating(
        torch.where(constant(values), torch.nan, aoc),
        True,
        left,
        removed.to(left) / values.shape[1],
        evaluations=trial.each * curve.numel(),
    )


def _of_a_position(trial: Trial, attribution: Attribution) -> Float[Tensor, "inputs players"]:
    """The mean over the positions of each player, where they have values of their own."""
    values = trial.of(attribution)
    if values.shape == attribution.values.shape:
        return values
    return values / trial.of(Attribution(torch.ones_like(attribution.values, dtype=values.dtype)))
