"""Sufficiency and comprehensiveness: whether the parts said to matter suffice, and are needed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.card import method
from unmask.evaluation.association import constant
from unmask.evaluation.faithfulness.pixel_flipping import only, places, portions, without
from unmask.evaluation.trial import Trial, tried
from unmask.game import Game
from unmask.results import Attribution, Rating

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Those of the paper."""


@method("deyoung2020eraser")
def sufficiency(
    trial: Trial | Game, attribution: Attribution, *, shares: Sequence[float] = SHARES
) -> Rating:
    r"""Keep the most relevant players alone, and see what the score loses.

    $$
    \frac{1}{|Q|} \sum_{q \in Q} \bigl(F(x) - F(x_q)\bigr)
    $$

    x_q holds the share q of the players that is said to matter most, one player at least. If they
    suffice nothing is lost: lower is better, and below zero is possible. The curve holds the
    differences. The paper reads a probability. An explanation that ranks no player before another
    has no rating.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> said = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> sufficiency(trial, said, shares=(0.25, 0.5)).curve.tolist()
    [[6.0, 3.0]]

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        shares: Q.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    kept = portions(values.shape[1], shares)
    counts = torch.cat([torch.tensor([values.shape[1]]), kept])
    return _lost(trial, values, only(trial, places(values), counts), counts, False)


@method("deyoung2020eraser")
def comprehensiveness(
    trial: Trial | Game, attribution: Attribution, *, shares: Sequence[float] = SHARES
) -> Rating:
    r"""Remove the most relevant players alone, and see what the score loses.

    $$
    \frac{1}{|Q|} \sum_{q \in Q} \bigl(F(x) - F(x_{\setminus q})\bigr)
    $$

    x without q lacks the share q of the players that is said to matter most, one player at least.
    If the explanation has all that matters much is lost: higher is better. The curve holds the
    differences. The paper reads a probability. An explanation that ranks no player before another
    has no rating.

    >>> from unmask.planted import linear_network
    >>> from unmask import features, logit
    >>> from unmask.evaluation import on_trial
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trial = on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))
    >>> said = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> comprehensiveness(trial, said, shares=(0.25, 0.5)).curve.tolist()
    [[4.0, 7.0]]

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        shares: Q.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    removed = portions(values.shape[1], shares)
    counts = torch.cat([torch.tensor([0]), removed])
    return _lost(trial, values, without(trial, places(values), counts), counts, True)


def _lost(
    trial: Trial,
    values: Float[Tensor, "inputs players"],
    scores: Float[Tensor, "inputs points"],
    counts: Int[Tensor, " points"],
    higher_is_better: bool,
) -> Rating:
    """What is lost of the first score, on average over the others."""
    curve = scores[:, :1] - scores[:, 1:]
    n = values.shape[1]
    return Rating(
        torch.where(constant(values), torch.nan, curve.mean(1)),
        higher_is_better,
        curve,
        counts[1:].to(curve) / n,
        evaluations=trial.each * len(scores) * len(counts.unique()),
    )
