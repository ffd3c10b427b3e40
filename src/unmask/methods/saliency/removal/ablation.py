"""Ablation and inclusion: one part left out of the whole, one part put into nothing."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.results import Attribution

_MARKS = 2**24
"""Entries of the masks that are made at once."""


@method("li2016understanding", axioms=("dummy", "symmetry", "linearity"))
def ablation(game: Game) -> Attribution:
    r"""Leave each part out, one at a time, and see how far the value falls.

    $$
    A_i = v(N) - v(N \setminus \{i\})
    $$

    Each part is judged among all the others. Of two that do the same work neither is missed, so
    both may get nothing; of two that work only together each gets all. Hence there is no sum.

    Args:
        game: v.

    >>> either = Game(lambda masks: masks.any(1).double(), ("a", "b"))
    >>> ablation(either).values
    tensor([[0., 0.]], dtype=torch.float64)
    """
    n = len(game.names)
    whole = game(torch.ones(1, n, dtype=torch.bool))
    return Attribution(_wide(whole) - _one_by_one(game, others=True), None, game.names, n + 1)


@method("li2016understanding", axioms=("dummy", "symmetry", "linearity"))
def inclusion(game: Game) -> Attribution:
    r"""Keep each part alone and see how far it raises the value above that of nothing.

    $$
    A_i = v(\{i\}) - v(\emptyset)
    $$

    The mirror of `ablation`: each part is judged in the absence of all the others. What needs two
    parts is found in neither.

    Args:
        game: v.

    >>> both = Game(lambda masks: masks.all(1).double(), ("a", "b"))
    >>> inclusion(both).values
    tensor([[0., 0.]], dtype=torch.float64)
    """
    n = len(game.names)
    empty = game(torch.zeros(1, n, dtype=torch.bool))
    return Attribution(_one_by_one(game, others=False) - _wide(empty), None, game.names, n + 1)


def _one_by_one(game: Game, *, others: bool) -> Float[Tensor, "1 players"]:
    """The value of each player alone, or of all others."""
    n = len(game.names)
    values = []
    for some in torch.arange(n).split(max(1, _MARKS // n)):
        masks: Bool[Tensor, "some players"] = some[:, None] == torch.arange(n)
        values.append(_wide(game(masks ^ others)))
    return torch.cat(values)[None]


def _wide(values: Tensor) -> Float[Tensor, " batch"]:
    return values.detach().double()
