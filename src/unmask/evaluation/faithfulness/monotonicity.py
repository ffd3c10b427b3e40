"""Monotonicity: does more of what is said to matter mean more of the score?"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.association import constant, spearman
from unmask.evaluation.faithfulness.faithfulness_correlation import rounding
from unmask.evaluation.faithfulness.pixel_flipping import places, removals
from unmask.evaluation.trial import Trial, on_trial, tried
from unmask.game import Game
from unmask.masking import Batches, cached_rows
from unmask.players import Players
from unmask.results import Attribution, Rating
from unmask.score import Score


@method("arya2019one")
def monotonicity(
    trial: Trial | Game, attribution: Attribution, *, steps: int | None = None
) -> Rating:
    r"""Start from nothing and add players, the least relevant first: how often does the score rise?

    $$
    \frac1L \sum_{k=1}^{L} \bigl[\, F(x_k) \ge F(x_{k-1}) \,\bigr]
    $$

    x_0 is what is left when all players are removed, and x_L the whole input. 1 is best, and 1 is
    what the paper asks for; a fall within rounding is none. Players of negative attribution come
    first and let the score fall if the explanation is right: this metric is made for evidence of
    one sign. Of an additive score it is the share of players that do not lower it, whatever the
    explanation, and on planted networks it put the truth above chance no more often than a coin
    would. Read it as a property of the score; to compare explanations take another metric. The
    curve holds F(x_k).

    >>> game = Game(lambda own: own.float() @ torch.tensor([4.0, 3.0, 2.0, 1.0]), tuple("abcd"))
    >>> found = monotonicity(game, Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]])))
    >>> found.values.tolist(), found.curve.tolist()
    ([1.0], [[0.0, 1.0, 3.0, 6.0, 10.0]])

    Args:
        trial: the inputs, and what becomes of F when players are removed.
        attribution: what is said of each.
        steps: L, equal to within one player; by default one player at a time.
    """
    trial = tried(trial)
    values = trial.of(attribution)
    added = removals(values.shape[1], steps)
    place = places(values, ascending=True)
    curve = trial.ask(lambda rows, k: place[rows] < added.to(k.device)[k, None], len(added))
    rises = curve.diff(dim=1) >= -rounding(curve)[:, None]
    share = rises.to(curve).mean(1)
    return Rating(
        torch.where(constant(values), torch.nan, share),
        True,
        curve,
        added.to(curve) / values.shape[1],
        evaluations=trial.each * curve.numel(),
    )


@method("nguyen2020quantitative")
def monotonicity_correlation(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    attribution: Attribution,
    players: Players,
    data: Float[Tensor, "rows *input"],
    batch_size: int | None = None,
) -> Rating:
    r"""Put other inputs' values in place of each player: do those said to matter more change more?

    $$
    \rho = \mathrm{corr}_i \Bigl( \mathrm{rank}\, |a_i|,\
    \mathrm{rank}\, \frac1K \sum_{k=1}^K \bigl( F(x) - F(x_{\setminus i}, r_{k,i}) \bigr)^2 \Bigr)
    $$

    1 is best. r_k are the rows of the data, so that a player takes on the values that it has there;
    what a player is worth that could not have been different is nothing. The mean is over squares,
    which is why a trial on a set of backgrounds, which averages the score, cannot answer it. Sizes
    of attributions do not matter, nor their signs. NaN where all players are alike, up to
    rounding.

    >>> from unmask import features, logit
    >>> from unmask.planted import linear_network
    >>> score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    >>> found = monotonicity_correlation(
    ...     score,
    ...     torch.ones(1, 4),
    ...     attribution=Attribution(torch.tensor([[4.0, -3.0, 2.0, 1.0]])),
    ...     players=features(4),
    ...     data=torch.tensor([[0.0], [3.0]]).expand(2, 4),
    ... )
    >>> round(found.mean, 6)
    1.0

    Args:
        score: F; of a class of each input's own, or of one for all.
        x: the inputs.
        attribution: a, what is said of each.
        players: who owns which position.
        data: r, inputs to take values from, a few dozen of them.
        batch_size: inputs in one call of the model.
    """
    admission.filled(x)
    on = on_trial(score, x, players, x[0], batch_size=batch_size)  # checks, and sums up players
    values = on.of(attribution).abs()
    drawn = admission.backgrounds_for(x[0], data)
    n, draws = values.shape[1], len(drawn)
    batches = Batches(score, batch_size or cached_rows(x[0]))
    every = torch.arange(len(x) * n * draws, device=x.device)
    row = every // (n * draws)

    def blocks() -> Iterator[Tensor]:
        for some in every.split(batches.rows):
            player, draw = some // draws % n, some % draws
            left = torch.arange(n, device=x.device) != player[:, None]
            yield torch.where(players.cover(left), x[some // (n * draws)], drawn[draw])

    with torch.inference_mode(False), torch.no_grad():
        whole = on.under(torch.ones(1, n, dtype=torch.bool))
        scores = batches(blocks(), len(every), row).view(len(x), n, draws)
    change = whole[..., None] - scores
    noise = rounding(torch.cat([whole, scores.flatten(1)], 1))
    idle = change.abs() <= noise[:, None, None]
    moved = torch.where(idle, 0, change.double()).square().mean(2)
    rho = spearman(values, moved)
    size = moved.sqrt()  # which rounding moves no further than it moves a score
    alike = size.amax(1) - size.amin(1) <= noise
    undefined = alike | constant(values)
    return Rating(
        torch.where(undefined, torch.nan, rho),
        True,
        evaluations=scores.numel() + whole.numel(),
    )
