"""All 2^n values by shared work, against a plain forward loop.

The limit is a loop of `inference_mode` forward passes over the masked inputs, ready in memory, at
the batch size that serves it best, after the C library was taught to keep freed memory, which by
itself makes it a fifth faster. Both run on one thread, in turn; CPU time; medians over rounds of
the ratio, with the least and the largest. SqueezeNet's loop is run on every sixteenth mask, and
counted sixteen times. Checks and planning are part of the time.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/shared_values.py [--rounds 9] [name]...
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmask import log_odds, masked, masking, patches
from unmask.allocator import keep_freed_blocks
from unmask.lattice import coalitions
from unmask.sharing import rows_run
from unmask.zoo.lenet import LeNet
from unmask.zoo.resnet import ResNet20
from unmask.zoo.squeezenet import SqueezeNet
from unmask.zoo.vgg import VGG11

GRID = (3, 4)
WORK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, int], int]] = {
    "lenet": (LeNet, (1, 28, 28), GRID, 1),
    "lenet_10": (LeNet, (1, 28, 28), (2, 5), 1),
    "vgg": (lambda: VGG11(width=0.25), (3, 32, 32), GRID, 1),
    "resnet": (ResNet20, (3, 32, 32), GRID, 1),
    "squeezenet": (SqueezeNet, (3, 224, 224), GRID, 16),
}
"""A network, its input, the players, and how many masks stand for one in the loop."""


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def loop(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in inputs.split(batch)])


def measure(name: str, rounds: int) -> None:
    make, shape, grid, thinned = WORK[name]
    torch.manual_seed(0)
    model, x, baseline = make().eval(), torch.rand(shape), torch.zeros(shape)
    players = patches(shape, grid)
    masks = coalitions(len(players.names))
    game = masked(log_odds(model, 1), x, players, baseline)
    ready = torch.where(players.cover(masks[::thinned]), x, baseline)
    keep_freed_blocks()
    sizes = (2, 4, 8, 16) if thinned > 1 else (32, 64, 128, 256)
    some = ready[: 64 if thinned > 1 else 1024]
    trials = {
        b: min(cpu_seconds(lambda b=b: loop(model, some, b)) for _ in range(3)) for b in sizes
    }
    best = min(trials, key=trials.__getitem__)
    share, plain = masking.way_to_share, []
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        limit = thinned * cpu_seconds(lambda: loop(model, ready, best))
        pairs.append((limit, cpu_seconds(game.table)))
        rows = rows_run(game)
        if thinned == 1 and number < 5:  # what `masked` did before
            masking.way_to_share = lambda *_: None
            plain.append(cpu_seconds(game.table) / limit)
            masking.way_to_share = share
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"| {name} | {len(players.names)} | {best} | {theirs * 1e3:.0f} | {ours * 1e3:.0f} "
        f"| {statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f}) "
        f"| {statistics.median(plain) if plain else float('nan'):.2f} | {rows} |",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("names", nargs="*", default=list(WORK))
    given = options.parse_args()
    torch.set_num_threads(1)
    print("| network | n | batch | loop, ms | ours, ms | ratio | without sharing | rows |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.names:
        measure(name, given.rounds)


if __name__ == "__main__":
    main()
