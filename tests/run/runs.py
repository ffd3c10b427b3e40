"""Runs to try things on: a plan with its files, and a model that counts."""

from dataclasses import replace

from run.tiny import perceptron, rows, write_csv, write_exported
from unmask.run import Choice, Plan, Source

NAMES = ("age", "height", "weight", "dose")
ALL = ("and_or", "universal_matching", "sparsity", "shapley_exact", "gradient")

# A model that writes down how many rows it is asked for, and does as its file says.
COUNTED = """
import os, time
import torch
from torch import nn

class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.inner = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        with open(os.environ["UNMASK_TEST_LOG"], "a") as log:
            log.write(f"{len(x)}\\n")
        time.sleep(float(os.environ.get("UNMASK_TEST_PAUSE", "0")))
        first = x[:, 0]
        if (first == 100).any():
            raise RuntimeError("a hundred is too much\\nfor this model")
        return torch.where((first == 200)[:, None], torch.nan, self.inner(x))

def counted():
    return Counted()
"""


def plan_for(folder, x, **changes):
    """A program and a table in a folder, and the plan to explain them."""
    folder.mkdir(exist_ok=True)
    write_exported(folder / "m.pt2", perceptron(), rows(4), dynamic=True)
    write_csv(folder / "t.csv", x, NAMES, {"y": [str(i % 3) for i in range(len(x))]})
    plan = Plan(
        model=str(folder / "m.pt2"),
        inputs=Source(file=str(folder / "t.csv"), label="y"),
        score=Choice("log_odds", {"target": "predicted"}),
        players=Choice("features"),
        baseline=Choice("mean"),
        methods={name: {} for name in ALL},
    )
    return replace(plan, **changes)


def files_of(folder):
    """Every file of a run and its bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def asked(log):
    """How many rows the counting model was asked for so far."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def counted_plan(tmp_path, x, **changes):
    return plan_for(tmp_path, x, model="unmask_test_counted:counted", **changes)
