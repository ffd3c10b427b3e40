"""What a Ray cluster is not needed for, or is begun for by itself."""

import os
import pickle
import socket
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from run.errands import Clutching
from run.runs import files_of, plan_for
from run.tiny import rows
from unmask.run import OnRay, execute, plan_text
from unmask.run.packed import packed
from unmask.run.unshippable import culprit


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
    sent = packed(list(table), cloudpickle)
    assert len(sent) < 2 * table.nbytes
    assert all(torch.equal(a, b) for a, b in zip(cloudpickle.loads(sent), table, strict=True))
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    there = cloudpickle.loads(packed(tied, cloudpickle))
    assert there[1].weight is there[0].weight
    assert there[0].weight.requires_grad


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


@pytest.mark.long  # Ray tries for half a minute
def test_what_listens_at_an_address_but_lets_nobody_in(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        said = rf"The Ray cluster at '{address}' cannot be joined .*RAY_AUTH_MODE=token here"
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
