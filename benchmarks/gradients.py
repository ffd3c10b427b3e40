"""Methods of gradients as a ratio to the plain passes that they cannot do without.

A quarter-width VGG-11 on a batch of 64 images of 32 x 32 pixels. The limit is a loop of as many
forward and backward passes of such a batch as the method takes, parameters frozen, at the batch
size of the images. CPU time of one thread, all contestants taking turns; peak memory beside the
model and the images, each method in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/gradients.py [memory METHOD]
"""

import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from convolutional import vgg
from unmask import logit
from unmask.internals import frozen
from unmask.methods import features, saliency

ROUNDS, INPUTS = 5, 64


def passes(model: nn.Module, x: Tensor, target: Tensor, count: int) -> None:
    with frozen(model):
        for _ in range(count):
            point = x.detach().clone().requires_grad_()
            chosen = model(point.clone()).gather(1, target[:, None])  # the first layer is in place
            torch.autograd.grad(chosen.sum(), point)


def contestants(model: nn.Module, x: Tensor, target: Tensor) -> dict[str, tuple[int, Callable]]:
    """Name -> passes of the batch, and the run."""
    score, black = logit(model, target), torch.zeros(3, 32, 32)
    runs: dict[str, tuple[int, Callable]] = {
        "gradient": (1, lambda: saliency.gradient(score, x)),
        "integrated_gradients 50": (
            50,
            lambda: saliency.integrated_gradients(score, x, baseline=black, steps=50),
        ),
        "smoothgrad 50": (50, lambda: saliency.smoothgrad(score, x, samples=50)),
        "expected_gradients 50": (
            50,
            lambda: saliency.expected_gradients(score, x, baseline=black, samples=50),
        ),
        "idgi 50": (50, lambda: saliency.idgi(score, x, baseline=black, steps=50)),
        "guided_integrated_gradients 50": (
            51,
            lambda: saliency.guided_integrated_gradients(score, x, baseline=black, steps=50),
        ),
    }
    for rule in (features.guided_backprop, features.deconvnet):
        runs[rule.__name__] = (1, lambda rule=rule: rule(score, x))
    try:
        from captum import attr
    except ImportError:
        return runs

    def tunnel() -> None:
        attr.NoiseTunnel(attr.Saliency(model)).attribute(
            x, nt_samples=25, stdevs=0.15, target=target, abs=False
        )

    integrated = attr.IntegratedGradients(model)
    return runs | {
        "captum integrated gradients 50": (50, lambda: integrated.attribute(x, target=target)),
        "captum SmoothGrad 25": (25, tunnel),
    }


def memory(name: str) -> float:
    """The peak in MiB beside what is there before."""

    def kilobytes(of: str) -> int:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(of))

    model = vgg(inplace=True)
    x, target = torch.rand(INPUTS, 3, 32, 32), torch.arange(INPUTS) % 10
    if name == "one pass":

        def run() -> None:
            passes(model, x, target, 1)
    else:
        _, run = contestants(model, x, target)[name]
    model(x[:1])
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # the peak is counted from here
    before = kilobytes("VmRSS")
    run()
    return (kilobytes("VmHWM") - before) / 1024


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        print(memory(sys.argv[2]))
        return
    model = vgg(inplace=True)
    x, target = torch.rand(INPUTS, 3, 32, 32), torch.arange(INPUTS) % 10
    print("| method | ratio to its passes: median (least, largest) | peak MiB |")
    print("|---|---|---|")
    for name, (count, run) in {"one pass": (1, None), **contestants(model, x, target)}.items():
        asked = [sys.executable, __file__, "memory", name]
        peak = float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        if run is None:
            print(f"| {name} | 1 | {peak:.0f} |")
            continue
        ratios = []
        for _ in range(ROUNDS if count > 1 else 5 * ROUNDS):
            start = time.process_time()
            passes(model, x, target, count)
            middle = time.process_time()
            run()
            ratios.append((time.process_time() - middle) / (middle - start))
        print(
            f"| {name} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}, {max(ratios):.2f}) | {peak:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
