"""The same work on a Ray cluster, begun by these tests on this machine."""

import errno
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from torch import nn
from typer.testing import CliRunner

from run.errands import Deadly, Errand, InsuredDeadly, fails
from run.runs import ALL, counted_plan, files_of, plan_for
from run.tiny import rows, write_onnx
from run.wide import WIDE, wide_plan
from unmask.cli.main import app
from unmask.run import Choice, OnRay, Source, execute, follow, open_model, plan_text, read_run

WORKERS = 2


@pytest.fixture(scope="module")
def cluster():
    """Room for two workers that stay, and for two more."""
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=2 * WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def crew(cluster):
    """Workers that stay: what follows here would wait for others most of its time."""
    with OnRay(workers=WORKERS).begun() as begun:
        yield begun


@pytest.fixture
def logged(tmp_path, counted):
    """The counting model, which logs where it runs: the cluster is older than the environment."""
    file = tmp_path / "unmask_test_counted.py"
    file.write_text(file.read_text().replace('os.environ["UNMASK_TEST_LOG"]', '"log"'))


def squares(count):
    return [number * number for number in range(count)]


def lines(file):
    return [int(line) for line in file.read_text().split()]


@pytest.mark.slow  # the first of these starts processes that import torch
def test_answers_come_in_the_order_of_the_items_whatever_the_order_they_are_found_in(
    crew, tmp_path
):
    pauses = (0.5, 0.0, 0.0, 0.2, 0.0, 0.0)
    work = Errand(tmp_path / "log", pauses)
    found = crew.map(work, range(6))
    assert list(found) == squares(6)
    order = lines(tmp_path / "log")
    assert sorted(order) == list(range(6))
    assert order.index(2) < 4  # the other worker went on while the first item took its time


@pytest.mark.slow  # the first of these starts processes that import torch
def test_the_work_is_sent_once_to_every_worker(crew, tmp_path):
    assert list(crew.map(Errand(tmp_path / "log"), range(9))) == squares(9)
    processes = lines(tmp_path / "shipped")
    assert 1 <= len(processes) == len(set(processes)) <= WORKERS  # and not once for each item
    assert os.getpid() not in processes


@pytest.mark.long  # starts processes that import torch, one after the other
def test_no_more_workers_than_asked_for_or_needed(cluster, tmp_path):
    assert list(OnRay(workers=1).map(Errand(tmp_path / "log"), range(3))) == squares(3)
    assert len(lines(tmp_path / "shipped")) == 1
    (tmp_path / "shipped").unlink()
    assert list(OnRay(workers=WORKERS).map(Errand(tmp_path / "log"), range(1))) == squares(1)
    assert len(lines(tmp_path / "shipped")) == 1
    assert list(OnRay(workers=WORKERS).map(Errand(tmp_path / "log"), [])) == []


@pytest.mark.slow  # the first of these starts processes that import torch
def test_the_item_of_a_killed_worker_is_done_again_and_no_other(crew, tmp_path):
    work = Deadly(tmp_path / "log", at=3)
    assert list(crew.map(work, range(8))) == squares(8)
    done = lines(tmp_path / "log")
    assert done.count(3) == 2
    assert sorted(done) == sorted([*range(8), 3])


@pytest.mark.long  # starts processes that import torch, one after the other
def test_an_item_that_always_takes_its_worker_along_is_given_up(cluster, tmp_path):
    work = InsuredDeadly(tmp_path / "log", at=2, times=99)
    found = list(OnRay(workers=WORKERS).map(work, range(6)))
    said = found.pop(2)
    assert found == [n * n for n in (0, 1, 3, 4, 5)]
    assert said.startswith("2: The process that worked on this was lost 3 times (Actor")
    assert lines(tmp_path / "log").count(2) == 3
    with pytest.raises(RuntimeError, match="was lost 3 times"):
        list(OnRay(workers=WORKERS).map(Deadly(tmp_path / "other", at=2, times=99), range(6)))


@pytest.mark.slow  # the first of these starts processes that import torch
def test_errors_arrive_as_they_were_raised(crew):
    with pytest.raises(ValueError, match="one is too many") as raised:
        list(crew.map(fails, [0, 1]))
    assert str(raised.value) == "one is too many. Give another."
    assert "in fails" in raised.value.__notes__[0]  # where, for --debug
    with pytest.raises(OSError, match=r"^out could not be written") as full:
        list(crew.map(fails, [2]))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match=r"^OddError: this and that"):
        list(crew.map(fails, [3]))


@pytest.mark.slow  # the first of these starts processes that import torch
def test_a_run_has_the_same_bytes_as_one_without_a_cluster(crew, tmp_path, monkeypatch):
    plan = plan_for(tmp_path, rows(20))
    steps = []
    serial = execute(plan, tmp_path / "serial")
    monkeypatch.chdir(tmp_path)
    spread = execute(plan, "spread", engine=crew, listen=steps.append)
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    assert spread.computed == serial.computed == 20 * (1 + len(ALL))
    assert [step.done for step in steps] == [*range(12, 121, 12)]  # of two inputs each
    assert {step.total for step in steps} == {120}
    again = execute(plan, tmp_path / "spread", engine=crew)
    assert again.computed == 0
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")


@pytest.mark.slow  # the first of these starts processes that import torch
def test_a_worker_that_is_killed_amid_a_run_changes_nothing(crew, tmp_path, logged):
    """It dies in the middle of the model, once, of the same signal as memory runs out."""
    text = (tmp_path / "unmask_test_counted.py").read_text()
    deadly = (
        "        if len(x) > 1 and not os.path.exists('killed'):\n"
        "            open('killed', 'w').close()\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    (tmp_path / "unmask_test_mortal.py").write_text(
        text.replace("        first = x[:, 0]\n", deadly + "        first = x[:, 0]\n", 1)
    )
    plan = plan_for(tmp_path, rows(11), model="unmask_test_mortal:counted")
    (tmp_path / "killed").touch()
    execute(plan, tmp_path / "serial")
    (tmp_path / "killed").unlink()
    assert execute(plan, tmp_path / "spread", engine=crew).failures == ()
    assert (tmp_path / "killed").exists()
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")


@pytest.mark.slow  # the first of these starts processes that import torch
def test_the_coalitions_of_one_large_game_are_shared_out(crew, tmp_path, monkeypatch):
    (tmp_path / "unmask_test_wide.py").write_text(WIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = wide_plan(tmp_path, 1)
    execute(plan, tmp_path / "serial")
    (tmp_path / "by").unlink()
    steps = []
    execute(plan, tmp_path / "spread", engine=crew, listen=steps.append)
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    by = lines(tmp_path / "by")
    assert os.getpid() not in by
    shares = [by.count(process) for process in {*by}]
    assert len(shares) == WORKERS
    assert min(shares) > 0.2 * sum(shares)  # of four parts one at least
    assert steps[-1].done == steps[-1].total == 2
    assert {step.done % 1 for step in steps} >= {0.25, 0.5, 0.75}


COMPARED = """
import sys
from pathlib import Path
from run.compare.explained import PLANTED, run, shy
from unmask.run import OnRay
steps = []
run(PLANTED | {"shy": shy}, folder=Path("serial"))
engine = OnRay(address=sys.argv[1], workers=2)
run(PLANTED | {"shy": shy}, folder=Path("spread"), engine=engine, listen=steps.append)
done = [step.done for step in steps]
assert done == sorted({*done}) and done[-1] == steps[-1].total, done
"""


@pytest.mark.slow  # starts processes that import torch
def test_a_comparison_has_the_same_bytes_as_one_without_a_cluster(cluster, tmp_path):
    """In a process without the tests' checks of types, whose wrappers cannot be sent."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARED, cluster.get_runtime_context().gcs_address],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "RAY_AUTH_MODE": "token",  # as every cluster has that Ray begins by itself
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")


@pytest.mark.slow  # starts processes that import torch
def test_a_plan_with_checkpoints_is_followed_from_the_command_line(
    cluster, tmp_path, followed_plan
):
    """The record and its page, as they are without a cluster."""
    (tmp_path / "p.toml").write_text(plan_text(followed_plan))
    for out, extra in (("a", ()), ("b", ("--on", "ray", "--workers", "2"))):
        done = CliRunner().invoke(app, ["run", "p.toml", "--out", f"{out}/run", *extra])
        assert done.exit_code == 0, done.output
    one, other = (files_of(tmp_path / out) for out in "ab")
    assert "run/page.html" in one
    assert one == other


@pytest.mark.long  # starts processes that import torch, one after the other
def test_models_of_every_kind_are_sent(crew, tmp_path, logged):
    write_onnx(tmp_path / "m.onnx", nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), "N")
    names = (str(tmp_path / "m.onnx"), "unmask_test_counted:counted", "unmask.zoo:breast_cancer")
    for i, name in enumerate(names):
        plan = plan_for(tmp_path, rows(3), model=name, methods={"shapley_exact": {}})
        if name.startswith("unmask.zoo"):
            own = Choice("given")
            plan = replace(plan, inputs=Source(), rows=(0, 5), players=own, baseline=own)
        for where, engine in (("serial", None), ("spread", crew)):
            assert execute(plan, tmp_path / f"{where}{i}", engine=engine).failures == ()
        assert files_of(tmp_path / f"serial{i}") == files_of(tmp_path / f"spread{i}")


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_model_that_kills_its_process_on_one_input_costs_the_others_nothing(
    cluster, tmp_path, logged
):
    text = (tmp_path / "unmask_test_counted.py").read_text()
    deadly = "if (first == 300).all():\n            os._exit(9)\n        if (first == 100)"
    (tmp_path / "unmask_test_counted.py").write_text(text.replace("if (first == 100)", deadly))
    x = rows(20)
    x[10, 0], x[3, 0] = 300, 200
    plan = counted_plan(tmp_path, x, methods={"shapley_exact": {}})
    found = execute(plan, tmp_path / "out", engine=OnRay(workers=WORKERS))
    reasons = {failure.number: failure.reason for failure in found.failures}
    assert sorted(reasons) == [3, 10]
    assert "returned nan for this input" in reasons[3]
    assert "was lost 3 times" in reasons[10]
    stored = read_run(tmp_path / "out")
    explained = [one.entry.number for one in stored.explained if one.results]
    assert explained == [number for number in range(20) if number not in (3, 10)]
    assert stored.failures == found.failures


@pytest.mark.slow  # the first of these starts processes that import torch
def test_checkpoints_are_followed_to_the_same_bytes(crew, tmp_path, followed_plan):
    steps = []
    follow(followed_plan, tmp_path / "serial")
    found = follow(followed_plan, tmp_path / "spread", engine=crew, listen=steps.append)
    assert found.computed == 3
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    assert [step.done for step in steps] == [1, 2, 3]


@pytest.fixture
def followed_plan(tmp_path, logged):
    """Three checkpoints of the counting network."""
    from safetensors.torch import save_file

    state = open_model("unmask_test_counted:counted").model.state_dict()
    for step in (1, 2, 3):
        weights = {name: value * step for name, value in state.items()}
        save_file(weights, tmp_path / f"step_{step}.safetensors")
    files = tuple(str(tmp_path / f"step_{step}.safetensors") for step in (1, 2, 3))
    return counted_plan(tmp_path, rows(3), methods={"and_or": {}}, checkpoints=files)


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_worker_without_the_package_says_which(cluster, monkeypatch):
    nowhere = ModuleType("unmask_test_nowhere")
    exec("class Work:\n    def __call__(self, item):\n        return item\n", nowhere.__dict__)
    nowhere.Work.__module__ = nowhere.__name__
    monkeypatch.setitem(sys.modules, nowhere.__name__, nowhere)
    with pytest.raises(ValueError, match="No module named 'unmask_test_nowhere'") as told:
        list(OnRay(workers=WORKERS).map(nowhere.Work(), [1, 2]))
    assert "Install the same packages on all" in str(told.value)


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_worker_of_another_version_is_refused(cluster, monkeypatch):
    import unmask.run.on_ray as room

    here = room.versions()
    monkeypatch.setattr(room, "versions", lambda: {**here, "torch": "1.0"})
    with pytest.raises(ValueError, match=r"computes with torch .* instead of 1\.0\. Install the"):
        list(OnRay(workers=WORKERS).map(abs, [1]))


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_worker_that_does_not_see_the_folder_says_so(cluster, tmp_path):
    plan = plan_for(tmp_path, rows(2))

    class Far:
        """Sends the work where the folder is not."""

        def map(self, work, items):
            there = pickle.loads(pickle.dumps(work.run))
            work.run = replace(there, path=tmp_path / "elsewhere")
            return OnRay(workers=1).map(work, items)

    with pytest.raises(ValueError, match=r"elsewhere' is not there, seen from .*one on a disk"):
        execute(plan, tmp_path / "out", engine=Far())


@pytest.mark.long  # starts processes that import torch, one after the other
def test_another_cluster_than_the_present_one_is_refused(cluster):
    with pytest.raises(ValueError, match=r"part of the cluster at .* already"):
        list(OnRay(address="127.0.0.1:1").map(abs, [1]))
