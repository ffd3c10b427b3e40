"""The record of a monitor, a training that was killed, and the beginning of phase two."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from unmask.run import InteractionMonitor, Record
from watched import LABELS, PLAYERS, watch


def test_predictions_that_flip_are_counted_also_after_a_resumption(tmp_path):
    model = nn.Linear(4, 2)
    said = []
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    zeros = int((LABELS[:5] == 0).sum())
    watch(model, say=said.append, folder=tmp_path / "run").step(0)
    assert f"{zeros}/5 as explained" in said[-1]
    assert "flipped" not in said[-1]
    assert "no terms: the network is constant" in said[-1]
    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.0, 1.0]))
    watch(model, say=said.append, folder=tmp_path / "run").step(2)
    assert f"{5 - zeros}/5 as explained  5 flipped" in said[-1]
    assert said[-2].endswith("forward passes.")
    assert said[-3] == "The record goes on after step 0."
    assert Record.read(tmp_path / "run").kept(2).predicted == (1, 1, 1, 1, 1)


class Valley(nn.Module):
    """log-odds = sum of x + w times the product of x: its mean order is known from w."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        z = x.sum(1) + self.w * x.prod(1)
        return torch.stack([torch.zeros_like(z), z], 1)


def planted(monitor, model, weights):
    """A training whose weight goes down to a valley and up again."""
    for step, w in weights.items():
        with torch.no_grad():
            model.w.fill_(w)
        monitor.step(step)


WEIGHTS = {0: 8, 2: 6, 5: 4, 12: 2, 30: 1, 70: 0.5, 150: 1, 350: 2, 800: 4, 1900: 6, 4000: 8}


def test_the_beginning_of_phase_two_is_told_once_and_soon():
    said = []
    model = Valley()
    x = 0.9 + 0.2 * torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
    monitor = InteractionMonitor(
        model, x, [1] * 12, PLAYERS, torch.zeros(4), schedule=WEIGHTS, say=said.append
    )
    planted(monitor, model, WEIGHTS)
    for snapshot in monitor.history:
        w, terms = WEIGHTS[snapshot.step], snapshot.terms[0]
        mean = float((terms.effects.abs() * terms.order).sum() / terms.effects.abs().sum())
        product, total = w * float(x[0].prod()), float(x[0].sum())
        assert mean == pytest.approx((total + 4 * product) / (total + product), rel=1e-5)
    told = [line for line in said if "Phase two has begun" in line]
    assert len(told) == 1
    assert told[0].startswith(("step    350", "step    800", "step   1900"))
    found = monitor.finish()
    assert (found.numbers["phase_one"], found.numbers["phase_two"]) == (1.0, 1.0)
    assert 30 <= found.numbers["switch"] <= 150
    assert "Two phases that meet at step" in said[-1]


def test_a_resumed_monitor_knows_that_phase_two_had_begun(tmp_path):
    said = []
    model = Valley()
    x = 0.9 + 0.2 * torch.rand(12, 4, generator=torch.Generator().manual_seed(0))

    def watched():
        return InteractionMonitor(
            *(model, x, [1] * 12, PLAYERS, torch.zeros(4)),
            schedule=WEIGHTS,
            say=said.append,
            folder=tmp_path / "run",
        )

    planted(watched(), model, WEIGHTS)
    count = len(said)
    again = watched()
    assert said[count] == "The record goes on after step 4000. Phase two had begun."
    planted(again, model, WEIGHTS)
    assert len(said) == count + 2  # nothing is looked at again
    assert len(again.history) == len(WEIGHTS)


SCRIPT = """
    import os, signal, sys, torch
    sys.path.insert(0, {tests!r})
    import watched as there
    model = there.make()
    monitor = there.watch(model, folder={folder!r}, schedule=(0, 2, 5, 9, 12))
    die = {die}
    step = monitor.step
    def stepping(now):
        if now == die:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(now)
    monitor.step = stepping
    there.train(model, monitor)
"""


@pytest.mark.slow  # three processes
def test_a_killed_training_leaves_the_same_record_once_it_is_repeated(tmp_path):
    def run(folder, die):
        code = textwrap.dedent(SCRIPT).format(
            tests=str(Path(__file__).parents[1]), folder=str(folder), die=die
        )
        return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)

    assert run(tmp_path / "whole", -1).returncode == 0
    assert run(tmp_path / "killed", 7).returncode == -signal.SIGKILL
    assert Record.read(tmp_path / "killed").steps() == (0, 2, 5)
    draft = tmp_path / "killed" / "steps" / f".{'0' * 12}.part"  # what a kill amid writing leaves
    draft.mkdir()
    assert run(tmp_path / "killed", -1).returncode == 0
    assert not draft.exists()
    files = sorted(
        file.relative_to(tmp_path / "whole")
        for file in (tmp_path / "whole").rglob("*")
        if file.is_file()
    )
    assert sum(file.suffix == ".parquet" for file in files) == 5
    for file in files:
        one, other = (tmp_path / run / file for run in ("whole", "killed"))
        assert one.read_bytes() == other.read_bytes(), file
