"""All 2^n values of recurrent networks by shared work, against a plain forward loop.

The limit is a loop of `inference_mode` forward passes over the masked texts, ready in memory, at
the batch size that serves it best. Random weights of width 256, a sentence of 12 words, all of them
players. Both run on one thread, in turn; CPU time; medians over rounds of the ratio, with the
least and the largest. Checks and planning are part of the time.

    OMP_NUM_THREADS=1 python benchmarks/shared_recurrent.py [--rounds 9] [name]...
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmask import logit, masked, words
from unmask.allocator import keep_freed_blocks
from unmask.lattice import coalitions
from unmask.sharing import rows_run

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


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def loop(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in inputs.split(batch)])


def measure(name: str, mean: bool, rounds: int) -> None:
    torch.manual_seed(0)
    model = Reader(KINDS[name](), mean).eval()
    x, baseline = torch.randint(2, VOCABULARY, (WORDS,)), torch.ones(WORDS, dtype=torch.long)
    players = words(range(WORDS))
    game = masked(logit(model, 1), x, players, baseline)
    ready = torch.where(players.cover(coalitions(WORDS)), x, baseline)
    keep_freed_blocks()
    trials = {
        batch: min(cpu_seconds(lambda b=batch: loop(model, ready[:1024], b)) for _ in range(3))
        for batch in (32, 64, 128, 256, 512)
    }
    best = min(trials, key=trials.__getitem__)
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        pairs.append((cpu_seconds(lambda: loop(model, ready, best)), cpu_seconds(game.table)))
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    apart = (game.table() - loop(model, ready, best)[:, 1]).abs().max()
    print(
        f"| {name} | {'mean' if mean else 'last'} | {best} | {theirs * 1e3:.0f} | {ours * 1e3:.0f} "
        f"| {statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f}) | {apart:.1e} "
        f"| {rows_run(game)} |",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("names", nargs="*", default=list(KINDS))
    given = options.parse_args()
    torch.set_num_threads(1)
    print("| network | told from | batch | loop, ms | ours, ms | ratio | apart | rows |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.names:
        for mean in (False, True):
            measure(name, mean, given.rounds)


if __name__ == "__main__":
    main()
