"""The sparsest AND-OR terms: time to a proven gap, and the papers' descent beside it.

    python benchmarks/and_or.py [--quick]

The games are networks n-64-64-64-2 trained on a planted rule, at their first samples. Times are the
process's CPU seconds with one thread, so that what else the machine does counts little. The descent
is gradient descent with momentum 0.9 on the split v = a + o, with fast transforms in place of the
dense matrices of the papers' code, 10,000 steps at a rate that falls by ten; it is run at the rates
of the papers, and its best is compared with a solve to a gap of 1 %. The two are run in turn.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from unmask.interactions.and_or import and_or_tables
from unmask.lattice import MIRROR, MOEBIUS, coalitions, transform

RATES = (1e-6, 1e-5, 1e-4)
DESCENT_STEPS = 10_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="fewer players and steps")
    quick = arguments.parse_args().quick
    torch.set_num_threads(1)

    print("Time to a proven gap")
    print(f"{'players':>7} {'tables':>6} {'tolerance':>9} {'asked':>7} {'gap':>8} {'CPU s':>8}")
    jobs = [
        (8, 1, 0.0, 1e-6),
        (10, 1, 0.0, 1e-6),
        (10, 1, 0.04, 1e-6),
        (10, 64, 0.0, 1e-2),
        (12, 1, 0.0, 1e-2),
        (12, 1, 0.0, 1e-3),
        (12, 16, 0.0, 1e-2),
        (12, 1, 0.04, 1e-2),
        (14, 1, 0.0, 1e-2),
        (14, 1, 0.04, 1e-2),
        (16, 1, 0.0, 1e-2),
        (16, 1, 0.04, 1e-2),
        (18, 1, 0.0, 1e-2),
    ]
    if quick:
        jobs = [job for job in jobs if job[0] <= 12]
    made: dict[int, Tensor] = {}
    for players, count, tolerance, precision in jobs:
        if players not in made:
            made[players] = games(players, 64 if players == 10 else 16 if players == 12 else 1)
        tables, names = made[players][:count], tuple(map(str, range(players)))

        def solve(tables=tables, names=names, tolerance=tolerance, precision=precision):
            return and_or_tables(tables, names, tolerance=tolerance, precision=precision)

        seconds, terms = timed(solve, 1 if players > 14 else 3)
        gap = max(one.gap or 0.0 for one in terms)
        print(
            f"{players:7d} {count:6d} {tolerance:9.2f} {precision:7.0e} {gap:8.1e} {seconds:8.3f}"
        )

    steps = DESCENT_STEPS // 10 if quick else DESCENT_STEPS
    print(f"\nAgainst descent, {steps} steps, at the best of {len(RATES)} rates")
    print(
        f"{'players':>7} {'AND only':>9} {'descent':>9} {'solver':>9} {'excess':>7} "
        f"{'descent s':>9} {'solver s':>8} {'ratio':>7}"
    )
    for players in (8, 10, 12):
        table, names = made[players][:1], tuple(map(str, range(players)))
        spent: dict[str, list[float]] = {"descent": [], "solver": []}
        reached = []
        for rate in RATES:
            seconds, found = timed(lambda table=table, rate=rate: descent(table, rate, steps))
            spent["descent"].append(seconds)
            reached.append(found)
            seconds, terms = timed(
                lambda table=table, names=names: and_or_tables(table, names, precision=1e-2)
            )
            spent["solver"].append(seconds)
        least = min(reached)
        own = float(terms[0].effects.abs().sum())
        ours, theirs = (statistics.median(spent[who]) for who in ("solver", "descent"))
        alone = float(transform(table, MOEBIUS)[0, 1:].abs().sum())
        print(
            f"{players:7d} {alone:9.1f} {least:9.2f} {own:9.2f} {least / own - 1:7.1%} "
            f"{theirs:9.2f} {ours:8.3f} {theirs / ours:7.0f}"
        )


def timed(run: Callable, times: int = 1) -> tuple[float, object]:
    """The median CPU seconds of some runs, and what the last returned."""
    seconds, result = [], None
    for _ in range(times):
        begin = time.process_time()
        result = run()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds), result


def games(players: int, count: int) -> Tensor:
    """Log-odds tables, less the value of nothing, of a network trained on a planted rule."""
    generator = torch.Generator().manual_seed(players)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x = normal(2000, players)
    b = (x > 0).float()
    score = 2 * b[:, 0] * b[:, 1] + 1.5 * b[:, 2] * b[:, 3] * b[:, 4] + b[:, 5:7].amax(1)
    score += -1.5 * b[:, 1] * b[:, 5] + 0.5 * x[:, 7] - 1.2 + 0.1 * normal(2000)
    label = (score > 0) ^ (torch.rand(2000, generator=generator) < 0.05)
    sizes = (players, 64, 64, 64, 2)
    layers: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        layer = nn.Linear(into, out)
        with torch.no_grad():
            bound = into**-0.5
            for own in (layer.weight, layer.bias):
                own.copy_((2 * torch.rand(own.shape, generator=generator) - 1) * bound)
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(300):
        rows = torch.randint(2000, (256,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), label[rows].long()).backward()
        optimizer.step()
    network.double()
    masks, mean = coalitions(players), x.mean(0).double()
    tables = []
    with torch.no_grad():
        for row in range(count):
            logits = network(torch.where(masks, x[row].double(), mean))
            own = int(label[row])
            tables.append(logits[:, own] - logits[:, 1 - own])
    table = torch.stack(tables)
    return table - table[:, :1]


def descent(table: Tensor, rate: float, steps: int) -> float:
    """The L1 norm that the papers' descent reaches, single players counted once."""
    p, speed = torch.zeros_like(table), torch.zeros_like(table)
    mirrored = MOEBIUS @ MIRROR
    half_and, half_or = transform(table / 2, MOEBIUS), transform(table / 2, mirrored)
    least = float("inf")
    falls = np.logspace(0, -1, steps)
    for step in range(steps):
        ands, ors = half_and + transform(p, MOEBIUS), half_or - transform(p, mirrored)
        if step % 100 == 0 or step == steps - 1:
            least = min(least, total(ands, -ors))
        slope = transform(ands.sign(), MOEBIUS.T) - transform(ors.sign(), mirrored.T)
        speed = 0.9 * speed + slope
        p = p - rate * falls[step] * speed
    return least


def total(ands: Tensor, ors: Tensor) -> float:
    players = ands.shape[1].bit_length() - 1
    ands, ors = ands.clone(), ors.clone()
    single = 2 ** torch.arange(players)
    ands[:, single] += ors[:, single]
    ors[:, single] = 0
    return float(ands[:, 1:].abs().sum() + ors[:, 1:].abs().sum())


if __name__ == "__main__":
    main()
