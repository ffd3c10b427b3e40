"""Occlusion of one image, against a plain forward loop over as many rows.

The limit is a loop of `inference_mode` forward passes over rows that are ready in memory, at the
batch size that serves it best. All take turns on one thread; what is printed are medians of CPU
time over the rounds. captum joins where it is installed, at its best batch and at its default of
one row at a time.

    OMP_NUM_THREADS=1 python benchmarks/occlusion.py [--quick]

With UNMASK_DATA set, SqueezeNet on a photo joins the VGG-11 of a quarter of the usual width.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from convolutional import vgg
from unmask import Score, constant, logit
from unmask.methods.saliency import occlusion


def loop(model: nn.Module, rows: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in rows.split(batch)])


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    name: str,
    model: nn.Module,
    x: Tensor,
    window: int,
    stride: int,
    sizes: tuple[int, ...],
    rounds: int,
) -> None:
    side = (x.shape[-1] - window) // stride + 1
    # The loop runs on rows of its own, and no row is repeated.
    rows = torch.rand(side**2 + 1, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    score: Score = logit(model, 3)
    best = min(
        sizes, key=lambda batch: min(seconds(lambda: loop(model, rows, batch)) for _ in range(2))
    )
    contestants: dict[str, Callable[[], object]] = {
        "loop": lambda: loop(model, rows, best),
        "ours": lambda: occlusion(score, x, baseline=constant(x[0]), window=window, stride=stride),
    }
    if find_spec("captum") is not None:
        from captum.attr import Occlusion

        shape = (x.shape[1], window, window)
        steps = (x.shape[1], stride, stride)

        def captum(batch: int) -> Tensor:
            with torch.no_grad():
                return Occlusion(model).attribute(
                    x, shape, strides=steps, baselines=0, target=3, perturbations_per_eval=batch
                )

        fastest = min(sizes, key=lambda batch: seconds(lambda: captum(batch)))
        contestants[f"captum in batches of {fastest}"] = lambda: captum(fastest)
        contestants["captum by default"] = lambda: captum(1)
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for who, work in contestants.items():
            spent[who].append(seconds(work))
    found = {who: statistics.median(times) for who, times in spent.items()}
    ratios = "  ".join(
        f"{who} {found[who] / found['loop']:.2f}" for who in contestants if who != "loop"
    )
    print(
        f"{name:<24} {len(rows):>5} rows  batch {best:>3}  {1e3 * found['loop']:>7.0f} ms  {ratios}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds")
    given = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 3 if given.quick else 15
    compare(
        "VGG-11 / 4, 32 x 32", vgg(), torch.rand(1, 3, 32, 32), 4, 1, (16, 32, 64, 128, 256), rounds
    )
    if os.environ.get("UNMASK_DATA"):
        from unmask.zoo import squeezenet

        exhibit = squeezenet()
        x = exhibit.inputs[0][None]
        few = 3 if given.quick else 7
        compare("SqueezeNet, 227 x 227", exhibit.model, x, 16, 16, (1, 2, 4, 8, 16), few)


if __name__ == "__main__":
    main()
