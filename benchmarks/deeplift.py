"""DeepLIFT and DeepSHAP as a ratio to the plain passes that they stand for, beside captum.

A quarter-width VGG-11 on a batch of 64 images of 32 x 32 pixels, one baseline or eight. The limit
is one forward and backward pass of the batch for each baseline, parameters frozen. CPU time of one
thread, all contestants taking turns.

    OMP_NUM_THREADS=1 python benchmarks/deeplift.py
"""

import statistics
import sys
import time
import warnings
from pathlib import Path

import torch
from captum.attr import DeepLift, DeepLiftShap
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from convolutional import vgg
from unmask import logit
from unmask.methods.saliency import deep_shap, deeplift

ROUNDS, INPUTS, BASELINES = 15, 64, 8


def plain(model: nn.Module, x: Tensor) -> None:
    point = x.clone().requires_grad_()
    torch.autograd.grad(model(point.clone())[:, 1].sum(), point)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # captum wants a ReLU of its own at each place, and none in place.
    model, for_captum = (vgg(inplace=one).requires_grad_(False) for one in (True, False))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(INPUTS, 3, 32, 32, generator=draw)
    backgrounds = torch.randn(BASELINES, 3, 32, 32, generator=draw)
    black, score = torch.zeros(3, 32, 32), logit(model, 1)
    runs = {
        "plain": (1, lambda: plain(model, x)),
        "deeplift": (1, lambda: deeplift(score, x, baseline=black)),
        f"deep_shap, {BASELINES}": (
            BASELINES, lambda: deep_shap(score, x, baseline=backgrounds)
        ),
        "captum DeepLift": (
            1, lambda: DeepLift(for_captum).attribute(x, black.expand_as(x), target=1)
        ),
        f"captum DeepLiftShap, {BASELINES}": (
            BASELINES, lambda: DeepLiftShap(for_captum).attribute(x, backgrounds, target=1)
        ),
    }  # fmt: skip
    spent = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (_, run) in runs.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    limit = spent["plain"]
    print("| method | ratio to its forward and backward passes: median (least, largest) |")
    print("|---|---|")
    for name, (passes, _) in runs.items():
        ratios = [one / base / passes for one, base in zip(spent[name], limit, strict=True)]
        print(
            f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
