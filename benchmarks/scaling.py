"""How a run scales from 1 to 1,000 workers: a queue, simulated with times measured here.

Measured on this machine: how long groups of inputs take (a real run of some, group by group), how
long a worker takes to start, how many bytes go to it, what one report costs the driver on Ray, and
how long the results of an input take to be gathered. Assumed, and said so: how fast the network and
the disk are that all share, how many workers a machine has, and how many tasks straggle.

At every size the bottleneck is the cost whose removal would save most; the next is told where it is
more than a fiftieth of the time.

    python benchmarks/scaling.py              # tables in Markdown
    python benchmarks/scaling.py --picture    # and docs/pictures/scaling.png
"""

import heapq
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from unmask.run import Choice, Plan, Source, execute
from unmask.run.assemble import finish_tables
from unmask.run.execute import GROUP, groups_of
from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened
from unmask.store.places import Place
from unmask.store.tables import ATTRIBUTIONS, TERMS, part
from unmask.zoo.resnet import ResNet20

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
INPUTS = 100_000
PLAYERS = 10
MEASURED = 6
"""Groups that are really explained."""
FREE, WRITES, REPORTS = range(3)
"""What may happen to a worker."""
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "scaling.png"


@dataclass(frozen=True)
class Costs:
    """What a run is made of. Seconds and bytes; the last five are assumptions."""

    tasks: Sequence[float]  # of an input, in groups that were measured; others are drawn from them
    start: float
    shipped: int  # to each machine: the model and the inputs
    written: float  # of each input
    report: float  # of the driver, per group
    gathering: float  # of the driver, per group
    network: float = 1.25e9  # bytes a second that leave the driver: 10 Gbit/s
    disk: float = 1e9  # bytes a second that the shared disk takes
    machine: int = 8  # workers on one machine, which share what was shipped
    straggling: float = 0.01  # share of the tasks
    slower: float = 5.0  # times, that those take


@dataclass
class Listening:
    """An engine that looks at the clock."""

    seconds: list[float] = field(default_factory=list)
    """Of an input, on the average of each group."""
    bytes: int = 0
    ended: float = 0.0

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        self.bytes = len(pickle.dumps(work))
        for item in items:
            begun = time.perf_counter()
            answer = work(item)
            self.ended = time.perf_counter()
            self.seconds.append((self.ended - begun) / len(item))
            yield answer


def simulated(costs: Costs, groups: Sequence[int], workers: int, seed: int = 0) -> float:
    """Seconds until everything is gathered.

    A worker starts, waits for what its machine is sent (one machine after the other), and works.
    It writes what it found through the disk that all share, and reports; the driver takes one
    report after the other and hands out the next group. Groups are told by their sizes.
    """
    random = Random(seed)
    factors = [
        random.choice(costs.tasks) * (costs.slower if random.random() < costs.straggling else 1)
        for _ in groups
    ]
    left = iter([size * factor for size, factor in zip(groups, factors, strict=True)])
    mean = sum(groups) / len(groups)
    sent = costs.shipped / costs.network
    events = [(costs.start + sent * (i // costs.machine + 1), FREE) for i in range(workers)]
    heapq.heapify(events)
    disk = driver = 0.0  # when each is free again
    while events:
        now, what = heapq.heappop(events)
        if what == FREE:
            duration = next(left, None)
            if duration is not None:
                heapq.heappush(events, (now + duration, WRITES))
        elif what == WRITES:
            disk = max(disk, now) + mean * costs.written / costs.disk
            heapq.heappush(events, (disk, REPORTS))
        else:
            driver = max(driver, now) + costs.report
            heapq.heappush(events, (driver, FREE))
    return driver + len(groups) * costs.gathering


def bottleneck(costs: Costs, groups: Sequence[int], workers: int) -> tuple[float, str]:
    """Seconds, and the two costs whose removal saves most; computing is what nobody can save."""
    whole = simulated(costs, groups, workers)
    slower = 1 + costs.straggling * (costs.slower - 1)
    work = sum(groups) * statistics.mean(costs.tasks) * slower
    without = {
        "start of workers": replace(costs, start=0.0),
        "shipping the model": replace(costs, shipped=0),
        "stragglers": replace(costs, straggling=0.0),
        "the shared disk": replace(costs, written=0),
        "the driver's reports": replace(costs, report=0.0),
        "gathering": replace(costs, gathering=0.0),
    }
    saved = {name: whole - simulated(one, groups, workers) for name, one in without.items()}
    saved["computing"] = work / workers
    ideal = costs.start + work / workers
    # Groups that are too few or too uneven leave workers idle at the end.
    alone = replace(costs, shipped=0, written=0, report=0.0, gathering=0.0, straggling=0.0)
    saved["the last groups"] = simulated(alone, groups, workers) - ideal
    first, second = sorted(saved, key=lambda name: saved[name], reverse=True)[:2]
    told = f", then {second}" if saved[second] > 0.02 * whole else ""
    return whole, first + told


def plan_of(methods: dict[str, dict[str, float]], players: Choice) -> Plan:
    score = Choice("log_odds", {"target": "predicted"})
    return Plan("benchmark", Source("x"), score, players, Choice("constant"), methods)


def measured(model: nn.Module, inputs: torch.Tensor, players: Choice) -> Costs:
    """A real run of some groups, in this process."""
    plan = plan_of({"and_or": {"precision": 0.01}, "universal_matching": {}}, players)
    titles = [f"input {i}" for i in range(len(inputs))]
    material = Material("table", list(inputs), titles, [None] * len(inputs), "benchmark")
    opened = Opened(model.eval(), "benchmark", shape=tuple(inputs.shape[1:]))
    with TemporaryDirectory() as place:
        warm = replace(plan, rows=tuple(range(GROUP)))
        execute(warm, Path(place) / "warm", opened=opened, material=material)
        engine = Listening()
        folder = Path(place) / "run"
        execute(plan, folder, engine=engine, opened=opened, material=material)
        written = sum(f.stat().st_size for f in (folder / "inputs").rglob("*") if f.is_file())
    return Costs(
        tasks=engine.seconds,
        start=started(),
        shipped=engine.bytes,
        written=written / len(inputs),
        report=reported(),
        gathering=gathered(),
    )


def gathered() -> float:
    """Seconds for each group in the end: the parts of the tables are looked through."""
    count = 2000
    groups = [(GROUP * i,) for i in range(count)]
    with TemporaryDirectory() as place:
        for table in (TERMS, ATTRIBUTIONS):
            (Path(place) / table).mkdir()
            for group in groups:
                (Path(place) / table / part(Place(place), table, group[0]).name).touch()
        begun = time.perf_counter()
        finish_tables(Place(place), groups)
        return (time.perf_counter() - begun) / count


def started() -> float:
    """Seconds until a new process can work."""
    if not hasattr(started, "found"):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import unmask.run"], check=True)
        started.found = time.perf_counter() - begun
    return started.found


def reported() -> float:
    """Seconds that the driver of a Ray cluster takes per task, many being under way."""
    if hasattr(reported, "found"):
        return reported.found
    try:
        import ray
    except ImportError:
        return 1e-3
    ray.init(
        "local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    answer = ray.remote(lambda i: i)
    ray.get([answer.remote(i) for i in range(50)])
    begun = time.perf_counter()
    ray.get([answer.remote(i) for i in range(500)])
    reported.found = (time.perf_counter() - begun) / 500
    ray.shutdown()
    return reported.found


def told(name: str, costs: Costs) -> list[tuple[int, float, float, str]]:
    groups = [len(group) for group in groups_of(range(INPUTS))]
    mean, spread = statistics.mean(costs.tasks), statistics.pstdev(costs.tasks)
    print(f"\n### {name}\n")
    print(
        f"{INPUTS:,} inputs in {len(groups):,} groups of at most {GROUP}; an input takes "
        f"{mean:.3g} s (standard deviation {spread:.2g} s over {len(costs.tasks)} groups that were "
        f"measured), its results {costs.written / 1e3:.3g} kB, a report {1e3 * costs.report:.2g} "
        f"ms, gathering {1e3 * costs.gathering:.2g} ms; a worker starts in {costs.start:.2g} s and "
        f"is shipped {costs.shipped / 1e6:.3g} MB.\n"
    )
    print("| workers | time | times faster | of the ideal | bottleneck |\n|---|---|---|---|---|")
    rows = []
    for workers in WORKERS:
        seconds, narrow = bottleneck(costs, groups, workers)
        rows.append((workers, seconds, rows[0][1] / seconds if rows else 1.0, narrow))
        shown = f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds:.0f} s"
        gain = rows[-1][2]
        print(f"| {workers:,} | {shown} | {gain:.1f} | {gain / workers:.0%} | {narrow} |")
    return rows


def drawn(results: dict[str, list[tuple[int, float, float, str]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(WORKERS, WORKERS, color="0.7", label="ideal")
    for (name, rows), style in zip(results.items(), ("o-", "s-", "D:"), strict=True):
        axes.loglog(WORKERS, [row[2] for row in rows], style, markersize=4, label=name)
    axes.set_xlabel("workers")
    axes.set_ylabel("times faster than one")
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    count = MEASURED * GROUP
    small = nn.Sequential(nn.Linear(PLAYERS, 64), nn.ReLU(), nn.Linear(64, 2))
    table = measured(small, torch.randn(count, PLAYERS, generator=generator), Choice("features"))
    images = torch.rand(count // 2, 3, 32, 32, generator=generator)
    picture = measured(ResNet20(), images, Choice("patches", {"grid": (2, 5)}))
    # Computed, not measured: a network a hundred times as slow, of 400 MB.
    large = replace(picture, tasks=[100 * one for one in picture.tasks], shipped=400_000_000)
    every = {
        "a small network": table,
        "ResNet-20": picture,
        "a hundred times slower, 400 MB": large,
    }
    results = {name: told(name, costs) for name, costs in every.items()}
    if "--picture" in sys.argv:
        drawn(results)


if __name__ == "__main__":
    main()
