"""Whatever ends a run, it goes on where it stopped and ends as one that nothing ended."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from run.runs import asked, counted_plan, files_of, plan_for
from run.tiny import rows, write_picture
from unmask.run import Choice, Source, execute, plan_text, read_run
from unmask.run.execute import groups_of

METHODS = {"and_or": {}, "shapley_exact": {}}
INPUTS = 11


@pytest.fixture
def whole(tmp_path, counted):
    """The plan, and what the run gives that nothing disturbs: its files, and rows asked for."""
    x = rows(INPUTS)
    x[2, 0], x[9, 0] = 200, 100  # the model answers NaN, and raises
    plan = counted_plan(tmp_path, x, methods=METHODS, batch_size=8)
    found = execute(plan, tmp_path / "whole")
    assert [failure.number for failure in found.failures] == [2, 9]
    (tmp_path / "the.toml").write_text(plan_text(plan))
    rows_asked = asked(counted)
    counted.unlink()
    return plan, files_of(tmp_path / "whole"), rows_asked


def ended(tmp_path, how, counts):
    """Runs that came to an end after so many renamings."""
    done = subprocess.run(
        [
            *(sys.executable, Path(__file__).parent / "mortal.py", "the.toml", "out", how),
            *map(str, counts),
        ],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {int(count): code for count, code in json.loads(done.stdout).items()}


@pytest.mark.parametrize(
    ("how", "code", "places"),
    [
        pytest.param("kill", -signal.SIGKILL, 3, marks=pytest.mark.slow),
        pytest.param("full", 3, 2, marks=pytest.mark.slow),
        pytest.param("kill", -signal.SIGKILL, 30, marks=pytest.mark.long),
        pytest.param("full", 3, 30, marks=pytest.mark.long),
    ],
)
def test_a_run_that_ends_anywhere_goes_on_to_the_same_bytes(
    tmp_path, counted, whole, how, code, places
):
    plan, wanted, total = whole
    # A plan, two records, tables of nine inputs, their results, two files for every group.
    last = 2 * (3 + 9 * 3 + 2 * len(groups_of(range(INPUTS))))
    counts = [1, 2, last, *random.Random(0).sample(range(3, last), places)]
    ends = ended(tmp_path, how, counts)
    assert ends == dict.fromkeys(counts, code)
    spent = asked(counted)
    assert spent < len(counts) * total
    for count in counts:
        out = tmp_path / f"out-{count}"
        for name, data in files_of(out).items():
            hidden = Path(name).name.startswith(".") or "/." in name  # drafts, and the lock
            assert hidden or name == "run.json" or wanted[name] == data
        kept = len(list((out / "inputs").glob("[0-9]*/entry")))
        before = asked(counted)
        execute(plan, out)
        assert files_of(out) == wanted
        # Of a table that was kept nothing is asked again: neither a prediction nor a coalition.
        assert asked(counted) - before == total - kept * (1 + 16)


@pytest.mark.long
@pytest.mark.parametrize("after", [3, 12])
def test_the_driver_of_a_cluster_may_be_killed_and_its_workers_go_with_it(
    tmp_path, counted, whole, after
):
    pytest.importorskip("ray")
    plan, wanted, _ = whole
    code = (
        "import sys\nfrom unmask.run import OnRay, execute, read_plan\n"
        "execute(read_plan('the.toml'), 'out', engine=OnRay(workers=2))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "UNMASK_TEST_PAUSE": "0.2"},
    )
    try:
        deadline = time.monotonic() + 120
        while len(counted.read_text().split() if counted.exists() else ()) < after:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # At once, while workers may still be about to notice: they are no danger to the new run.
    execute(plan, tmp_path / "out")
    assert files_of(tmp_path / "out") == wanted
    deadline = time.monotonic() + 60
    while workers_in(tmp_path):
        assert time.monotonic() < deadline, "workers outlive the process that began them"
        time.sleep(0.5)


def workers_in(folder):
    """Workers of Ray in a folder; its own agents take a minute to notice, and compute nothing."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name = (place / "cmdline").read_bytes()
            if name.startswith((b"ray::_Worker", b"ray::IDLE")):
                found += [place] * ((place / "cwd").resolve() == folder)
        except OSError:
            continue
    return found


@pytest.mark.long
def test_workers_are_killed_at_random_and_the_run_does_not_notice(tmp_path, counted, whole):
    pytest.importorskip("ray")
    _, wanted, total = whole
    # Somebody in the middle of a forward pass is killed, and somebody again.
    (tmp_path / "kill").mkdir()
    file = tmp_path / "unmask_test_counted.py"
    chance = (
        "        if len(os.listdir('kill')) < 2 and random.random() < 0.3:\n"
        "            open(f'kill/{os.getpid()}', 'w').close()\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    text = file.read_text().replace("import os, time", "import os, random, time")
    start = "        time.sleep("
    file.write_text(text.replace(start, chance + start, 1))
    code = (
        "from unmask.run import OnRay, execute, read_plan\n"
        "print(len(execute(read_plan('the.toml'), 'out', engine=OnRay(workers=2)).failures))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1] == "2", done.stderr  # before it Ray says who died
    killed = len(list((tmp_path / "kill").iterdir()))
    assert killed >= 1
    assert files_of(tmp_path / "out") == wanted
    # Each death cost the rows of one table at most, as those before were kept.
    assert asked(counted) <= total + killed * (1 + 16)


def test_a_picture_that_cannot_be_read_costs_the_others_nothing(tmp_path, monkeypatch):
    (tmp_path / "unmask_test_sees.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def sees():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 3))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(6):
        write_picture(pictures / f"{i}.png", 4, 4, seed=i)
    (pictures / "0.png").write_bytes(b"no picture")
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:30])
    plan = plan_for(
        tmp_path,
        rows(1),
        model="unmask_test_sees:sees",
        inputs=Source(file=str(pictures)),
        players=Choice("patches", {"grid": (2, 2)}),
        methods={"shapley_exact": {}},
    )
    found = execute(plan, tmp_path / "out")
    assert found.explained == (1, 2, 3, 5)
    assert [failure.title for failure in found.failures] == ["0.png", "4.png"]
    assert all("is no picture that can be read" in failure.reason for failure in found.failures)
    stored = read_run(tmp_path / "out")
    assert [one.entry.title for one in stored.explained] == ["1.png", "2.png", "3.png", "5.png"]
    # The baseline is the mean of those that could be read.
    for i in (0, 4):
        (pictures / f"{i}.png").unlink()
    execute(plan, tmp_path / "without")
    for one, other in zip(stored.explained, read_run(tmp_path / "without").explained, strict=True):
        assert (one.entry.baseline == other.entry.baseline).all()
        assert (one.entry.table == other.entry.table).all()
