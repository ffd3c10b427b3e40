"""Values, AND-OR terms and gradients on a GPU, against plain loops there and the same on the CPU.

Random weights serve: speed does not depend on them. Contestants take turns; medians of wall time,
the device having finished. Prints nothing but a line where there is no GPU.

    python benchmarks/on_gpu.py             # speed
    python benchmarks/on_gpu.py --copies    # what is copied between device and processor, and when
    python benchmarks/on_gpu.py --precision # mixed precision: speed and error
    python benchmarks/on_gpu.py --compile   # torch.compile and CUDA graphs: do they pay?
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from unmask import features, log_odds, masked, patches
from unmask.interactions import and_or_tables
from unmask.lattice import MOEBIUS, coalitions, transform
from unmask.methods.saliency import gradient, integrated_gradients, kernel_shap, smoothgrad
from unmask.run import Choice, Plan, Source
from unmask.run.models.opened import Opened
from unmask.run.models.placed import placed
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


def watched(work: Callable[[], object]) -> tuple[int, int, int]:
    """How often the processor waits for the device, and copies to it and from it, in one call."""
    from torch.profiler import ProfilerActivity, profile

    work()  # what is done once only is done
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing" in str(one.message) for one in caught)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    names = [event.name for event in seen.events()]
    to = sum("Memcpy HtoD" in name for name in names)
    back = sum("Memcpy DtoH" in name for name in names)
    return waits, to, back


def copies() -> None:
    """Each work with few batches and with four times as many: what grows is a cost per batch."""
    print("| work | batches | waits | copies to the device | from it |\n|---|---|---|---|---|")
    resnet, image = ResNet20().cuda().eval(), (3, 32, 32)
    x, base = torch.rand(image).cuda(), torch.zeros(image).cuda()
    score, players = log_odds(resnet, 1), patches(image, (3, 4))
    batch = torch.rand(64, *image).cuda()
    drawn = (torch.rand(4096, 12, generator=torch.Generator().manual_seed(0)) < 0.5).cuda()
    tables = torch.randn(16, 2**10).double().cuda()
    names = tuple(map(str, range(10)))

    def table(rows: int) -> Callable[[], object]:
        return lambda: masked(score, x, players, base, batch_size=rows).table()

    def chosen(rows: int) -> Callable[[], object]:
        return lambda: masked(score, x, players, base, batch_size=rows)(drawn)

    values = table(1024)()
    long = {"precision": 1e-2, "steps": 200}
    works: list[tuple[str, int, Callable[[], object]]] = [
        ("values of all coalitions", 4, table(1024)),
        ("values of all coalitions", 16, table(256)),
        ("values of drawn coalitions", 4, chosen(1024)),
        ("values of drawn coalitions", 16, chosen(256)),
        ("Moebius transform", 1, lambda: transform(values.double(), MOEBIUS)),
        ("and_or of 16 tables", 1, lambda: and_or_tables(tables, names, **long)),
        ("gradient", 1, lambda: gradient(score, batch, batch_size=64)),
        ("gradient", 4, lambda: gradient(score, batch, batch_size=16)),
        (
            "integrated gradients, 16 nodes",
            4,
            lambda: integrated_gradients(score, batch, baseline=base, steps=16, batch_size=256),
        ),
        (
            "integrated gradients, 16 nodes",
            16,
            lambda: integrated_gradients(score, batch, baseline=base, steps=16, batch_size=64),
        ),
        (
            "SmoothGrad, 16 samples",
            4,
            lambda: smoothgrad(score, batch, samples=16, batch_size=256),
        ),
        (
            "SmoothGrad, 16 samples",
            16,
            lambda: smoothgrad(score, batch, samples=16, batch_size=64),
        ),
    ]
    for name, batches, work in works:
        waits, to, back = watched(work)
        print(f"| {name} | {batches} | {waits} | {to} | {back} |", flush=True)


def precision() -> None:
    """The plan's `precision`, on networks of random weights: time and error of all values."""
    own = Choice("given")
    plan = Plan("benchmark", Source(), own, own, own, {"and_or": {}}, device="cuda")
    photo, image = (3, 224, 224), (3, 32, 32)
    print("| network | precision | ms | over its own | largest error over the range |")
    print("|---|---|---|---|---|")
    for name, network, shape in (
        ("ResNet-20, n = 12", ResNet20(), image),
        ("SqueezeNet, n = 12", SqueezeNet(), photo),
    ):
        x, players = torch.rand(shape).cuda(), patches(shape, (3, 4))
        games = []
        for kind in (None, "bfloat16", "float16"):
            made = placed(Opened(network.eval(), ""), replace(plan, precision=kind))
            games.append((kind, masked(log_odds(made.model, 1), x, players, torch.zeros_like(x))))
        exact = games[0][1].table()
        times = median(*(game.table for _, game in games))
        for (kind, game), seconds in zip(games, times, strict=True):
            error = (game.table() - exact).abs().max() / (exact.max() - exact.min())
            print(
                f"| {name} | {kind or 'float32'} | {1e3 * seconds:.1f} | {seconds / times[0]:.2f} "
                f"| {float(error):.1e} |",
                flush=True,
            )


def compiled() -> None:
    """All values by the model as it is, compiled, and compiled into CUDA graphs."""
    print("| network | as it is, ms | compiled | with CUDA graphs | first call of each, s |")
    print("|---|---|---|---|---|")
    mlp = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    image, photo = (3, 32, 32), (3, 224, 224)
    for name, model, players, x in (
        ("MLP, n = 16", mlp, features(16), torch.randn(16)),
        ("ResNet-20, n = 12", ResNet20(), patches(image, (3, 4)), torch.rand(image)),
        ("SqueezeNet, n = 12", SqueezeNet(), patches(photo, (3, 4)), torch.rand(photo)),
    ):
        model, x = model.cuda().eval(), x.cuda()
        ways = [
            model,
            torch.compile(model, dynamic=False),
            torch.compile(model, dynamic=False, mode="reduce-overhead"),
        ]
        games = [masked(log_odds(way, 1), x, players, torch.zeros_like(x)) for way in ways]
        first = [seconds(game.table) for game in games]
        plain, *times = median(*(game.table for game in games))
        print(
            f"| {name} | {1e3 * plain:.2f} | {times[0] / plain:.2f} | {times[1] / plain:.2f} | "
            f"{first[1]:.0f}, {first[2]:.0f} |",
            flush=True,
        )


def main() -> None:
    if not torch.cuda.is_available():
        print("There is no GPU here.")
        return
    print(torch.cuda.get_device_name(), torch.__version__)
    torch.manual_seed(0)
    asked = {"--copies": copies, "--precision": precision, "--compile": compiled}
    for option, work in asked.items():
        if option in sys.argv:
            work()
    if not set(asked) & set(sys.argv):
        speed()


def speed() -> None:
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
