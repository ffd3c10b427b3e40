"""All 2^n values of recurrent networks by shared work, against a plain forward loop.

Random weights of width 256, a sentence of 12 words, all of them players. How it is measured:
`shared_tables.py`.

    OMP_NUM_THREADS=1 python benchmarks/shared_recurrent.py [--rounds 9] [name]...
"""

from collections.abc import Callable
from functools import partial

import torch
from shared_tables import Work, raced
from torch import Tensor, nn

from unmask import logit, words

WIDTH, WORDS, VOCABULARY = 256, 12, 5000


class Reader(nn.Module):
    """Reads a text, and tells one of two classes from what it made of it.

    Args:
        rnn: reads vectors of words.
        mean: whether the class is told from the mean over time, not from the last time.
    """

    def __init__(self, rnn: nn.RNNBase, mean: bool) -> None:
        super().__init__()
        self.look_up = nn.Embedding(VOCABULARY, WIDTH)
        self.rnn, self.mean = rnn, mean
        self.tell = nn.Linear(WIDTH * (1 + rnn.bidirectional), 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.rnn(self.look_up(x))
        return self.tell(outputs.mean(1) if self.mean else outputs[:, -1])


KINDS: dict[str, Callable[[], nn.RNNBase]] = {
    "lstm": lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True),
    "lstm of two layers": lambda: nn.LSTM(WIDTH, WIDTH, 2, batch_first=True),
    "lstm, both directions": lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True),
    "gru": lambda: nn.GRU(WIDTH, WIDTH, batch_first=True),
    "rnn": lambda: nn.RNN(WIDTH, WIDTH, batch_first=True),
}


def reading(kind: Callable[[], nn.RNNBase], mean: bool) -> Work:
    torch.manual_seed(0)
    model = Reader(kind(), mean).eval()
    x, hidden = torch.randint(2, VOCABULARY, (WORDS,)), torch.ones(WORDS, dtype=torch.long)
    return Work(logit(model, 1), x, words(range(WORDS)), hidden)


WORK = {
    f"{name}, {'mean' if mean else 'last'}": partial(reading, kind, mean)
    for name, kind in KINDS.items()
    for mean in (False, True)
}


if __name__ == "__main__":
    raced(__doc__.splitlines()[0], WORK)
