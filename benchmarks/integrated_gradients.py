"""Integrated gradients to a wanted precision, beside captum's default of 50 steps.

Real networks on inputs that they were not trained on: LeNet on MNIST, ResNet-20 on CIFAR-10,
a perceptron on adult, a small LeNet on the 8x8 digits. Per input: how many gradients were
taken, what gap that leaves of the score, and how far the attributions are from those of a very
fine rule, as a share of their L1 norm, beside how far off they were expected to be. Time is CPU
time of one thread, all methods taking turns.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/integrated_gradients.py [exhibit inputs]...
"""

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from unmask import log_odds, predicted, zoo
from unmask.methods.saliency import integrated_gradients
from unmask.results import Attribution
from unmask.zoo import Exhibit

CAPTUM = 50
EXHIBITS = {"mnist": 200, "cifar10": 200, "adult": 200, "digits": 200}
CLOSELY = 24
"""Inputs of which the true values are found too, and all rules tried."""
NODES = 1024
"""Of the fine rule."""


def by_captum(score: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor) -> Attribution:
    values, left = IntegratedGradients(score).attribute(
        x, baseline, n_steps=CAPTUM, return_convergence_delta=True
    )
    return Attribution(values, gap=-left, evaluations=CAPTUM + 2)


def measure(exhibit: Exhibit, inputs: int) -> None:
    methods: dict[str, dict[str, float]] = {
        "Gauss, 25 nodes": {"steps": 25},
        "gap 0.01": {"gap": 0.01},
        "gap 0.01, error 0.02": {"gap": 0.01, "error": 0.02},
        "error 0.01": {"error": 0.01},
    }
    rows: dict[str, list[tuple[float, ...]]] = {}
    spent: dict[str, list[float]] = {}
    for i, image in enumerate(exhibit.inputs[:inputs]):
        x, baseline = image[None], exhibit.baseline(i)
        score = log_odds(exhibit.model, int(predicted(exhibit.model, x)))
        closely = i < CLOSELY
        fine = None
        if closely:
            fine = integrated_gradients(score, x, baseline=baseline, steps=NODES).values.double()
        change = float((score(x) - score(baseline.expand_as(x))).abs())

        def captum(x: Tensor = x, baseline: Tensor = baseline, score=score) -> Attribution:
            return by_captum(score, x, baseline.expand_as(x))

        def ours(options, x: Tensor = x, baseline: Tensor = baseline, score=score) -> Attribution:
            return integrated_gradients(score, x, baseline=baseline, **options)

        runs = {f"captum, {CAPTUM} steps": captum}
        runs |= {
            name: lambda o=options, ours=ours: ours(o)
            for name, options in methods.items()
            if closely or name == "gap 0.01"
        }
        for name, run in runs.items():
            start = time.process_time()
            found = run()
            spent.setdefault(name, []).append(time.process_time() - start)
            error = math.nan
            if fine is not None:
                error = float((found.values - fine).abs().sum() / fine.abs().sum())
            expected = math.nan
            if found.errors is not None:
                total = found.errors.double().sum() / found.values.double().abs().sum()
                expected = math.sqrt(2 / math.pi) * float(total)
            numbers = (found.evaluations, float(found.gap.abs()) / change, error, expected)
            rows.setdefault(name, []).append(numbers)
    for name, found in rows.items():
        points, gap, error, expected = zip(*found, strict=True)
        ninth = statistics.quantiles(points, n=10)[-1]
        off = statistics.median(error[:CLOSELY])
        guess = statistics.median(expected[:CLOSELY])
        print(
            f"| {exhibit.name} | {name} | {statistics.median(points):g} ({ninth:g}) "
            f"| {statistics.median(gap):.1e} | {max(gap):.1e} | {off:.1e} | {guess:.1e} "
            f"| {1e3 * statistics.median(spent[name]):.2f} |",
            flush=True,
        )


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    asked = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True)) or EXHIBITS
    print(
        "| network | method | points (of nine in ten) | gap | largest | error | expected | CPU ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, inputs in asked.items():
        measure(getattr(zoo, name)(), inputs)


if __name__ == "__main__":
    main()
