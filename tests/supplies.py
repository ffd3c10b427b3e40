"""One small value for every name of the vocabulary, made anew at each call.

What an input looks like is read off the method: the shape that it declares for x, or for data,
is the name of a scene. A method of any input plays on the table.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor, nn

from strategies import relu_network
from unmask import constant, features, log_odds, logit, masked, patches, tokens
from unmask.catalogue import Entry
from unmask.evaluation import Kind, on_trial
from unmask.game import Game
from unmask.interactions import Snapshot, and_or_games
from unmask.methods.saliency import input_x_gradient
from unmask.planted import linear_network
from unmask.results import Attribution, Interactions

FEATURES = 4
CLASSES = 3
Scene = Callable[[torch.dtype, int], dict[str, object]]


def supplies(
    dtype: torch.dtype = torch.float32, inputs: int = 2, entry: Entry | None = None
) -> dict[str, object]:
    """Values that fit each other: a network, inputs to it, a game that it plays.

    Args:
        dtype: of the network and its inputs.
        inputs: how many x holds.
        entry: the method that they are for; without one, a table.
    """
    return SCENES[_scene(entry)](dtype, inputs)


def _scene(entry: Entry | None) -> str:
    hints: Mapping[str, object] = {} if entry is None else entry.call.__annotations__
    shapes = (getattr(hints.get(name), "dim_str", "") for name in ("x", "data") if name in hints)
    return next((shape for shape in shapes if shape in SCENES), "")


def _table(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(7)
    data = torch.randn(16, FEATURES, generator=generator).to(dtype)
    model = relu_network([FEATURES, 8, CLASSES], seed=0, dtype=dtype)
    labels = model(data).argmax(1).detach()
    return _together(model, data, labels, inputs) | {
        "players": features(FEATURES),
        "layer": "1",
        "feature": 1,
        "annotation": torch.tensor([True, False, False, False]),
    }


def _image(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(7)
    data = torch.rand(16, 2, 12, 12, generator=generator).to(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)),
        )
    model = model.to(dtype).eval()
    return _together(model, data, torch.arange(16) % CLASSES, inputs) | {
        "players": patches((2, 12, 12), (2, 2)),
        "layer": "3",
    }


class _Reader(nn.Module):
    """Reads a sequence of vectors with an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, 6, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.rnn(x)[0]

    def attend(self, states: Tensor, mask: Tensor) -> Tensor:
        return states.sum(-1).masked_fill(~mask, -torch.inf).softmax(1)

    def decode(self, states: Tensor, weights: Tensor) -> Tensor:
        return self.head((weights[..., None] * states).sum(1))


def _sequence(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(7)
    data = torch.randn(16, 5, FEATURES, generator=generator).to(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Reader().to(dtype).eval()
    return _together(model, data, torch.arange(16) % CLASSES, inputs) | {
        "players": tokens("abcde", width=FEATURES),
        "layer": "head",
    }


class _Messages(nn.Module):
    """Two rounds of messages along weighted edges."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.ModuleList([nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES)])
        self.other = nn.ModuleList([nn.Linear(FEATURES, 6), nn.Linear(6, CLASSES)])

    def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        for own, other in zip(self.own, self.other, strict=True):
            messages = weights[:, None] * x[edges[0]]
            x = torch.tanh(own(x) + other(torch.zeros_like(x).index_add(0, edges[1], messages)))
        return x


def _graph(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    """One graph, whose nodes are rows of the table."""
    table = _table(dtype, inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Messages().to(dtype).eval()
    edges = torch.tensor([[1, 2, 3, 4, 5, 0, 6], [0, 0, 1, 1, 4, 5, 6]])
    data = table["data"]
    assert isinstance(data, Tensor)
    return table | {"model": model, "x": data[:8], "edges": edges}


class _Attending(nn.Module):
    """Two layers of self-attention over a sequence of vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.MultiheadAttention(FEATURES, 2, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x, x, x)[0]
        return self.head(x[:, 0])


def _attending(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Attending().to(dtype).eval()
    sequence = _sequence(dtype, inputs)
    data, labels = sequence["data"], sequence["labels"]
    assert isinstance(data, Tensor)
    assert isinstance(labels, Tensor)
    return sequence | _together(model, data, labels, inputs)


def _prompt(dtype: torch.dtype, inputs: int) -> dict[str, object]:
    """One sequence, without a batch axis."""
    sequence = _sequence(dtype, inputs)
    x = sequence["x"]
    assert isinstance(x, Tensor)
    return sequence | {"x": x[0]}


SCENES: dict[str, Scene] = {
    "": _table,
    "batch channels height width": _image,
    "batch tokens width": _sequence,
    "batch tokens *embedding": _attending,
    "batch tokens *width": _sequence,
    "tokens *width": _prompt,
    "nodes width": _graph,
}


@lru_cache
def _games() -> tuple[Game, ...]:
    """Six networks on the same input."""
    row = torch.linspace(-1, 2, FEATURES).double()
    networks = [relu_network([FEATURES, 8, CLASSES], i, dtype=torch.float64) for i in range(6)]
    return tuple(
        masked(log_odds(network, 1), row, features(FEATURES), constant(row)) for network in networks
    )


@lru_cache
def _logics() -> tuple[Interactions, ...]:
    return and_or_games(_games())


@lru_cache
def _history() -> tuple[Snapshot, ...]:
    """A network that goes from small weights to large ones, as in training, on three samples."""
    row = torch.linspace(-1, 2, FEATURES).double()
    snapshots = []
    for i, step in enumerate((0, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)):
        model = relu_network([FEATURES, 8, CLASSES], seed=0, dtype=torch.float64)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.3 + 0.1 * i)
        games = [
            masked(log_odds(model, 1), row + shift, features(FEATURES), constant(row))
            for shift in (0.5, 1.0, -0.5)
        ]
        losses = torch.linspace(1.0, 1.5, 5, dtype=torch.float64) / (1 + i)
        snapshots.append(Snapshot(step, and_or_games(games), losses, losses + 0.01 * i))
    return tuple(snapshots)


def _together(model: nn.Module, data: Tensor, labels: Tensor, inputs: int) -> dict[str, object]:
    """What every scene holds."""
    x, score = data[:inputs], log_odds(model, target=1)
    of_table = relu_network([FEATURES, 8, CLASSES], seed=0, dtype=data.dtype)
    row = torch.linspace(-1, 2, FEATURES).to(data.dtype)
    games = _games()
    table = torch.randn(inputs, FEATURES, generator=torch.Generator().manual_seed(3)).to(data.dtype)
    tried = log_odds(of_table, 1)
    return {
        "score": score,
        "model": model,
        "game": masked(log_odds(of_table, 1), row, features(FEATURES), constant(row)),
        "games": games[:2],
        "terms": _logics()[:3],
        "other": _logics()[3:],
        "history": _history(),
        "x": x,
        "data": data,
        "labels": labels,
        "baseline": constant(x[0]),
        "target": 1,
        "concept": data[:8],
        "contrast": data[8:],
        "steps": 16,
        "samples": 32,
        "radius": 0.1,
        "noise": 0.1,
        "generator": torch.Generator().manual_seed(1),
        "batch_size": 5,
        "window": 3,
        "trial": on_trial(tried, table, features(FEATURES), constant(table[0])),
        "attribution": Attribution(table * torch.arange(1, 1 + FEATURES)),
        "explain": input_x_gradient,
        "region": (x != x[:1].mean()).cumsum(-1) % 3 == 1,
        "runs": [input_x_gradient, lambda score, x: Attribution(x * x.flip(-1))],
        "rewritten": log_odds(nn.Sequential(model, nn.Identity()), target=1),
        "train": _trained,
        "kinds": (_kind(table),),
    }


def _kind(table: Tensor) -> Kind:
    """A weighted sum of the columns of a table."""
    weights = torch.arange(1, 1 + FEATURES).to(table)
    score = logit(linear_network(weights), 0)
    return Kind("linear", score, table, table[0] * 0, features(FEATURES), truth=weights * table)


def _trained(data: Tensor, labels: Tensor, generator: torch.Generator) -> nn.Module:
    """A small network, trained by plain descent until it knows a few rows by heart."""
    wide = data[0].numel()
    first = torch.randn(wide, 64, generator=generator).to(data.dtype) / wide**0.5
    model = nn.Sequential(nn.Flatten(), nn.Linear(wide, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    model = model.to(data)
    with torch.no_grad():
        model[1].weight.copy_(first.T)
        model[1].bias.zero_()
        model[3].weight.zero_()
        model[3].bias.zero_()
    with torch.enable_grad():
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(200):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(data.detach()), labels).backward()
            optimiser.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval()
