"""Terms that two networks share: time to a proven gap, beside one-by-one extraction and descent.

    python benchmarks/generalizable.py [--quick]

Networks are small and untrained, one common part and one of their own each, so that terms of every
order are dense: the hard case. Times are the process's CPU seconds with one thread, medians of
rounds in which all are run in turn. The descent is gradient descent with momentum 0.9 on the split
of each network, as in the paper's code but with fast transforms, at a constant rate; the best of
three rates is compared.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch import Tensor

from unmask.interactions import and_or_tables, generalizable_tables
from unmask.lattice import MIRROR, MOEBIUS, transform

ALPHA = 0.1
RATES = (1e-6, 1e-5, 1e-4)
STEPS = 10_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="fewer players and steps")
    quick = arguments.parse_args().quick
    torch.set_num_threads(1)
    print("Time to a proven gap, and of one-by-one extraction to the same")
    print(f"{'players':>7} {'inputs':>6} {'tol.':>5} {'asked':>7} {'joint s':>8} {'single s':>8}")
    jobs = [(8, 1, 0.0, 1e-2), (10, 1, 0.0, 1e-2), (10, 16, 0.0, 1e-2), (10, 1, 0.0, 1e-3)]
    jobs += [(10, 1, 0.02, 1e-2), (12, 1, 0.0, 1e-2)]
    jobs += [] if quick else [(12, 16, 0.0, 1e-2), (14, 1, 0.0, 1e-2)]
    for players, inputs, tolerance, precision in jobs:
        tables, names = networks(players, inputs), tuple(map(str, range(players)))
        flat = tables.flatten(0, 1)
        spent: tuple[list[float], list[float]] = ([], [])
        for _ in range(1 if quick else 3):
            for own, solve, given in zip(
                spent, (generalizable_tables, and_or_tables), (tables, flat), strict=True
            ):
                begin = time.process_time()
                solve(given, names, tolerance=tolerance, precision=precision)
                own.append(time.process_time() - begin)
        joint, single = map(statistics.median, spent)
        print(
            f"{players:7d} {inputs:6d} {tolerance:5.2f} {precision:7.0e} {joint:8.3f} {single:8.3f}"
        )

    steps = STEPS // 10 if quick else STEPS
    print(f"\nAgainst descent, {steps} steps at the best of {len(RATES)} rates")
    print(f"{'players':>7} {'descent':>9} {'solver':>9} {'excess':>7} {'ratio of times':>14}")
    for players in (8, 10):
        tables, names = networks(players, 1), tuple(map(str, range(players)))
        reached, theirs, ours = [], [], []
        for rate in RATES:
            begin = time.process_time()
            reached.append(descent(tables[0], rate, steps))
            theirs.append(time.process_time() - begin)
            begin = time.process_time()
            terms = generalizable_tables(tables, names, precision=1e-2)[0]
            ours.append(time.process_time() - begin)
        own = float(price(terms.effects))
        print(
            f"{players:7d} {min(reached):9.2f} {own:9.2f} {min(reached) / own - 1:7.1%} "
            f"{statistics.median(theirs) / statistics.median(ours):14.0f}"
        )


def price(effects: Tensor) -> Tensor:
    size = effects.abs()
    return ((1 - ALPHA) * size.amax(0) + ALPHA * size.sum(0)).sum()


def networks(players: int, inputs: int) -> Tensor:
    """Tables of two networks with half of their values in common."""
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=players))).double().flip(1)

    def network(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        hidden = masks
        for a, b in ((players, 24), (24, 24)):
            weights = torch.randn(a, b, generator=generator).double()
            hidden = torch.relu(hidden @ weights - 0.5)
        return hidden @ torch.randn(24, generator=generator).double()

    return torch.stack(
        [
            torch.stack([network(3 * i) + 0.5 * network(3 * i + own) for own in (1, 2)])
            for i in range(inputs)
        ]
    )


def descent(tables: Tensor, rate: float, steps: int) -> float:
    """The price that the paper's descent reaches, single players counted once."""
    tables = tables - tables[:, :1]
    p, speed = torch.zeros_like(tables), torch.zeros_like(tables)
    mirrored = MOEBIUS @ MIRROR
    half_and, half_or = transform(tables / 2, MOEBIUS), transform(tables / 2, mirrored)
    single = 2 ** torch.arange(tables.shape[1].bit_length() - 1)
    least = float("inf")
    for step in range(steps):
        ands, ors = half_and + transform(p, MOEBIUS), half_or - transform(p, mirrored)
        if step % 100 == 0 or step == steps - 1:
            merged, rest = ands.clone(), -ors
            merged[:, single] += rest[:, single]
            rest[:, single] = 0
            least = min(least, float(price(merged[:, 1:]) + price(rest[:, 1:])))
        slope = transform(subgradient(ands), MOEBIUS.T) - transform(subgradient(ors), mirrored.T)
        speed = 0.9 * speed + slope
        p = p - rate * speed
    return least


def subgradient(effects: Tensor) -> Tensor:
    largest = effects.abs() == effects.abs().amax(0)
    return effects.sign() * (ALPHA + (1 - ALPHA) * largest / largest.sum(0))


if __name__ == "__main__":
    main()
