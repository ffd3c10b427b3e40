"""The memory of a run, as more and more inputs are explained.

Each run is a process of its own. Counted is what it holds beyond what it held when the model was
open and the inputs were read: at every hundredth of the run, and at its peak. The folder is thrown
away. With `--picture` the course is drawn into docs/pictures/memory.png.

    python benchmarks/memory.py [--quick] [--picture]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("MLP, 10 columns", "ResNet-20, 2 x 5 patches")
WORK = (
    ("MLP, 10 columns", 10_000, None),
    ("ResNet-20, 2 x 5 patches", 100, 16),
    ("ResNet-20, 2 x 5 patches", 100, 256),
)
"""A network, how many inputs, and the batch size."""
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "memory.png"
LIMIT = 1024


def held(name: str) -> float:
    """What the system says of this process, in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024


def watched(name: str, inputs: int, batch: int | None) -> dict[str, object]:
    """Explain the inputs, and tell how much memory that took."""
    import torch
    from torch import nn

    from unmask.run import Choice, Plan, Source, Step, execute
    from unmask.run.inputs.material import Material
    from unmask.run.models.opened import Opened
    from unmask.zoo.resnet import ResNet20

    torch.manual_seed(0)
    table = name == NAMES[0]
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 3)) if table else ResNet20()
    x = torch.randn(inputs, 10) if table else torch.rand(inputs, 3, 32, 32)
    titles, truths = tuple(map(str, range(inputs))), (None,) * inputs
    plan = Plan(
        *("benchmark", Source(), Choice("log_odds", {"target": "predicted"})),
        Choice("features") if table else Choice("patches", {"grid": (2, 5)}),
        Choice("mean"),
        {"and_interaction": {}, "shapley_exact": {}},
        batch_size=batch,
    )
    opened = Opened(model.eval(), "benchmark")
    before, course = held("VmRSS"), [(0.0, 0.0)]
    steps = 3 * inputs

    def listen(step: Step) -> None:
        if step.done >= (course[-1][0] + 0.01) * steps:
            course.append((step.done / steps, held("VmRSS") - before))

    with tempfile.TemporaryDirectory() as folder:
        material = Material("table" if table else "image", tuple(x), titles, truths, "benchmark")
        outcome = execute(
            plan, Path(folder, "run"), opened=opened, material=material, listen=listen
        )
    assert len(outcome.explained) == inputs, outcome.failures
    return {"course": course, "peak": held("VmHWM") - before}


def drawn(found: list[tuple[str, dict[str, list[tuple[float, float]]]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for (name, one), style in zip(found, ("-", "--", ":"), strict=True):
        share, mib = zip(*one["course"], strict=True)
        axes.plot([100 * part for part in share], mib, style, label=name)
    axes.axhline(LIMIT, color="0.7", linewidth=1)
    axes.text(100, LIMIT, "1 GiB", ha="right", va="top", color="0.4")
    axes.set_xlabel("inputs explained, %")
    axes.set_ylabel("MiB beyond the model and the inputs")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    quick = "--quick" in sys.argv
    print("| network | inputs | batch size | after a tenth, MiB | in the end | peak |")
    print("|---|---|---|---|---|---|")
    found = []
    for name, inputs, batch in WORK:
        count = inputs // 20 if quick else inputs
        asked = [sys.executable, __file__, "watch", name, str(count), json.dumps(batch)]
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
        one = json.loads(done.stdout.splitlines()[-1])
        early = next(mib for part, mib in one["course"] if part >= 0.1)
        print(
            f"| {name} | {count:,} | {batch or 'chosen'} | {early:.0f} "
            f"| {one['course'][-1][1]:.0f} | {one['peak']:.0f} |",
            flush=True,
        )
        found.append((f"{name}: {count:,} inputs, batches of {batch or 'its choice'}", one))
    if "--picture" in sys.argv:
        drawn(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        name, count, batch = sys.argv[2:]
        print(json.dumps(watched(name, int(count), json.loads(batch))))
    else:
        main()
