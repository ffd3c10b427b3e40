"""Interactions by order, of sets and in trees, beside a plain loop over the same masked inputs.

Contexts are drawn for a grid of 7 x 7 on MNIST, 8 x 8 on CIFAR-10, and all coalitions are used of
twelve parts. The plain loop runs the network on as many masked inputs in batches of 64, made by
torch.where, and does nothing else. Time is CPU time of one thread; the two take turns, and the
ratio is the median over the rounds. What is done with a table that is there already is told in
seconds.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/orders_and_coalitions.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from unmask import Players, Score, log_odds, masked, patches, zoo
from unmask.game import Game
from unmask.interactions import (
    interaction_tree,
    multi_order,
    multivariate_shapley,
    near_pairs,
)
from unmask.results import Hierarchy, Measurement

BATCH = 64
GRIDS = {"mnist": (7, 7), "cifar10": (8, 8)}


def plain(score: Score, x: Tensor, players: Players, baseline: Tensor, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(rows, len(players.names), generator=generator) < 0.5
    with torch.no_grad():
        for some in masks.split(BATCH):
            score(torch.where(players.cover(some), x, baseline))


def evaluations(result: Measurement | Hierarchy) -> int:
    if isinstance(result, Hierarchy):
        return result.evaluations or 0
    return int(result.numbers["evaluations"])


def ratio(
    run: Callable[[], Measurement | Hierarchy], loop: Callable[[int], None], rounds: int
) -> tuple[int, float, float]:
    rows = evaluations(run())
    ratios, spent = [], []
    for _ in range(rounds):
        start = time.process_time()
        run()
        middle = time.process_time()
        loop(rows)
        end = time.process_time()
        spent.append(middle - start)
        ratios.append((middle - start) / (end - middle))
    return rows, statistics.median(ratios), statistics.median(spent)


def of_network(name: str, rounds: int) -> None:
    exhibit, grid = getattr(zoo, name)(), GRIDS[name]
    assert exhibit.labels is not None
    x, baseline, coarse = exhibit.inputs[0], exhibit.baseline(0), exhibit.players(0)
    score = log_odds(exhibit.model, exhibit.labels[0])
    fine = patches(tuple(x.shape), grid)
    few, many = (masked(score, x, players, baseline) for players in (coarse, fine))
    pairs = near_pairs(grid, count=10)
    runs: dict[str, tuple[Players, Callable[[], Measurement | Hierarchy]]] = {
        "multi_order, drawn": (fine, lambda: multi_order(many, pairs=pairs, samples=8)),
        "multi_order, exact": (coarse, lambda: multi_order(few)),
        "multivariate_shapley, drawn": (
            fine,
            lambda: multivariate_shapley(many, members=range(5), samples=128),
        ),
        "multivariate_shapley, exact": (coarse, lambda: multivariate_shapley(few)),
        "interaction_tree, exact": (coarse, lambda: interaction_tree(few)),
    }
    for what, (players, run) in runs.items():

        def loop(rows: int, players: Players = players) -> None:
            plain(score, x, players, baseline, rows)

        rows, found, spent = ratio(run, loop, rounds)
        print(f"| {name} | {what} | {rows} | {found:.2f} | {spent:.2f} |", flush=True)


def of_tables(rounds: int) -> None:
    for players in (12, 16, 20):
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(2**players, generator=generator, dtype=torch.float64)
        names = tuple(map(str, range(players)))
        game = Game(lambda masks, table=table: table[: len(masks)], names, lambda t=table: t)
        runs: dict[str, Callable[[], Measurement | Hierarchy]] = {
            "multi_order": lambda g=game: multi_order(g, samples=10**6),
            "multivariate_shapley, 12 members": lambda g=game: multivariate_shapley(
                g, members=range(12), samples=10**6
            ),
            "interaction_tree": lambda g=game: interaction_tree(g, samples=10**6),
        }
        for what, run in runs.items():
            spent = []
            for _ in range(rounds):
                start = time.process_time()
                run()
                spent.append(time.process_time() - start)
            print(f"| table of {players} | {what} | {statistics.median(spent):.3f} s |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("| network | work | evaluations | ratio to the plain loop | CPU s |")
    print("|---|---|---|---|---|")
    for name in GRIDS:
        of_network(name, rounds)
    of_tables(rounds)


if __name__ == "__main__":
    main()
