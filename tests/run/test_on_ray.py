"""The same work on a Ray cluster, begun by these tests on this machine."""

import errno
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from run.errands import Clutching, Deadly, Errand, InsuredDeadly, fails
from run.runs import ALL, counted_plan, files_of, plan_for
from run.tiny import rows, write_onnx
from unmask.run import Choice, OnRay, Source, execute, follow, open_model, plan_text, read_run
from unmask.run.on_ray import _packed
from unmask.run.unshippable import culprit

WORKERS = 2


@pytest.fixture(scope="module")
def cluster():
    """Two cores, in which workers are begun for every map."""
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def logged(tmp_path, counted):
    """The counting model, which logs where it runs: the cluster is older than the environment."""
    file = tmp_path / "unmask_test_counted.py"
    file.write_text(file.read_text().replace('os.environ["UNMASK_TEST_LOG"]', '"log"'))


def squares(count):
    return [number * number for number in range(count)]


def lines(file):
    return [int(line) for line in file.read_text().split()]


@pytest.mark.long  # starts processes that import torch, one after the other
def test_answers_come_in_the_order_of_the_items_whatever_the_order_they_are_found_in(
    cluster, tmp_path
):
    pauses = (0.5, 0.0, 0.0, 0.2, 0.0, 0.0)
    work = Errand(tmp_path / "log", pauses)
    found = OnRay().map(work, range(6))
    assert list(found) == squares(6)
    order = lines(tmp_path / "log")
    assert sorted(order) == list(range(6))
    assert order.index(2) < 4  # the other worker went on while the first item took its time


@pytest.mark.long  # starts processes that import torch, one after the other
def test_the_work_is_sent_once_to_every_worker(cluster, tmp_path):
    assert list(OnRay().map(Errand(tmp_path / "log"), range(9))) == squares(9)
    processes = lines(tmp_path / "shipped")
    assert 1 <= len(processes) == len(set(processes)) <= WORKERS  # and not once for each item
    assert os.getpid() not in processes


@pytest.mark.long  # starts processes that import torch, one after the other
def test_no_more_workers_than_asked_for_or_needed(cluster, tmp_path):
    assert list(OnRay(workers=1).map(Errand(tmp_path / "log"), range(3))) == squares(3)
    assert len(lines(tmp_path / "shipped")) == 1
    (tmp_path / "shipped").unlink()
    assert list(OnRay().map(Errand(tmp_path / "log"), range(1))) == squares(1)
    assert len(lines(tmp_path / "shipped")) == 1
    assert list(OnRay().map(Errand(tmp_path / "log"), [])) == []


@pytest.mark.long  # starts processes that import torch, one after the other
def test_the_item_of_a_killed_worker_is_done_again_and_no_other(cluster, tmp_path):
    work = Deadly(tmp_path / "log", at=3)
    assert list(OnRay().map(work, range(8))) == squares(8)
    done = lines(tmp_path / "log")
    assert done.count(3) == 2
    assert sorted(done) == sorted([*range(8), 3])


@pytest.mark.long  # starts processes that import torch, one after the other
def test_an_item_that_always_takes_its_worker_along_is_given_up(cluster, tmp_path):
    work = InsuredDeadly(tmp_path / "log", at=2, times=99)
    found = list(OnRay().map(work, range(6)))
    said = found.pop(2)
    assert found == [n * n for n in (0, 1, 3, 4, 5)]
    assert said.startswith("2: The process that worked on this was lost 3 times (Actor")
    assert lines(tmp_path / "log").count(2) == 3
    with pytest.raises(RuntimeError, match="was lost 3 times"):
        list(OnRay().map(Deadly(tmp_path / "other", at=2, times=99), range(6)))


@pytest.mark.long  # starts processes that import torch, one after the other
def test_errors_arrive_as_they_were_raised(cluster):
    with pytest.raises(ValueError, match="one is too many") as raised:
        list(OnRay().map(fails, [0, 1]))
    assert str(raised.value) == "one is too many. Give another."
    assert "in fails" in raised.value.__notes__[0]  # where, for --debug
    with pytest.raises(OSError, match=r"^out could not be written") as full:
        list(OnRay().map(fails, [2]))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match=r"^OddError: this and that"):
        list(OnRay().map(fails, [3]))


@pytest.mark.slow  # starts processes that import torch
def test_a_run_has_the_same_bytes_as_one_without_a_cluster(cluster, tmp_path, monkeypatch):
    plan = plan_for(tmp_path, rows(20))
    steps = []
    serial = execute(plan, tmp_path / "serial")
    monkeypatch.chdir(tmp_path)
    spread = execute(plan, "spread", engine=OnRay(), listen=steps.append)
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    assert spread.computed == serial.computed == 20 * (1 + len(ALL))
    assert [step.done for step in steps] == [48, 96, 120]
    assert {step.total for step in steps} == {120}
    again = execute(plan, tmp_path / "spread", engine=OnRay())
    assert again.computed == 0
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")


@pytest.mark.long  # starts processes that import torch, one after the other
def test_models_of_every_kind_are_sent(cluster, tmp_path, logged):
    write_onnx(tmp_path / "m.onnx", nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), "N")
    names = (str(tmp_path / "m.onnx"), "unmask_test_counted:counted", "unmask.zoo:breast_cancer")
    for i, name in enumerate(names):
        plan = plan_for(tmp_path, rows(3), model=name, methods={"shapley_exact": {}})
        if name.startswith("unmask.zoo"):
            own = Choice("given")
            plan = replace(plan, inputs=Source(), rows=(0, 5), players=own, baseline=own)
        for where, engine in (("serial", None), ("spread", OnRay(workers=1))):
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
    found = execute(plan, tmp_path / "out", engine=OnRay())
    reasons = {failure.number: failure.reason for failure in found.failures}
    assert sorted(reasons) == [3, 10]
    assert "returned nan for this input" in reasons[3]
    assert "was lost 3 times" in reasons[10]
    stored = read_run(tmp_path / "out")
    explained = [one.entry.number for one in stored.explained if one.results]
    assert explained == [number for number in range(20) if number not in (3, 10)]
    assert stored.failures == found.failures


@pytest.mark.slow  # starts processes that import torch
def test_checkpoints_are_followed_to_the_same_bytes(cluster, tmp_path, followed_plan):
    steps = []
    follow(followed_plan, tmp_path / "serial")
    found = follow(followed_plan, tmp_path / "spread", engine=OnRay(), listen=steps.append)
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


def test_what_cannot_be_sent_is_named_by_its_path(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    with pytest.raises(
        ValueError, match=r"sent to other processes: parts\.b\.1 is a _thread\.lock"
    ):
        list(OnRay().map(Clutching(), [1]))
    text = (
        "import threading\nfrom torch import nn\n"
        "class Model(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Linear(4, 3), nn.Tanh())\n"
        "        self.body[1].guard = threading.Lock()\n"
        "    def forward(self, x):\n        return self.body(x)\n"
        "def made():\n    import torch\n    torch.manual_seed(0)\n    return Model()\n"
    )
    (tmp_path / "unmask_test_guarded.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = plan_for(tmp_path, rows(2), model="unmask_test_guarded:made")
    with pytest.raises(
        ValueError, match=r"opened\.model\.body\.1\.guard is a _thread\.lock"
    ) as told:
        execute(plan, tmp_path / "out", engine=OnRay())
    assert "run without a cluster" in str(told.value)


def test_the_path_leads_through_closures_methods_and_cycles():
    lock = threading.Lock()
    assert culprit({"a": {"b": lock}}, pickle.dumps) == ("a.b", "_thread.lock")
    assert culprit(lock, pickle.dumps) == ("it", "_thread.lock")

    def closed():
        return lock

    path, kind = culprit({"read": closed}, pytest.importorskip("ray").cloudpickle.dumps)
    assert (path, kind) == ("read.lock", "_thread.lock")
    ring: dict[str, object] = {"lock": lock}
    ring["first"] = ring
    assert culprit({"ring": ring}, pickle.dumps)[0] in ("ring.lock", "ring.first")


def test_rows_of_a_table_do_not_take_the_table_along_and_tied_weights_stay_tied():
    cloudpickle = pytest.importorskip("ray").cloudpickle
    table = torch.randn(500, 100)
    assert len(cloudpickle.dumps(list(table))) > 500 * table.nbytes  # what torch does
    packed = _packed(list(table))
    assert len(packed) < 2 * table.nbytes
    assert all(torch.equal(a, b) for a, b in zip(cloudpickle.loads(packed), table, strict=True))
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    there = cloudpickle.loads(_packed(tied))
    assert there[1].weight is there[0].weight
    assert there[0].weight.requires_grad


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_worker_without_the_package_says_which(cluster, monkeypatch):
    nowhere = ModuleType("unmask_test_nowhere")
    exec("class Work:\n    def __call__(self, item):\n        return item\n", nowhere.__dict__)
    nowhere.Work.__module__ = nowhere.__name__
    monkeypatch.setitem(sys.modules, nowhere.__name__, nowhere)
    with pytest.raises(ValueError, match="No module named 'unmask_test_nowhere'") as told:
        list(OnRay().map(nowhere.Work(), [1, 2]))
    assert "Install the same packages on all" in str(told.value)


@pytest.mark.long  # starts processes that import torch, one after the other
def test_a_worker_of_another_version_is_refused(cluster, monkeypatch):
    import unmask.run.on_ray as room

    here = room.versions()
    monkeypatch.setattr(room, "versions", lambda: {**here, "torch": "1.0"})
    with pytest.raises(ValueError, match=r"computes with torch .* instead of 1\.0\. Install the"):
        list(OnRay().map(abs, [1]))


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


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "There is no Ray cluster at '127.0.0.1:1'"),
        ("nobody", "'nobody' is no address of a cluster"),
        ("ray://127.0.0.1:10001", "is no address of a cluster"),
        ("127.0.0.1:99999", "There is no Ray cluster at"),
    ],
)
def test_an_address_without_a_cluster(address, said, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match=said):
        list(OnRay(address=address).map(abs, [1]))


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": -1}])
def test_fewer_than_one(wrong):
    with pytest.raises(ValueError, match=f"one of its {next(iter(wrong))} at least"):
        OnRay(**wrong)


@pytest.mark.long
def test_a_cluster_of_its_own_is_ended_and_leaves_no_trace(tmp_path):
    pytest.importorskip("ray")
    code = (
        "import os, signal, sys, ray\n"
        "from run.errands import fails\n"
        "from unmask.run import OnRay\n"
        "before = dict(os.environ), signal.getsignal(signal.SIGTERM)\n"
        "assert list(OnRay(workers=2).map(fails, [0, 4, 5])) == [0, 4, 5]\n"
        "assert not ray.is_initialized()\n"
        "assert (dict(os.environ), signal.getsignal(signal.SIGTERM)) == before\n"
        "try:\n    list(OnRay(workers=2).map(fails, [0, 1, 5]))\n"
        "except ValueError as error:\n    print(error)\n"
        "assert not ray.is_initialized()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "one is too many. Give another.\n"


@pytest.mark.long
def test_the_command_line_spreads_a_run(tmp_path):
    pytest.importorskip("ray")
    plan = plan_for(tmp_path, rows(9), methods={"shapley_exact": {}})
    (tmp_path / "p.toml").write_text(plan_text(plan))
    for out, extra in (("a", ()), ("b", ("--on", "ray", "--workers", "2"))):
        done = subprocess.run(
            [sys.executable, "-m", "unmask.cli", "run", "p.toml", "--out", out, *extra],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
