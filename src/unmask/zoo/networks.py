"""Tiny networks of many kinds, each with one output: what `kinds` teaches."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.score import token_log_odds
from unmask.zoo.llama import Llama

TOKENS = 6
WIDTH = 1 + TOKENS


def mlp(activation: type[nn.Module]) -> nn.Sequential:
    """Two hidden layers.

    Args:
        activation: behind each of them.
    """
    return nn.Sequential(
        *(nn.Linear(TOKENS, 24), activation(), nn.Linear(24, 24), activation(), nn.Linear(24, 1))
    )


class GatedMLP(nn.Module):
    """A hidden layer, each unit of which another one lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(TOKENS, 24), nn.Linear(TOKENS, 24)
        self.head = nn.Linear(24, 1)

    def forward(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch 1"]:
        return self.head(self.value(x) * torch.sigmoid(self.gate(x)))


def cnn() -> nn.Sequential:
    """Two convolutions, with batch normalisation and a maximum between them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 8 * 12, 1)),
    )


class PooledResidual(nn.Module):
    """Convolutions with a way around two of them, and a mean over all places at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.block = _Residual(12)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 1)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1"]:
        return self.head(self.pool(self.block(self.stem(x))).flatten(1))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.inner, self.outer = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x + self.norm(self.second(self.inner(self.first(x)))))


class _ChannelsFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def conv_1d() -> nn.Sequential:
    """A convolution along a sequence of vectors."""
    return nn.Sequential(
        *(_ChannelsFirst(), nn.Conv1d(WIDTH, 12, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(12 * TOKENS, 1)),
    )


class Reader(nn.Module):
    """Reads a sequence of vectors from left to right, and answers from its last state.

    Args:
        kind: of recurrence, nn.LSTM or nn.GRU.
    """

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.rnn = kind(WIDTH, 12, batch_first=True)
        self.head = nn.Linear(12, 1)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch 1"]:
        return self.head(self.rnn(x)[0][:, -1])


class Encoder(nn.Module):
    """A layer of self-attention over a sequence of vectors, and a mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch 1"]:
        return self.head(self.encoder(self.embed(x)).mean(1))


class WordReader(nn.Module):
    """Looks each token up by its id and its place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.hidden = nn.Linear(6 * TOKENS, 24)
        self.head = nn.Linear(24, 1)

    def forward(self, x: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch 1"]:
        return self.head(torch.relu(self.hidden(self.embedding(x).flatten(1))))


class NextToken(nn.Module):
    """How strongly a language model prefers a token behind a prompt.

    Args:
        model: the language model.
        token: which.
    """

    def __init__(self, model: Llama, token: int) -> None:
        super().__init__()
        self.model, self.token = model, token

    def forward(self, x: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch 1"]:
        return token_log_odds(self.model, self.token)(x)[:, None]


class MessagePassing(nn.Module):
    """Two rounds of messages along a path of nodes; the first node answers.

    What it can hear of is the two next to it, so that all others have no part in its answer.
    """

    edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_heard = nn.Linear(WIDTH, 12), nn.Linear(WIDTH, 12)
        self.second, self.second_heard = nn.Linear(12, 12), nn.Linear(12, 12)
        self.head = nn.Linear(12, 1)
        along = torch.ones(TOKENS - 1)
        self.register_buffer("edges", torch.diag(along, 1) + torch.diag(along, -1))

    def forward(self, x: Float[Tensor, "batch nodes width"]) -> Float[Tensor, "batch 1"]:
        x = torch.relu(self.first(x) + self.first_heard(self.edges @ x))
        x = torch.relu(self.second(x) + self.second_heard(self.edges @ x))
        return self.head(x[:, 0])


class TwoInputs(nn.Module):
    """Takes a row of a table, and beside it another."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(TOKENS, 24), nn.Linear(2, 24), nn.Linear(24, 1)

    def forward(
        self, x: Float[Tensor, "batch columns"], other: Float[Tensor, "batch 2"]
    ) -> Float[Tensor, "batch 1"]:
        return self.head(torch.relu(self.one(x) + self.other(other)))


class Fixed(nn.Module):
    """A model of two inputs, of which the second is always the same.

    Args:
        model: of two inputs.
        other: the second.
    """

    other: Tensor

    def __init__(self, model: TwoInputs, other: Float[Tensor, "1 2"]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("other", other)

    def forward(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch 1"]:
        return self.model(x, self.other.expand(len(x), 2))
