"""A trial: inputs whose parts can be removed, to see what explanations say of them comes true."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unmask import admission
from unmask.allocator import keep_freed_blocks
from unmask.game import Game
from unmask.masking import Batches, cached_rows
from unmask.players import Players
from unmask.results import Attribution
from unmask.score import Score

Masks = Callable[[Int[Tensor, " batch"], Int[Tensor, " batch"]], Bool[Tensor, "batch players"]]
"""Who is left: of these inputs, under the masks of these numbers. So no table of all is needed."""

Fill = Callable[[Int[Tensor, " batch"], Bool[Tensor, "batch *input"]], Shaped[Tensor, "batch ..."]]
"""The inputs of these numbers when only what is visible is left of them."""


_AT_ONCE = 2**24
"""Entries of the masks that a game is handed at a time."""


@dataclass(frozen=True)
class Trial:
    """Inputs, and what becomes of the score when parts of them are removed.

    Args:
        ask: masks, and how many there are of each input -> the scores.
        inputs: how many.
        names: of the players.
        total: attributions shaped like the inputs -> the sum of each player's; what has a column
            per player already, as it is.
        each: inputs that the model is run on for one score: the backgrounds that are averaged.
    """

    ask: Callable[[Masks, int], Float[Tensor, "inputs masks"]]
    inputs: int
    names: tuple[str, ...]
    total: Callable[[Tensor], Float[Tensor, "inputs players"]]
    each: int = 1

    def of(self, attribution: Attribution) -> Float[Tensor, "inputs players"]:
        """What an explanation says of each player, checked.

        Args:
            attribution: shaped like the inputs, or coarser (a map of one channel), or with a
                column per player. Where each position is a player, but in another order, columns
                are positions unless the names of the attribution are those of the players.
        """
        if not isinstance(attribution, Attribution):
            raise TypeError(
                f"A metric rates an Attribution, but got a {type(attribution).__name__}. "
                "Wrap the values: Attribution(values)."
            )
        values = attribution.values.detach()
        admission.finite("The attribution", values)
        of_players = values.shape == (self.inputs, len(self.names))
        if not of_players or attribution.names != self.names:
            values = self.total(values)
        return values.to(torch.promote_types(values.dtype, torch.float32))

    def under(self, masks: Bool[Tensor, "masks players"]) -> Float[Tensor, "inputs masks"]:
        """The scores of all inputs under the same masks.

        Args:
            masks: who is left.
        """
        return self.ask(lambda _, numbers: masks.to(numbers.device)[numbers], len(masks))

    def ends(self) -> tuple[Float[Tensor, " inputs"], Float[Tensor, " inputs"]]:
        """The scores of the whole inputs, and of what is left when all players are removed."""
        n = len(self.names)
        both = torch.tensor([True, False])[:, None].expand(2, n)
        whole, nothing = self.under(both).unbind(1)
        return whole, nothing


def on_trial(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    players: Players,
    baseline: Shaped[Tensor, "*background"] | Fill,
    *,
    batch_size: int | None = None,
) -> Trial:
    r"""Put inputs on trial: remove some players of each and read the score.

    $$
    v_b(S) = \frac1K \sum_{k=1}^K F\bigl(m_S \odot x_b + (1 - m_S) \odot r_k\bigr)
    $$

    >>> import torch
    >>> from unmask import features, logit
    >>> score = logit(torch.nn.Linear(4, 1, bias=False), 0)
    >>> trial = on_trial(score, torch.ones(2, 4), features(4), torch.zeros(4))
    >>> tuple(trial.under(torch.eye(4).bool()).shape)
    (2, 4)

    Args:
        score: F; of a class of each input's own, or of one for all.
        x: the inputs.
        players: who owns which position; m_S is 1 where the owner is in S.
        baseline: r, what stands where a player is removed: shaped like one input, with one axis
            more a set of K, or a function that fills the holes of each input in its own way.
        batch_size: inputs in one call of the model.
    """
    admission.finite("The input", x)
    admit_trial(score, x, players, batch_size)
    batches = Batches(score, batch_size or cached_rows(x[0]))
    fills = [baseline] if callable(baseline) else _fills(x, baseline)
    keep_freed_blocks()

    @torch.inference_mode(False)
    @torch.no_grad()
    def ask(masks: Masks, count: int) -> Tensor:
        if count == 0:
            return torch.zeros(len(x), 0, device=x.device)
        every = torch.arange(len(x) * count, device=x.device)
        rows = every // count

        def blocks(fill: Fill) -> Iterator[Tensor]:
            for some in every.split(batches.rows):
                yield fill(rows[some], players.cover(masks(rows[some], some % count)))

        values = [batches(blocks(fill), len(every), rows) for fill in fills]
        return torch.stack(values).mean(0).view(len(x), count)

    def total(values: Tensor) -> Tensor:
        return _totals(values, x, players)

    return Trial(ask, len(x), players.names, total, len(fills))


def admit_trial(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    players: Players,
    batch_size: int | None,
) -> None:
    """Refuse what no input can be tried by. Each input itself may still be broken.

    Args:
        score: that reads the model.
        x: the inputs.
        players: who owns which position.
        batch_size: inputs in one call of the model.
    """
    if not isinstance(score, Score):
        raise TypeError(
            f"Inputs are tried before a Score, but got a {type(score).__name__}. "
            "Make one, such as log_odds(model, target)."
        )
    admission.tensor("The input", x)
    admission.filled(x)
    players.refuse_other(x.shape[1:])
    if len(players.names) < 2:
        raise ValueError(
            f"There is nothing to rank: the only player is {', '.join(players.names)!r}. "
            "Give two players at least."
        )
    if score.targets not in (None, len(x)):
        raise ValueError(
            f"The score has classes of {score.targets} inputs, but x holds {len(x)}. "
            "Make the score with one class per input, or one for all."
        )
    admission.batched(batch_size)
    admission.settled(score.model)


def tried(trial: Trial | Game) -> Trial:
    """The trial itself; of a game, the trial of the one input that it is played on.

    Args:
        trial: either.
    """
    if isinstance(trial, Trial):
        return trial
    if not isinstance(trial, Game):
        raise TypeError(
            f"A metric needs a Trial or a Game, but got a {type(trial).__name__}. "
            "Make one: on_trial(score, x, players, baseline)."
        )

    def ask(masks: Masks, count: int) -> Tensor:
        if count == 0:
            return torch.zeros(1, 0)
        parts = torch.arange(count).split(max(1, _AT_ONCE // len(trial.names)))
        values = [trial(masks(torch.zeros_like(some), some)).detach() for some in parts]
        return torch.cat(values)[None]

    def total(values: Tensor) -> Tensor:
        if values.shape == (1, len(trial.names)):
            return values
        raise ValueError(
            f"The game has {len(trial.names)} players, but the attribution has shape "
            f"{tuple(values.shape)}. Give one row with a value per player."
        )

    return Trial(ask, 1, trial.names, total)


def _fills(x: Tensor, baseline: Tensor) -> list[Fill]:
    def of(background: Tensor) -> Fill:
        return lambda rows, visible: torch.where(visible, x[rows], background)

    return [of(background) for background in admission.backgrounds_for(x[0], baseline)]


def spread(values: Tensor, shape: torch.Size) -> Tensor:
    """A coarser map in the shape of the inputs: what is said of a place is shared out evenly.

    So the one number that a map has for all channels of a pixel, or for all numbers of a token's
    embedding, counts once. What fits in no such way comes back as it is.

    Args:
        values: of a batch.
        shape: of the inputs.
    """
    if values.shape == shape[:-1] and len(shape) == 3:
        values = values.unsqueeze(-1)
    elif values.shape == (shape[0], *shape[2:]) and len(shape) == 4:
        values = values.unsqueeze(1)
    fits = values.ndim == len(shape) and all(
        own in (1, size) for own, size in zip(values.shape[1:], shape[1:], strict=True)
    )
    if not fits or values.shape == shape or len(values) != shape[0]:
        return values
    return values.expand(shape) * (values.numel() / shape.numel())


def _totals(values: Tensor, x: Tensor, players: Players) -> Float[Tensor, "inputs players"]:
    """The sum over the positions of each player; what is never hidden does not count."""
    n = len(players.names)
    if values.shape == (len(x), n) != x.shape:
        return values
    values = spread(values, x.shape)
    if values.shape != x.shape:
        raise ValueError(
            f"The attribution has shape {tuple(values.shape)}, but the inputs {tuple(x.shape)} and "
            f"there are {n} players. Give a value per position, or per player."
        )
    owner = players.owner.to(values.device).flatten().long() % (n + 1)  # -1 finds the last
    wide = values.flatten(1).to(torch.promote_types(values.dtype, torch.float32))
    return wide.new_zeros(len(values), n + 1).index_add_(1, owner, wide)[:, :n]
