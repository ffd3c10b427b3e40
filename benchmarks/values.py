"""All 2^n values of a prediction and their Moebius transform, against a plain forward loop.

The limit is a loop of `inference_mode` forward passes over 2^n inputs that are ready in memory,
at the batch size that serves it best. Both contestants run on one thread, in turn, and the
median ratio of processor times is printed; shapiq joins where it is installed.

    python benchmarks/values.py [--quick]
"""

import argparse
import statistics
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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds, no peer")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image = (1, 28, 28)
    work = [
        ("MLP, n = 14", mlp(14), features(14), (14,)),
        ("MLP, n = 16", mlp(16), features(16), (16,)),
        ("LeNet, n = 12", lenet(), patches(image, (3, 4)), image),
    ]
    print(f"{'work':<14} {'batch':>6} {'loop, ms':>9} {'ours, ms':>9} {'ratio':>6} {'shapiq':>7}")
    for name, model, players, shape in work:
        x, baseline = torch.randn(shape), torch.zeros(shape)
        print(f"{name:<14} {compare(model, players, x, baseline, quick)}")


def compare(model: nn.Module, players: Players, x: Tensor, baseline: Tensor, quick: bool) -> str:
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
    peer = "" if quick else peer_ratio(model, players, x, baseline, theirs)
    return f"{best:>6} {theirs * 1e3:>9.1f} {mine * 1e3:>9.1f} {ratio:>6.2f} {peer:>7}"


def peer_ratio(
    model: nn.Module, players: Players, x: Tensor, baseline: Tensor, limit: float
) -> str:
    """shapiq's exact Moebius transform of the same game, whose values it asks for in one call."""
    try:
        from shapiq import ExactComputer
        from shapiq.game import Game
    except ImportError:
        return ""
    n = len(players.names)
    game = masked(log_odds(model, 1), x, players, baseline)

    class Peer(Game):
        def __init__(self) -> None:
            super().__init__(n_players=n, normalize=False)

        def value_function(self, masks):
            return game(torch.from_numpy(masks)).numpy()

    seconds = cpu_seconds(lambda: ExactComputer(n_players=n, game=Peer())("Moebius"))
    return f"{seconds / limit:.0f}"


if __name__ == "__main__":
    main()
