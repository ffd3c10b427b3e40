"""All 2^n values by shared work against a plain forward loop: what three benchmarks have in common.

The limit is a loop of `inference_mode` forward passes over the masked inputs, ready in memory, at
the batch size that serves it best, after the C library was taught to keep freed memory, which by
itself makes it a fifth faster. It scores nothing. Both run on one thread, in turn; CPU time;
medians over rounds of the ratio, with the least and the largest. A loop that takes long is run on
some masks, drawn at random, and counted as often as they are fewer. Checks and planning are part of
our time; where the loop is short, so is told what `masked` takes without sharing.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask import Players, masked, masking
from unmask.allocator import keep_freed_blocks
from unmask.lattice import coalitions
from unmask.score import Score
from unmask.sharing import rows_run


@dataclass
class Work:
    """A table to be made.

    Args:
        score: of a model.
        x: one input.
        players: of it.
        background: what stands where they are hidden.
        thinned: how many masks stand for one in the loop.
        batches: sizes that are tried for the loop.
    """

    score: Score
    x: Tensor
    players: Players
    background: Tensor
    thinned: int = 1
    batches: tuple[int, ...] = (32, 64, 128, 256, 512)


def raced(description: str, works: Mapping[str, Callable[[], Work]]) -> None:
    """A line for each of the works that are asked for."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("names", nargs="*", default=list(works))
    given = options.parse_args()
    torch.set_num_threads(1)
    heads = ("network", "n", "batch", "loop, ms", "ours, ms", "ratio", "unshared", "apart", "rows")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name in given.names:
        print(f"| {name} | {' | '.join(measured(works[name](), given.rounds))} |", flush=True)


def measured(work: Work, rounds: int) -> list[str]:
    """What is told of one work."""
    model, masks = work.score.model, coalitions(len(work.players.names))
    generator = torch.Generator().manual_seed(0)
    some = torch.randperm(len(masks), generator=generator)[: len(masks) // work.thinned]
    ready = torch.where(work.players.cover(masks[some]), work.x, work.background)
    game = masked(work.score, work.x, work.players, work.background)
    keep_freed_blocks()
    few = ready[: 64 if work.thinned > 1 else 1024]
    trials = {
        b: min(seconds(lambda b=b: loop(model, few, b)) for _ in range(3)) for b in work.batches
    }
    best = min(trials, key=trials.__getitem__)
    share, plain = masking.way_to_share, []
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        limit = work.thinned * seconds(lambda: loop(model, ready, best))
        pairs.append((limit, seconds(game.table)))
        told = rows_run(game)
        if work.thinned == 1 and number < 3:  # what `masked` did before
            masking.way_to_share = lambda *_: None
            plain.append(seconds(game.table) / limit)
            masking.way_to_share = share
    with torch.inference_mode():
        true = torch.cat([work.score(part) for part in ready.split(best)])
    ratios = sorted(ours / theirs for theirs, ours in pairs)
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    return [
        f"{len(work.players.names)}",
        f"{best}",
        f"{1e3 * theirs:.0f}",
        f"{1e3 * ours:.0f}",
        f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})",
        f"{statistics.median(plain):.2f}" if plain else "",
        f"{float((game.table()[some] - true).abs().max()):.0e}",
        f"{told}",
    ]


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def loop(model: Callable[[Tensor], Tensor], inputs: Tensor, batch: int) -> list[Tensor]:
    """The first of a batch of outputs is kept: all of them might not fit into memory."""
    with torch.inference_mode():
        return [model(part)[:1] for part in inputs.split(batch)]
