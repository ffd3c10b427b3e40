"""Shapley feature importance: the loss that columns save together, shared out."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.dependence import grid as grids
from unmask.methods.saliency.dependence.mixtures import paired, scores
from unmask.methods.saliency.shapley.shapley_exact import shapley_exact
from unmask.players import Players, features
from unmask.results import Attribution
from unmask.score import Score


@method("casalicchio2018visualizing")
def shapley_feature_importance(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    players: Players | None = None,
    samples: int | None = 50,
    share: Callable[[Game], Attribution] = shapley_exact,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Share out fairly among the columns how much loss they save the model.

    $$
    v(S) = \mathrm{GE}(\emptyset) - \mathrm{GE}(S), \qquad
    \mathrm{GE}(S) = \frac{1}{nR} \sum_{i,r}
        L\bigl(x^{(i)}_S,\, x^{(\pi_r(i))}_{-S}\bigr)
    $$

    GE is the mean loss when the columns outside S come from another row, all from the same. The
    values are the Shapley values of v and sum to what all columns together save; what is saved only
    by several columns at once is shared equally among them. Permutation importance counts it in
    full for each of them.

    The same R draws serve all sets, so that differences between sets are not due to them. All
    2^n sets of n columns are evaluated; with more than a dozen, make players of several columns, or
    have the game of `importance_game` shared out by a method that samples.

    Args:
        score: L, the loss of each row: `unmask.loss(model, labels)`, or one made by hand as
            `feature_importance_curves` tells.
        data: the rows x.
        players: who owns which columns; without it each column plays for itself.
        samples: R, rows that lend each row what is not in S; None for every row with every row.
        share: how the game is shared out.
        generator: chooses them.
        batch_size: inputs in one call of the model.

    >>> x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    >>> y = x @ torch.tensor([1.0, 2.0])
    >>> def squared(output, rows):
    ...     return (output - (y if rows is None else y[rows])) ** 2
    >>> error = Score(lambda x: x @ torch.tensor([1.0, 2.0]), squared, targets=4)
    >>> shapley_feature_importance(error, x, samples=None).values
    tensor([[2., 8.]])
    """
    game = importance_game(
        score, data, players=players, samples=samples, generator=generator, batch_size=batch_size
    )
    found = share(game)
    each = len(data) * min(len(data), samples or len(data))
    asked = None if found.evaluations is None else each * (found.evaluations + 1)
    errors = None if found.errors is None else found.errors.to(data.dtype)
    return Attribution(found.values.to(data.dtype), found.gap, game.names, asked, errors)


def importance_game(
    score: Score,
    data: Float[Tensor, "batch width"],
    *,
    players: Players | None = None,
    samples: int | None = 50,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Game:
    """The game in which columns save loss: v(S) of `shapley_feature_importance`.

    Args:
        score: L, the loss of each row.
        data: the rows x.
        players: who owns which columns.
        samples: rows that lend each row what is not in S; None for every row with every row.
        generator: chooses them.
        batch_size: inputs in one call of the model.
    """
    size = grids.admit(score, data, batch_size)
    if len(data) < 2:
        raise ValueError(
            "An importance exchanges values between rows, but there is only one row. "
            "Give at least two."
        )
    played = players or features(data.shape[1])
    played.refuse_other(data.shape[1:])
    data = data.detach()
    draws = paired(data, samples, generator)

    def error(masks: Bool[Tensor, "masks players"]) -> Float[Tensor, " masks"]:
        total = torch.zeros(len(masks), dtype=torch.float64, device=data.device)
        kept = played.cover(masks.to(data.device))
        for mask, _, found in scores(score, data, kept, draws, size):
            total.index_add_(0, mask, found.mean(1))
        return total / len(draws)

    nothing = error(torch.zeros(1, len(played.names), dtype=torch.bool))
    return Game(lambda masks: nothing - error(masks), played.names)
