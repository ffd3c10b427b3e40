"""Small recurrent networks, and short texts for them."""

import torch
from torch import nn

from shareable import definition, is_shared
from unmask import Players, logit, masked

KINDS = [nn.LSTM, nn.GRU, nn.RNN]
OWNER = torch.tensor([-1, 3, 0, 0, 1, -1, 2, 3, -1])
"""Players of several tokens, out of order and apart, and tokens before, between and after them."""


def last(net, outputs, _):
    return outputs[:, -1] if net.rnn.batch_first else outputs[-1]


def mean(net, outputs, _):
    return outputs.mean(1 if net.rnn.batch_first else 0)


def states(net, _, state):
    """The last states of all layers and directions."""
    shown = state[0] if net.rnn.mode == "LSTM" else state
    return shown.transpose(0, 1).flatten(1)


def cells(net, _, state):
    """The same, of the cells of an LSTM, unpacked one by one."""
    kept = state[1] if net.rnn.mode == "LSTM" else state
    count = net.rnn.num_layers * (1 + net.rnn.bidirectional)
    return torch.cat([kept[i] for i in range(count)], 1)


def some(net, outputs, state):
    """Two times, one from each end, and a state."""
    shown = state[0] if net.rnn.mode == "LSTM" else state
    if net.rnn.batch_first:
        return torch.cat([outputs[:, 2], outputs[:, -3, :], shown[-1]], 1)
    return torch.cat([outputs[2], outputs[-3, :], shown[-1]], 1)


def attended(net, outputs, _):
    """A mean over time, weighted by what the outputs say."""
    outputs = outputs if net.rnn.batch_first else outputs.transpose(0, 1)
    weights = outputs.sum(2, keepdim=True).softmax(1)
    return (weights * outputs).sum(1)


READS = [last, mean, states, cells, some, attended]


class Net(nn.Module):
    """Reads token ids, or a sequence of vectors of four numbers."""

    def __init__(self, kind, read, *, ids=True, width=6, **options):
        super().__init__()
        torch.manual_seed(0)
        self.read = read
        self.begin = nn.Embedding(20, 5) if ids else nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5))
        self.rnn = kind(5, width, **options)
        self.end = nn.LazyLinear(3)
        self.double().eval()
        with torch.no_grad():
            self(torch.zeros(1, 9, dtype=torch.long) if ids else torch.zeros(1, 9, 4).double())

    def forward(self, x):
        x = self.begin(x)
        x = x if self.rnn.batch_first else x.transpose(0, 1)
        outputs, state = self.rnn(x)
        return self.end(self.read(self, outputs, state))


def text(*, ids=True, length=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    if ids:
        return torch.randint(1, 20, (length,), generator=generator)
    return torch.randn(length, 4, dtype=torch.float64, generator=generator)


def owned(x, owner=OWNER):
    spread = owner if x.ndim == 1 else owner[:, None].expand(x.shape).contiguous()
    return Players(spread, tuple("abcdefgh"[: int(owner.max()) + 1]))


def is_right(model, x, players, backgrounds, **options):
    score = logit(model, 1)
    game = masked(score, x, players, backgrounds, **options)
    apart = (game.table() - definition(score, x, players, backgrounds)).abs().max()
    assert apart <= 1e-12
    return is_shared(game)
