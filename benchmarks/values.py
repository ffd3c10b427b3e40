"""All 2^n values of a prediction and their Moebius transform, against a plain forward loop.

The limit is a loop of `inference_mode` forward passes over 2^n inputs that are ready in memory,
at the batch size that serves it best. Both contestants run on one thread, in turn. Where memory
happens to lie moves the ratio of one process by a fifth, so several fresh processes are run: the
median of their median ratios is printed, with the least and the largest. shapiq joins where it is
installed.

    python benchmarks/values.py [--quick]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmask import Players, features, log_odds, masked, patches
from unmask.lattice import MOEBIUS, coalitions, transform

BATCHES = (128, 256, 512, 1024, 2048, 4096)


def mlp(inputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 2),
    ).eval()  # fmt: skip


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).eval()  # fmt: skip


def loop(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in inputs.split(batch)])


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def work() -> list[tuple[str, nn.Module, Players, tuple[int, ...]]]:
    image = (1, 28, 28)
    return [
        ("MLP, n = 14", mlp(14), features(14), (14,)),
        ("MLP, n = 16", mlp(16), features(16), (16,)),
        ("LeNet, n = 12", lenet(), patches(image, (3, 4)), image),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer processes and rounds, no peer")
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if given.one is not None:
        _, model, players, shape = work()[given.one]
        found = compare(model, players, torch.randn(shape), torch.zeros(shape), given.quick)
        print(json.dumps(found))
        return
    print(f"{'work':<14} {'batch':>6} {'loop, ms':>9} {'ours, ms':>9} {'ratio':>18} {'shapiq':>7}")
    for number, (name, *_) in enumerate(work()):
        runs = [fresh(number, given.quick) for _ in range(3 if given.quick else 9)]
        batch, loop_ms, ours_ms, ratio, peer = (
            statistics.median(column) for column in zip(*runs, strict=True)
        )
        ratios = sorted(run[3] for run in runs)
        spread = f"{ratio:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        shown = f"{peer:.0f}" if peer else ""
        print(f"{name:<14} {batch:>6.0f} {loop_ms:>9.1f} {ours_ms:>9.1f} {spread:>18} {shown:>7}")


def fresh(number: int, quick: bool) -> list[float]:
    """One comparison in a process of its own."""
    command = [sys.executable, __file__, "--one", str(number), *(["--quick"] if quick else [])]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def compare(
    model: nn.Module, players: Players, x: Tensor, baseline: Tensor, quick: bool
) -> tuple[float, ...]:
    """Best batch, milliseconds of the loop and of ours, the ratio, and the peer's."""
    ready = torch.where(players.cover(coalitions(len(players.names))), x, baseline)

    def limit(batch: int) -> float:
        return cpu_seconds(lambda: loop(model, ready, batch))

    def ours() -> Tensor:
        table = masked(log_odds(model, 1), x, players, baseline).table()
        return transform(table.double(), MOEBIUS)

    best = min(BATCHES, key=lambda batch: min(limit(batch) for _ in range(5)))
    pairs = [(limit(best), cpu_seconds(ours)) for _ in range(5 if quick else 31)]
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    theirs, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
    peer = 0.0 if quick else peer_ratio(model, players, x, baseline, theirs)
    return best, theirs * 1e3, mine * 1e3, ratio, peer


def peer_ratio(
    model: nn.Module, players: Players, x: Tensor, baseline: Tensor, limit: float
) -> float:
    """shapiq's exact Moebius transform of the same game, whose values it asks for in one call."""
    try:
        from shapiq import ExactComputer
        from shapiq.game import Game
    except ImportError:
        return 0.0
    n = len(players.names)
    game = masked(log_odds(model, 1), x, players, baseline)

    class Peer(Game):
        def __init__(self) -> None:
            super().__init__(n_players=n, normalize=False)

        def value_function(self, masks):
            return game(torch.from_numpy(masks)).numpy()

    seconds = cpu_seconds(lambda: ExactComputer(n_players=n, game=Peer())("Moebius"))
    return seconds / limit


if __name__ == "__main__":
    main()
