"""Contextual decomposition."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.internals import admit
from unmask.methods.saliency.propagation.two_parts import part_of_group
from unmask.players import Players
from unmask.results import Attribution
from unmask.score import Score

_AT_ONCE = 64
"""Rows in one call of the model, unless told otherwise."""


@method("murdoch2018beyond", "singh2019hierarchical")
def contextual_decomposition(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    players: Players,
    batch_size: int | None = None,
) -> Attribution:
    r"""Split every activation into what is due to a part of the input and what is not.

    $$
    z = \beta + \gamma: \qquad
    \beta' = W\beta + \frac{|W\beta|}{|W\beta| + |W\gamma|}\, b, \qquad
    \beta' = \mathrm{relu}(\beta), \qquad
    \beta' = \tfrac12 \bigl[ f(\beta) - f(0) + f(\beta + \gamma) - f(\gamma) \bigr]
    $$

    for affine operations, ReLU and all other functions, from the input, where the part's own
    numbers are $\beta$, to the score, whose $\beta$ is the value of the part. $\beta + \gamma$ is
    the activation at every step. LSTMs follow the rules of their gates, in which a phrase keeps
    the product of its own biases. The values of parts do not add up to the score: what they do
    together is theirs as a group, see `decomposition_game`.

    The rule of ReLU favours the group (it is let in first); where several functions do what one
    does, the split may differ. Hiding is to put a zero: standardise inputs, or embed them.

    Args:
        score: F, of a module or of any function made of torch's operations.
        x: the inputs.
        players: the parts, each of which is decomposed.
        batch_size: inputs in one call of the model; for every input there is one per player.

    >>> from torch import nn
    >>> from unmask.players import features
    >>> from unmask.score import logit
    >>> line = nn.Linear(2, 1)
    >>> line.weight.data, line.bias.data = torch.tensor([[2.0, -1.0]]), torch.tensor([3.0])
    >>> x = torch.ones(1, 2)
    >>> contextual_decomposition(logit(line, 0), x, players=features(2)).values
    tensor([[4., 0.]])
    """
    admit(score, x, batch_size)
    n = len(players.names)
    masks = torch.eye(n, dtype=torch.bool, device=x.device)
    which = torch.arange(len(x), device=x.device).repeat_interleave(n)
    values = _betas(score, x, which, masks.repeat(len(x), 1), players, batch_size)
    return Attribution(
        values.view(len(x), n).to(x.dtype), names=players.names, evaluations=len(which)
    )


def decomposition_game(
    score: Score,
    x: Float[Tensor, "*input"],
    players: Players,
    *,
    batch_size: int | None = None,
) -> Game:
    r"""The game in which a coalition is worth its part of the score, by contextual decomposition.

    $$
    v(S) = \beta_S(F(x))
    $$

    No input is ever masked: the model sees x as it is. Any method of a game takes it, such as
    `acd`, which joins players whose parts together are worth more than apart.

    Args:
        score: F.
        x: one input.
        players: its parts.
        batch_size: coalitions in one call of the model.
    """
    admit(score, x[None], batch_size)
    _fit(players, x)

    def value(masks: Tensor) -> Tensor:
        which = torch.zeros(len(masks), dtype=torch.long, device=x.device)
        return _betas(score, x[None], which, masks.to(x.device), players, batch_size)

    return Game(value, players.names)


def _betas(
    score: Score,
    x: Tensor,
    which: Tensor,
    masks: Bool[Tensor, "rows players"],
    players: Players,
    batch_size: int | None,
) -> Float[Tensor, " rows"]:
    _fit(players, x[0])
    owned = (players.owner >= 0).to(x.device)
    found = []
    size = batch_size or _AT_ONCE
    for rows, some in zip(which.split(size), masks.split(size), strict=True):
        group = players.cover(some) & owned  # what is never hidden belongs to no player
        found.append(part_of_group(score, x[rows].detach(), group, rows)[1])
    return torch.cat(found) if found else x.new_zeros(0)


def _fit(players: Players, x: Tensor) -> None:
    players.refuse_other(x.shape)
    admission.finite("The input", x)
