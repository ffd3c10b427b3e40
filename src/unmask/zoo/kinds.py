"""One small model of every kind, all taught the same, to try whether a method works for it.

Each has six players, of which each input tells a number v, and is trained towards

    y = 2 (v_i + v_j) + v_i v_j

of two of them, which two differing from kind to kind. So it is known which players matter, and
with six of them what each is worth can be computed exhaustively, from the model as it is. Where
a model must know where a part lies (a pooled image, a sequence), the input says it too, in
channels that no player owns. Baselines are the same input with v = 0.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import comb

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.evaluation.universality import Kind
from unmask.game import Game
from unmask.lattice import coalitions
from unmask.masking import masked
from unmask.planted import linear_network
from unmask.players import Players, features, patches, points, tokens
from unmask.score import Score, logit, token_log_odds
from unmask.zoo import networks
from unmask.zoo.dgcnn import DGCNN
from unmask.zoo.llama import Llama
from unmask.zoo.training import Recipe, trained

PLAYERS = 6
INPUTS = 3
_SIDE = 8
"""Of a square of an image."""
_RECIPE = Recipe(epochs=40, batch_size=64, rate=1e-2, numbers=True)
Layout = Callable[[Tensor], Tensor]
"""Numbers of the players, a row per input -> inputs of a kind."""


def kinds(names: Sequence[str] | None = None) -> tuple[Kind, ...]:
    """Models of these kinds, trained in about a second each, and kept.

    Args:
        names: which; all of `KINDS` if left out.
    """
    unknown = set(names or ()) - set(KINDS)
    if unknown:
        raise ValueError(
            f"There is no kind of model {sorted(unknown)[0]!r}. Choose from {', '.join(KINDS)}."
        )
    return tuple(kind(name) for name in names or KINDS)


@lru_cache
def kind(name: str) -> Kind:
    """The model of one kind.

    Args:
        name: from KINDS.
    """
    return KINDS[name](name)


def of(
    name: str,
    score: Score,
    layout: Layout,
    players: Players,
    layer: str | None = None,
    values: Float[Tensor, "rows players"] | None = None,
) -> Kind:
    """A kind of model, with inputs and what their players are worth.

    Args:
        name: of the kind.
        score: of its model.
        layout: what its inputs look like.
        players: of an input.
        layer: of the model.
        values: numbers of the players of some inputs to explain.
    """
    x = layout(_shown() if values is None else values)
    baseline = layout(torch.zeros(1, PLAYERS))[0]
    games = [masked(score, one, players, baseline) for one in x]
    truth = torch.stack([shapley(game) for game in games])
    data = layout(_lesson()[:64])
    return Kind(name, score, x, baseline, players, truth, data, layer)


def shapley(game: Game) -> Float[Tensor, " players"]:
    """What each player adds, averaged over all orders: straight from the definition, as a judge.

    Args:
        game: with few players.
    """
    v, n = game.table().double(), len(game.names)
    masks = coalitions(n)
    weights = torch.tensor([1 / (n * comb(n - 1, size)) for size in range(n)]).double()
    found = []
    for player in range(n):
        without = (~masks[:, player]).nonzero()[:, 0]
        adds = v[without + 2**player] - v[without]
        found.append((weights[masks[without].sum(1)] * adds).sum())
    return torch.stack(found)


def _lesson() -> Float[Tensor, "rows players"]:
    """Numbers of the players to learn from; some are zero, as when a player is hidden."""
    generator = torch.Generator().manual_seed(0)
    v = 0.5 + torch.rand(768, PLAYERS, generator=generator)
    return v * (torch.rand(v.shape, generator=generator) < 0.7)


def _shown() -> Float[Tensor, "rows players"]:
    return 0.8 + 0.4 * torch.rand(INPUTS, PLAYERS, generator=torch.Generator().manual_seed(1))


def _answer(v: Float[Tensor, "rows players"], pair: tuple[int, int]) -> Float[Tensor, " rows"]:
    first, second = v[:, pair[0]], v[:, pair[1]]
    return 2 * (first + second) + first * second


def _taught(
    make: Callable[[], nn.Module],
    layout: Layout,
    pair: tuple[int, int],
    values: Float[Tensor, "rows players"] | None = None,
) -> nn.Module:
    v = _lesson() if values is None else values
    return trained(make, layout(v), _answer(v, pair), _RECIPE)


# What inputs look like


def _table(v: Tensor) -> Float[Tensor, "rows columns"]:
    return v.clone()


def _image(v: Tensor) -> Float[Tensor, "rows 1 height width"]:
    """Two rows of three squares, of v in brightness.

    The two that matter are each other's mirror image, so that a method may mirror images.
    """
    return v.view(-1, 1, 2, 3).repeat_interleave(_SIDE, 2).repeat_interleave(_SIDE, 3)


def _placed_image(v: Tensor) -> Float[Tensor, "rows channels height width"]:
    """The same, and behind it for each pixel where it lies."""
    value = _image(v)
    lines = (torch.linspace(-1, 1, side) for side in value.shape[2:])
    places = torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(len(v), -1, -1, -1)
    return torch.cat([value, places], 1)


def _sequence(v: Tensor) -> Float[Tensor, "rows tokens width"]:
    """Tokens of a number and of their place, one-hot."""
    places = torch.eye(PLAYERS).expand(len(v), -1, -1)
    return torch.cat([v[..., None], places], 2)


def _cloud(v: Tensor) -> Float[Tensor, "rows points 3"]:
    """Six groups of four points on the floor; v is how high they hover."""
    corner = torch.tensor([[0.0, 0.0], [0.0, 0.1], [0.1, 0.0], [0.1, 0.1]])
    group = torch.cartesian_prod(torch.tensor([-0.5, 0.5]), torch.tensor([-1.0, 0.0, 1.0]))
    floor = (group[:, None] + corner).flatten(0, 1).expand(len(v), -1, -1)
    return torch.cat([floor, v.repeat_interleave(4, 1)[..., None]], 2)


def _ids(v: Tensor) -> Int[Tensor, "rows tokens"]:
    """Numbers as one of four words, or none."""
    return (v * 8 / 3).round().long().clamp(0, 4)


def _of_ids(ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows players"]:
    return ids * 3 / 8


def _first_channel(players: Players, axis: int) -> Players:
    """The players own the first channel alone, and what says where a part lies is never hidden."""
    owner = players.owner.clone()
    owner.narrow(axis, 1, owner.shape[axis] - 1).fill_(-1)
    return Players(owner, players.names)


_TABLE = features(PLAYERS)
_IMAGE = patches((1, 2 * _SIDE, 3 * _SIDE), (2, 3))
_PLACED_IMAGE = _first_channel(patches((3, 2 * _SIDE, 3 * _SIDE), (2, 3)), 0)
_SEQUENCE = _first_channel(tokens(PLAYERS, 1 + PLAYERS), 1)


def _height(players: Players) -> Players:
    owner = players.owner.clone()
    owner[:, :2] = -1
    return Players(owner, players.names)


_CLOUD = _height(points(torch.arange(PLAYERS).repeat_interleave(4)))


# The kinds


def _module(
    make: Callable[[], nn.Module],
    layout: Layout,
    players: Players,
    pair: tuple[int, int],
    layer: str,
) -> Callable[[str], Kind]:
    """A kind that is a module with one output."""

    def made(name: str) -> Kind:
        return of(name, logit(_taught(make, layout, pair), 0), layout, players, layer)

    return made


def _half(name: str) -> Kind:
    model = _taught(lambda: networks.mlp(nn.ReLU), _table, (0, 4)).bfloat16()
    return of(name, logit(model, 0), lambda v: v.bfloat16(), _TABLE, "1")


def _scalar(name: str) -> Kind:
    model = _taught(lambda: networks.mlp(nn.ReLU), _table, (3, 4))
    return of(name, logit(nn.Sequential(model, nn.Flatten(0)), 0), _table, _TABLE, "0.1")


def _two_inputs(name: str) -> Kind:
    other = torch.tensor([[0.5, -0.5]])
    model = _taught(lambda: networks.Fixed(networks.TwoInputs(), other), _table, (2, 4))
    assert isinstance(model, networks.Fixed)
    both = model.model
    return of(name, logit(lambda x: both(x, other.expand(len(x), 2)), 0), _table, _TABLE)


def _black_box(name: str) -> Kind:
    def model(x: Tensor) -> Tensor:
        v = x.detach().cpu().numpy()
        return torch.from_numpy(2 * (v[:, 1] + v[:, 2]) + v[:, 1] * v[:, 2]).to(x)[:, None]

    return of(name, logit(model, 0), _table, _TABLE)


def _scikit_learn(name: str) -> Kind:
    from sklearn.ensemble import GradientBoostingClassifier

    v = _lesson()
    answer = _answer(v, (1, 5))
    trees = GradientBoostingClassifier(random_state=0).fit(
        v.numpy(), (answer > answer.median()).numpy()
    )

    def model(x: Tensor) -> Tensor:
        return torch.from_numpy(trees.decision_function(x.detach().cpu().numpy())).to(x)[:, None]

    return of(name, logit(model, 0), _table, _TABLE)


def _token_ids(name: str) -> Kind:
    v = _of_ids(_ids(_lesson()))
    model = _taught(networks.WordReader, _ids, (1, 3), v)
    return of(name, logit(model, 0), _ids, tokens(PLAYERS), "embedding")


def _causal_lm(name: str) -> Kind:
    v = _of_ids(_ids(_lesson()))
    read = _taught(lambda: networks.NextToken(_llama(), 1), _ids, (2, 5), v)
    assert isinstance(read, networks.NextToken)
    return of(name, token_log_odds(read.model, 1), _ids, tokens(PLAYERS), "norm")


def _llama() -> Llama:
    return Llama(width=16, hidden=32, depth=2, heads=2, shared=1, vocabulary=8, context=PLAYERS)


def _linear(name: str) -> Kind:
    model = linear_network(torch.tensor([3.0, 2.0, 0.0, 0.0, 0.0, 0.0]), 0.5)
    return of(name, logit(model, 0), _table, _TABLE, "0")


KINDS: dict[str, Callable[[str], Kind]] = {
    "linear": _linear,
    "mlp_relu": _module(lambda: networks.mlp(nn.ReLU), _table, _TABLE, (2, 5), "1"),
    "mlp_gelu": _module(lambda: networks.mlp(nn.GELU), _table, _TABLE, (1, 4), "1"),
    "mlp_tanh": _module(lambda: networks.mlp(nn.Tanh), _table, _TABLE, (0, 3), "1"),
    "gated_mlp": _module(networks.GatedMLP, _table, _TABLE, (3, 5), "gate"),
    "cnn": _module(networks.cnn, _image, _IMAGE, (0, 2), "2"),
    "residual_cnn": _module(networks.PooledResidual, _placed_image, _PLACED_IMAGE, (3, 5), "block"),
    "conv_1d": _module(networks.conv_1d, _sequence, _SEQUENCE, (2, 3), "2"),
    "lstm": _module(lambda: networks.Reader(nn.LSTM), _sequence, _SEQUENCE, (1, 4), "head"),
    "gru": _module(lambda: networks.Reader(nn.GRU), _sequence, _SEQUENCE, (0, 2), "head"),
    "transformer": _module(networks.Encoder, _sequence, _SEQUENCE, (2, 4), "encoder"),
    "causal_lm": _causal_lm,
    "token_ids": _token_ids,
    "graph_network": _module(networks.MessagePassing, _sequence, _SEQUENCE, (0, 1), "first"),
    "point_cloud": _module(lambda: DGCNN(1, (8, 8), 16, 4), _cloud, _CLOUD, (1, 5), "gather"),
    "two_inputs": _two_inputs,
    "scalar_output": _scalar,
    "half_precision": _half,
    "scikit_learn": _scikit_learn,
    "black_box": _black_box,
}
"""The kinds by name, and what makes each."""
