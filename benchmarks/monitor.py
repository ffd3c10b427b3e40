"""What it costs to watch a training: values beside a plain loop of forward passes, and the solver.

LeNet on digits of MNIST, 64 samples with ten players (512 or 1,024 masks each). First the values of
all masks of the samples, in turns with the same number of rows run through the network in plain
batches of the same size, whose masked inputs were made beforehand. Then the sparsest AND-OR terms
of all samples to the monitor's gap. Then one whole step of a monitor. CPU time of one thread,
medians over rounds, quartiles beside them.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/monitor.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from unmask import Players, log_odds, masked, zoo
from unmask.interactions import and_or_tables
from unmask.lattice import coalitions
from unmask.masking import cached_rows
from unmask.run import InteractionMonitor
from unmask.run.training.monitor import PRECISION

SAMPLES = 64
PLAYERS = 10


def spent(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def told(what: str, seconds: list[float], unit: str = "s") -> None:
    low, middle, high = statistics.quantiles(seconds, n=4)
    print(f"| {what} | {middle:.3f} {unit} | {low:.3f} to {high:.3f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    exhibit = zoo.mnist()
    x = torch.stack(exhibit.inputs[:SAMPLES])
    targets = torch.tensor(exhibit.labels[:SAMPLES])
    down, across = torch.arange(28) * 2 // 28, torch.arange(28) * 5 // 28
    owner = (down[:, None] * 5 + across).expand(1, 28, 28).clone()
    players = Players(owner, tuple(f"patch {i}" for i in range(PLAYERS)))
    baseline = torch.zeros(1, 28, 28)
    games = [
        masked(log_odds(exhibit.model, int(targets[i])), x[i], players, baseline)
        for i in range(SAMPLES)
    ]
    cover = players.cover(coalitions(PLAYERS))
    size = cached_rows(x[0])

    def values() -> list[Tensor]:
        return [game.table() for game in games]

    ready = torch.where(cover, x[0], baseline)

    @torch.no_grad()
    def plain() -> None:
        for _ in range(SAMPLES):
            for rows in ready.split(size):
                exhibit.model(rows)

    tables = torch.stack(values())
    monitor = InteractionMonitor(
        *(exhibit.model, x, targets, players, baseline),
        schedule=range(rounds + 1),
        say=lambda _: None,
    )
    monitor.step(0)
    ratios, solves, steps = [], [], []
    for i in range(rounds):
        loop = spent(plain)
        ratios.append(spent(values) / loop)
        solves.append(spent(lambda: and_or_tables(tables, players.names, precision=PRECISION)))
        steps.append(spent(lambda i=i: monitor.step(i + 1)))
    print(f"| of {SAMPLES} samples, {PLAYERS} players, {rounds} rounds | median | quartiles |")
    print("|---|---|---|")
    told("values over a plain loop", ratios, "x")
    told("AND-OR terms", solves)
    told("one step of the monitor", steps)


if __name__ == "__main__":
    main()
