"""Values, AND-OR terms and gradients on a GPU, against plain loops there and the same on the CPU.

Random weights serve: speed does not depend on them. Contestants take turns; medians of wall time,
the device having finished. Prints nothing but a line where there is no GPU.

    python benchmarks/on_gpu.py
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unmask import features, log_odds, masked, patches
from unmask.interactions import and_or_tables
from unmask.lattice import MOEBIUS, coalitions, transform
from unmask.methods.saliency import gradient, integrated_gradients, kernel_shap, smoothgrad
from unmask.zoo.resnet import ResNet20
from unmask.zoo.squeezenet import SqueezeNet

ROUNDS = 7
BATCHES = (256, 1024, 4096, 16384, 65536)


def seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def median(*works: Callable[[], object]) -> list[float]:
    """The median time of each, in turn; a first round warms up."""
    taken = [[seconds(work) for work in works] for _ in range(ROUNDS + 1)][1:]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def loop(model: nn.Module, inputs: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in inputs.split(batch)])


def values(name: str, model: nn.Module, players, x: Tensor) -> None:
    """All 2^n values against the fastest loop over masked inputs that lie ready on the device."""
    n, base = len(players.names), torch.zeros_like(x)
    masks = coalitions(n).to(x.device)
    rows = torch.where(players.cover(masks), x, base)
    batch = min(
        (b for b in BATCHES if b <= len(rows)),
        key=lambda b: median(lambda: loop(model, rows, b))[0],
    )
    score = log_odds(model, 1)
    game = masked(score, x, players, base)
    wide = masked(score, x, players, base, batch_size=batch)

    def ours(one):
        return lambda: transform(one.table().double(), MOEBIUS)

    plain, chosen, given = median(lambda: loop(model, rows, batch), ours(game), ours(wide))
    print(
        f"{name:<24} loop of {batch:>6}: {1e3 * plain:8.2f} ms   ours {chosen / plain:5.2f}   "
        f"with its batch {given / plain:5.2f}"
    )


def terms(players: int, tables: int, precision: float) -> None:
    """AND-OR terms of random smooth tables, on the device and on the CPU."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(players, 32), nn.Tanh(), nn.Linear(32, tables)).double()
    with torch.no_grad():
        values = net(coalitions(players).double() * 3).T.contiguous()
        values += 0.01 * torch.randn(values.shape, generator=generator, dtype=values.dtype)
    names = tuple(map(str, range(players)))
    there = values.cuda()
    on_gpu, on_cpu = median(
        lambda: and_or_tables(there, names, precision=precision),
        lambda: and_or_tables(values, names, precision=precision),
    )
    what = f"and_or n = {players:<2} x {tables:<4} gap {precision:g}"
    print(f"{what}: {on_gpu:7.2f} s, CPU {on_cpu:.2f} s")


def gradients(model: nn.Module, x: Tensor) -> None:
    score, base = log_odds(model, 1), torch.zeros_like(x[0])

    def passes(count: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(count):
                point = x.clone().requires_grad_()
                torch.autograd.grad(score(point).sum(), point)

        return work

    for name, count, work in (
        ("gradient", 1, lambda: gradient(score, x)),
        ("smoothgrad, 25", 25, lambda: smoothgrad(score, x, samples=25)),
        (
            "integrated gradients, 50",
            50,
            lambda: integrated_gradients(score, x, baseline=base, steps=50),
        ),
    ):
        plain, ours = median(passes(count), work)
        print(f"{name:<26} ResNet-20, 256 inputs: {1e3 * ours:8.1f} ms, ratio {ours / plain:5.2f}")


def main() -> None:
    if not torch.cuda.is_available():
        print("There is no GPU here.")
        return
    print(torch.cuda.get_device_name(), torch.__version__)
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    values("MLP, n = 16", mlp.cuda().eval(), features(16), torch.randn(16).cuda())
    resnet = ResNet20().cuda().eval()
    image = (3, 32, 32)
    values("ResNet-20, n = 12", resnet, patches(image, (3, 4)), torch.rand(image).cuda())
    values("ResNet-20, n = 16", resnet, patches(image, (4, 4)), torch.rand(image).cuda())
    photo = (3, 224, 224)
    squeezenet = SqueezeNet().cuda().eval()
    values("SqueezeNet, n = 12", squeezenet, patches(photo, (3, 4)), torch.rand(photo).cuda())
    gradients(resnet, torch.rand(256, *image).cuda())
    of_regions = masked(
        log_odds(resnet, 1),
        torch.rand(image).cuda(),
        patches(image, (6, 5)),
        torch.zeros(image).cuda(),
    )
    print(f"kernel_shap, n = 30: {median(lambda: kernel_shap(of_regions, samples=2048))[0]:.3f} s")
    for players, tables, precision in ((10, 64, 1e-2), (10, 64, 1e-6), (12, 64, 1e-2)):
        terms(players, tables, precision)
    terms(14, 16, 1e-2)
    terms(16, 1, 1e-2)


if __name__ == "__main__":
    main()
