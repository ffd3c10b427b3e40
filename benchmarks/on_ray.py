"""A run on a Ray cluster of this machine's cores, beside the same run in one process.

A perceptron with single-threaded forward passes on rows of 14 columns, each input with its 16,384
coalitions and the sparsest terms. Wall time, as that is what spreading saves; all take turns, with
workers that stand and have done some inputs. What is begun once is told by itself (a cluster;
workers, who import torch and this package), and what a run gains with it. The overhead is what one
worker takes longer than no cluster at all; as processor time (of the worker and of the process that
waits for it) it can be told on a machine that others use too. In the end one large game, of 18
players, whose coalitions are spread.

    OMP_NUM_THREADS=1 python benchmarks/on_ray.py [inputs] [workers] [rounds]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from unmask.run import Choice, Engine, OnRay, Plan, Source, execute
from unmask.run.engine import Serial

COLUMNS, LARGE = 14, 18
MODEL = """
import torch
from torch import nn

def made(columns):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(columns, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(),
                         nn.Linear(512, 3))

def network():
    return made(14)

def wide():
    return made(18)
"""


def plan_in(folder: Path, inputs: int, columns: int, network: str) -> Plan:
    """A plan for drawn inputs."""
    generator = torch.Generator().manual_seed(0)
    file = folder / f"{network}.safetensors"
    save_file({"x": torch.randn(inputs, columns, generator=generator)}, file)
    return Plan(
        model=f"unmask_benchmark_network:{network}",
        inputs=Source(file=str(file)),
        score=Choice("log_odds", {"target": "predicted"}),
        players=Choice("features"),
        baseline=Choice("mean"),
        methods={"and_or": {}, "shapley_exact": {}},
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files of a run."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def processor(processes: Sequence[int]) -> float:
    """Seconds of processor time that some processes have used."""
    used = 0.0
    for process in processes:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return used


def process_of(_: object) -> int:
    """Who works."""
    time.sleep(0.5)  # so that nobody is asked twice
    return os.getpid()


def timed(
    plan: Plan, folder: Path, engines: dict[str, tuple[Engine, list[int]]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Seconds of each engine, by the clock and of processors; tells both."""
    spent: dict[str, list[tuple[float, float]]] = {one: [] for one in engines}
    kept = {}
    for turn in range(rounds):
        for one, (engine, processes) in engines.items():
            out = folder / f"{one}-{turn}"
            start, used = time.perf_counter(), processor(processes)
            execute(plan, out, engine=engine)
            spent[one].append((time.perf_counter() - start, processor(processes) - used))
            kept[one] = bytes_of(out)
    middle = {one: statistics.median(wall for wall, _ in times) for one, times in spent.items()}
    for one, times in spent.items():
        walls, useds = zip(*times, strict=True)
        print(
            f"{one:>16}: {middle[one]:6.1f} s ({min(walls):.1f} to {max(walls):.1f}), "
            f"{middle['one process'] / middle[one]:.2f} times as fast; processors "
            f"{statistics.median(useds):.1f} s; "
            f"{'the same bytes' if kept[one] == kept['one process'] else 'OTHER BYTES'}",
            flush=True,
        )
    return {
        one: (middle[one], statistics.median(used for _, used in times))
        for one, times in spent.items()
    }


def main(inputs: int = 200, workers: int = 2, rounds: int = 3) -> None:
    import ray

    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {inputs} inputs")
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        (folder / "unmask_benchmark_network.py").write_text(MODEL)
        sys.path.insert(0, name)
        plan = plan_in(folder, inputs, COLUMNS, "network")
        few = replace(plan, rows=tuple(range(2 * workers)))
        execute(few, folder / "warm")
        start = time.perf_counter()
        ray.init(
            address="local",
            num_cpus=workers + 1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        ends.callback(ray.shutdown)
        cluster = time.perf_counter() - start
        print(f"beginning a cluster: {cluster:.1f} s")
        engines: dict[str, tuple[Engine, list[int]]] = {"one process": (Serial(), [os.getpid()])}
        some = f"Ray, {workers} workers"
        for who, count in (("Ray, 1 worker", 1), (some, workers)):
            start = time.perf_counter()
            crew = ends.enter_context(OnRay(workers=count).begun())
            processes = {*crew.map(process_of, range(count))}
            begun = time.perf_counter() - start
            print(f"beginning {count} of its workers: {begun:.1f} s")
            while len(processes) < count:
                processes |= {*crew.map(process_of, range(count))}
            execute(few, folder / f"warm {who}", engine=crew)
            engines[who] = crew, [os.getpid(), *processes]
        found = timed(plan, folder, engines, rounds)
        alone, one, several = (found[who] for who in engines)
        print(
            f"overhead of one worker: {one[0] / alone[0] - 1:+.1%} of the time, "
            f"{one[1] / alone[1] - 1:+.1%} of processors; {workers} workers with the cluster and "
            f"themselves begun anew: {alone[0] / (several[0] + cluster + begun):.2f} times as fast"
        )
        large = replace(plan_in(folder, 1, LARGE, "wide"), methods={"shapley_exact": {}})
        print(f"one input of {LARGE} players, {2**LARGE:,} coalitions")
        timed(large, folder / "large", {who: engines[who] for who in ("one process", some)}, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
