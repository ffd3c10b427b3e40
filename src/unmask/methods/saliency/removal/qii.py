"""Quantitative input influence."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.dependence import grid as grids
from unmask.methods.saliency.dependence.mixtures import Draws, independent, scores
from unmask.players import Players, features
from unmask.results import Attribution, Interactions
from unmask.score import Score

Quantity = Callable[[Tensor], Tensor | float]
"""What is asked about a population: its scores, one per row, as one number."""
Share = Callable[[Game], Attribution | Interactions]


@method("datta2016algorithmic", axioms=("dummy", "linearity"))
def qii(
    score: Score,
    x: Float[Tensor, "batch columns"],
    *,
    data: Float[Tensor, "dataset columns"],
    quantity: Quantity | None = None,
    share: Share | None = None,
    players: Players | None = None,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Draw a column anew, as if it had nothing to do with the others, and see what changes.

    $$
    \iota(S) = Q(X) - Q(X_{-S} U_S), \qquad A_i = \iota(\{i\})
    $$

    U are draws from the data, each column by itself, so that what is drawn knows nothing of the
    rest of the row: the influence is that of using the column, and a column that the model does not
    use has none, however well others tell it (for those see `indirect_influence`). Q is the score
    of each input itself, or of a whole population: the share that is accepted, or how much that
    differs between groups.

    With `share`, the influence of sets is a game that is shared out, which tells what columns do
    together: `shapley_exact`, or `lambda game: interaction_indices(game, index="BV")` after
    Banzhaf. `influence_game` is that game itself, for the influence of a set.

    Args:
        score: what is read of the model.
        x: the inputs X, or the population.
        data: the rows from which U is drawn.
        quantity: Q of a population, as a function of its scores; then the result is one row. Such
            are `positive_rate` and `disparity`.
        share: how the game is shared out; without it each column is drawn alone.
        players: who owns which columns; those of one player are drawn one by one too.
        samples: draws; without it, every row of the data lends each column once, which is exact for
            a single column.
        generator: of the draws.
        batch_size: inputs in one call of the model.

    >>> both = Score(lambda x: x.amin(1), lambda output, rows: output)
    >>> coins = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> qii(both, torch.ones(1, 2), data=coins).values
    tensor([[0.5000, 0.5000]])
    """
    size, data, played = _admitted(score, x, data, players, batch_size)
    each = quantity is None
    alone = ~torch.eye(len(played.names), dtype=torch.bool, device=x.device)
    x = x.detach()
    if share is None:
        draws = independent(data, 1 if each else len(x), samples, generator)
        whole = _asked(score, x, quantity, size)
        values, errors = _changes(score, x, played.cover(alone), draws, quantity, whole, size)
        return Attribution(
            values.to(x.dtype),
            names=played.names,
            evaluations=len(x) * (1 + len(alone) * len(draws)),
            errors=None if errors is None else errors.to(x.dtype),
        )
    state = None if generator is None else generator.get_state()
    rows = []
    for i in range(len(x)) if each else (0,):
        if generator is not None and state is not None:
            generator.set_state(state)  # every input meets the same draws
        game = influence_game(
            _of_row(score, i) if each else score, x[i : i + 1] if each else x, data=data,
            quantity=quantity, players=played, samples=samples, generator=generator,
            batch_size=batch_size,
        )  # fmt: skip
        rows.append(share(game))
    draws = len(data) if samples is None else samples
    asked = [row.evaluations for row in rows if row.evaluations is not None]
    rows_per_call = draws * (1 if each else len(x))
    return Attribution(
        torch.cat([_values(row, len(alone)) for row in rows]).to(x.dtype),
        names=played.names,
        evaluations=len(x) + sum(asked) * rows_per_call if len(asked) == len(rows) else None,
    )


def influence_game(
    score: Score,
    x: Float[Tensor, "batch columns"],
    *,
    data: Float[Tensor, "dataset columns"],
    quantity: Quantity | None = None,
    players: Players | None = None,
    samples: int | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Game:
    """The influence of sets of columns as a game: v(S) is the iota(S) of `qii`.

    Args:
        score: what is read of the model.
        x: one input, or a population of several if a quantity is given.
        data: the rows from which columns are drawn.
        quantity: Q of a population, as a function of its scores.
        players: who owns which columns.
        samples: draws, the same for all sets; without it as many as there are rows in the data.
        generator: of the draws.
        batch_size: inputs in one call of the model.
    """
    size, data, played = _admitted(score, x, data, players, batch_size)
    if quantity is None and len(x) != 1:
        raise ValueError(
            f"A game is played on one input, but x holds {len(x)}. Give one, such as x[:1], or the "
            "quantity that is asked about all of them."
        )
    x = x.detach()
    draws = independent(data, len(x), samples, generator)
    whole = _asked(score, x, quantity, size)

    def value(masks: Bool[Tensor, "masks players"]) -> Float[Tensor, " masks"]:
        kept = played.cover(~masks.to(x.device))
        return _changes(score, x, kept, draws, quantity, whole, size)[0][0]

    return Game(value, played.names)


def positive_rate(threshold: float = 0.0) -> Quantity:
    """The share of a population whose score is above a threshold.

    Args:
        threshold: where a score counts as positive.
    """
    return lambda values: (values > threshold).double().mean()


def disparity(group: Bool[Tensor, " batch"], threshold: float = 0.0) -> Quantity:
    """By how much more often the score is above a threshold within a group than without.

    Args:
        group: who belongs to it.
        threshold: where a score counts as positive.
    """
    if bool(group.all()) or not bool(group.any()):
        raise ValueError(
            f"A disparity is between a group and the others, but {int(group.sum())} of "
            f"{len(group)} rows are in the group. Give one that holds some rows and not all."
        )

    def between(values: Tensor) -> Tensor:
        if values.shape != group.shape:
            raise ValueError(
                f"The group is of {len(group)} rows, but there are {len(values)} scores. "
                "Say of every row of the population whether it belongs to the group."
            )
        positive = (values > threshold).double()
        within = group.to(values.device)
        return positive[within].mean() - positive[~within].mean()

    return between


def _admitted(
    score: Score, x: Tensor, data: Tensor, players: Players | None, batch_size: int | None
) -> tuple[int, Tensor, Players]:
    """What was given, checked: rows of one call, the data, the players."""
    size = grids.admit(score, x, batch_size, what="input")
    admission.finite("The data", data)
    if data.ndim != 2 or len(data) == 0 or data.shape[1] != x.shape[1]:
        raise ValueError(
            f"Columns are drawn from data of the same columns, but these have shape "
            f"{tuple(data.shape)} and x {tuple(x.shape)}. Give rows with the columns of x."
        )
    played = players or features(x.shape[1])
    played.refuse_other(x.shape[1:])
    return size, data.detach().to(x.device, x.dtype), played


def _changes(
    score: Score,
    x: Float[Tensor, "batch columns"],
    kept: Bool[Tensor, "masks columns"],
    draws: Draws,
    quantity: Quantity | None,
    whole: Float[Tensor, " rows"],
    size: int,
) -> tuple[Float[Tensor, "rows masks"], Float[Tensor, "rows masks"] | None]:
    """By how much the whole is more than after a draw, for each mask; and standard errors."""
    total = torch.zeros(len(kept), len(whole), dtype=torch.float64, device=x.device)
    squares = torch.zeros_like(total)
    for mask, _, found in scores(score, x, kept, draws, size):
        if quantity is not None:
            found = torch.stack([_number(quantity(one)) for one in found])[:, None]
        total.index_add_(0, mask, whole - found)
        squares.index_add_(0, mask, (whole - found) ** 2)
    count, possible = len(draws), len(draws.data)
    mean = total / count
    errors = None
    if count > 1 and count != possible:
        variance = (squares / count - mean**2).clamp(min=0) * count / (count - 1)
        left = 1 - count / possible if count < possible else 1.0  # drawn without repetition
        errors = (variance * left / count).sqrt().T
    return mean.T, errors


def _asked(score: Score, x: Tensor, quantity: Quantity | None, size: int) -> Float[Tensor, " rows"]:
    """What is asked of the inputs as they are."""
    plain = grids.as_they_are(score, x, size)
    return plain if quantity is None else _number(quantity(plain))[None]


def _number(value: Tensor | float) -> Float[Tensor, ""]:
    asked = torch.as_tensor(value).detach().double()
    if asked.numel() != 1 or not asked.isfinite().all():
        raise ValueError(
            f"A quantity is one finite number about a population, but got {value!r}. "
            "Give a function of the scores of all rows, such as their mean."
        )
    return asked.reshape(())


def _of_row(score: Score, i: int) -> Score:
    """The score with the class of one of its inputs."""
    if score.targets is None:
        return score

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        return score.read(output, torch.full((len(output),), i, device=output.device))

    return Score(score.model, read, score.name)


def _values(shared: Attribution | Interactions, count: int) -> Float[Tensor, "1 players"]:
    """What each player got."""
    if isinstance(shared, Attribution):
        return shared.values
    single = shared.order == 1
    values = shared.effects.new_zeros(1, count)
    values[0, shared.members[single].double().argmax(1)] = shared.effects[single]
    return values
