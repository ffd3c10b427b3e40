"""A run on a Ray cluster of this machine's cores, beside the same run in one process.

A perceptron with single-threaded forward passes on rows of twelve columns, 200 inputs, each with
its 4,096 coalitions and the sparsest terms. Wall time, as that is what spreading saves; both take
turns. Beginning the cluster is told by itself: it takes seconds once, whatever the run. The
overhead is what one worker takes longer than no cluster at all.

    OMP_NUM_THREADS=1 python benchmarks/on_ray.py [inputs] [workers] [rounds]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from unmask.run import Choice, Engine, OnRay, Plan, Source, execute

COLUMNS = 12
MODEL = f"""
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear({COLUMNS}, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(),
                         nn.Linear(512, 3))
"""


def plan_in(folder: Path, inputs: int) -> Plan:
    (folder / "unmask_benchmark_network.py").write_text(MODEL)
    generator = torch.Generator().manual_seed(0)
    save_file({"x": torch.randn(inputs, COLUMNS, generator=generator)}, folder / "x.safetensors")
    return Plan(
        model="unmask_benchmark_network:network",
        inputs=Source(file=str(folder / "x.safetensors")),
        score=Choice("log_odds", {"target": "predicted"}),
        players=Choice("features"),
        baseline=Choice("mean"),
        methods={"and_or": {}, "shapley_exact": {}},
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def main(inputs: int = 200, workers: int = 2, rounds: int = 3) -> None:
    import ray

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_in(folder, inputs)
        sys.path.insert(0, name)
        start = time.perf_counter()
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        print(f"beginning a cluster: {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        list(OnRay(workers=workers).map(abs, range(workers)))
        print(f"beginning {workers} workers: {time.perf_counter() - start:.1f} s")
        engines: dict[str, Engine | None] = {
            "one process": None,
            "Ray, 1 worker": OnRay(workers=1),
            f"Ray, {workers} workers": OnRay(workers=workers),
        }
        spent: dict[str, list[float]] = {one: [] for one in engines}
        kept = {}
        for turn in range(rounds):
            for one, engine in engines.items():
                out = folder / f"{one}-{turn}"
                start = time.perf_counter()
                execute(plan, out, engine=engine)
                spent[one].append(time.perf_counter() - start)
                kept[one] = bytes_of(out)
        alone = statistics.median(spent["one process"])
        for one, times in spent.items():
            middle = statistics.median(times)
            print(
                f"{one:>16}: {middle:6.1f} s ({min(times):.1f} to {max(times):.1f}), "
                f"{alone / middle:.2f} times as fast, "
                f"{'the same bytes' if kept[one] == kept['one process'] else 'OTHER BYTES'}"
            )
        ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
