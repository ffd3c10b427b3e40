"""Metrics that remove parts, beside the forward passes that they cannot do without, and quantus.

LeNet on MNIST. The limit is a loop over batches that are made beforehand: as many rows as the
metric asks for, in batches of the same size, and nothing else. All take turns in one process, each
round on inputs of its own; what is told is the median over the rounds of CPU time, and of its ratio
to the limit in the same round.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/metrics.py [rounds]
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmask import correct, logit, patches, predicted, probability, zoo
from unmask.evaluation import (
    blurred,
    comprehensiveness,
    deletion,
    insertion,
    irof,
    linear_imputation,
    on_trial,
    pixel_flipping,
    road,
    road_combined,
    sufficiency,
)
from unmask.masking import cached_rows
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from quantus_alone import quantus

ROUNDS = 9
INPUTS = 16
Run = Callable[[], object]


def limit(model: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Run:
    """As many rows as that through the model, in batches of the size that a trial takes."""
    size = cached_rows(x[0])
    block = x.repeat(-(-size // len(x)), 1, 1, 1)[:size].clone()

    def run() -> None:
        with torch.no_grad():
            for start in range(0, rows, size):
                model(block[: min(size, rows - start)])

    return run


def ours(model: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, tuple[Run, int]]:
    """Each metric, and how many rows it asks for."""
    target = predicted(model, x)
    said = input_x_gradient(logit(model, target), x)
    score, black = probability(model, target), torch.zeros_like(x[0])
    pixels, regions = patches((1, 28, 28), (28, 28)), patches((1, 28, 28), (7, 7))
    right = correct(model, target)
    by_pixel = on_trial(score, x, pixels, black)
    by_region = on_trial(score, x, regions, black)
    imputed = on_trial(right, x, pixels, linear_imputation(x))
    soft = on_trial(score, x, pixels, blurred(x))
    runs: dict[str, Callable[[], object]] = {
        "pixel_flipping, 784 pixels": partial(pixel_flipping, by_pixel, said),
        "pixel_flipping, 28 steps": partial(pixel_flipping, by_pixel, said, steps=28),
        "pixel_flipping, 7x7 regions": partial(pixel_flipping, by_region, said),
        "deletion, 784 pixels": partial(deletion, by_pixel, said),
        "insertion on a blur, 784 pixels": partial(insertion, soft, said),
        "irof, 7x7 regions": partial(irof, by_region, said),
        "sufficiency": partial(sufficiency, by_pixel, said),
        "comprehensiveness": partial(comprehensiveness, by_pixel, said),
        "road, zeros": partial(road, on_trial(right, x, pixels, black), said),
        "road, imputed": partial(road, imputed, said),
        "road_combined, imputed": partial(road_combined, imputed, said),
    }
    return {name: (run, getattr(run(), "evaluations")) for name, run in runs.items()}  # noqa: B009


def theirs(model: torch.nn.Module, x: Tensor) -> dict[str, Run]:
    """What quantus has of them, by the name of ours."""
    q = quantus()
    target = predicted(model, x)
    said: Attribution = input_x_gradient(logit(model, target), x)
    given = (model, x.numpy(), torch.as_tensor(target).numpy(), said.values.numpy())
    plain = {"normalise": False, "disable_warnings": True}
    flipping = partial(q.PixelFlipping, perturb_baseline=0.0, **plain)
    metrics = {
        "pixel_flipping, 784 pixels": flipping(features_in_step=1),
        "pixel_flipping, 28 steps": flipping(features_in_step=28),
        "road, imputed": q.ROAD(percentages=[*range(1, 11), *range(20, 100, 10)], **plain),
    }

    def run(metric: Callable[..., object]) -> None:
        # It draws its noise from numpy's global state.
        np.random.seed(0)
        metric(*given, device="cpu", softmax=True)

    return {name: partial(run, metric) for name, metric in metrics.items()}


def spent(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(rounds: int) -> None:
    exhibit = zoo.mnist()
    every = torch.stack(exhibit.inputs)
    times: dict[str, list[tuple[float, float, float]]] = {}
    for turn in range(rounds + 1):  # the first is for warming up
        x = every[torch.arange(turn * INPUTS, (turn + 1) * INPUTS) % len(every)]
        peers = theirs(exhibit.model, x)
        for name, (run, rows) in ours(exhibit.model, x).items():
            least = limit(exhibit.model, x, rows)
            least()
            both = spent(run), spent(least), spent(peers[name]) if name in peers else float("nan")
            if turn:
                times.setdefault(name, []).append(both)
    for name, found in times.items():
        own, least, peer = (1e3 * statistics.median(column) for column in zip(*found, strict=True))
        ratio = statistics.median(one / bare for one, bare, _ in found)
        share = statistics.median(one / other for one, _, other in found)
        print(
            f"| {name} | {own:.1f} | {least:.1f} | {ratio:.2f} | "
            + ("| |" if peer != peer else f"{peer:.1f} | {share:.3f} |"),
            flush=True,
        )


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"{INPUTS} images of LeNet")
    print("| metric | CPU ms | forward passes alone | ratio | quantus | share of it |")
    print("|---|---|---|---|---|---|")
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)


if __name__ == "__main__":
    main()
