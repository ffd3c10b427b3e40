"""One process at a time in a run folder, and no lock outlives its process."""

import errno
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from run.compare.explained import run as compared
from run.compare.explained import truth
from run.runs import files_of, plan_for
from run.tiny import rows
from unmask import features
from unmask.run import Choice, InteractionMonitor, execute
from unmask.run.lock import LOCK, locked
from unmask.store import written

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom unmask.run.lock import locked\n"
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow  # another process imports torch
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    plan = plan_for(tmp_path, rows(2))
    said = (
        rf"Another process is at work in '.*out' \(process {holder.pid} on {socket.gethostname()}"
    )
    with pytest.raises(ValueError, match=said) as told:
        execute(plan, tmp_path / "out")
    assert str(told.value).endswith("or choose another folder with --out.")
    assert [file.name for file in (tmp_path / "out").iterdir()] == [LOCK]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out" / LOCK).exists()  # what is left behind is no lock
    assert execute(plan, tmp_path / "out").failures == ()
    assert not (tmp_path / "out" / LOCK).exists()


@pytest.mark.slow  # another process imports torch
def test_trainings_and_comparisons_are_kept_apart_too(tmp_path, holder):
    said = rf"Another process is at work in '.*out' \(process {holder.pid} on .*\)\. Wait until it"
    watching = watched(tmp_path)
    with pytest.raises(ValueError, match=said):
        watching.step(0)
    assert watching.history == ()
    with pytest.raises(ValueError, match=said):
        compared({"truth": truth}, folder=tmp_path / "out")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert watching.step(0) is not None


def watched(tmp_path):
    """A monitor whose record is in the folder."""
    torch.manual_seed(0)
    data = torch.randn(4, 3)
    return InteractionMonitor(
        nn.Linear(3, 2), data, [0, 1, 0, 1], features(3), torch.zeros(3), say=lambda line: None,
        schedule=[0, 10], folder=tmp_path / "out",
    )  # fmt: skip


def test_a_training_holds_its_folder_from_the_first_look_until_it_is_finished(tmp_path):
    out = tmp_path / "out"
    one = watched(tmp_path)
    with locked(out):  # every process of a training may make a monitor, and one calls it
        pass
    one.step(0)
    with pytest.raises(ValueError, match="Another process"), locked(out):
        pass
    other = watched(tmp_path)  # as after an interrupt, in the same process
    other.step(10)
    one.finish()
    with pytest.raises(ValueError, match="Another process"), locked(out):
        pass
    del other  # unfinished, and forgotten
    gc.collect()
    with locked(out):
        pass
    one.step(10)
    assert (out / LOCK).exists()
    one.finish()
    assert not (out / LOCK).exists()


def test_a_copy_of_the_process_that_trains_does_not_open_its_folder(tmp_path):
    one = watched(tmp_path)
    one.step(0)
    child = os.fork()
    if child == 0:
        one._hold.let_go()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ValueError, match="Another process"), locked(tmp_path / "out"):
        pass
    one.finish()


def test_a_training_goes_on_where_its_folder_cannot_be_locked(tmp_path, monkeypatch):
    told = []
    one = watched(tmp_path)
    one._say = told.append
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *_: real(-1, b"", 0))  # a bad file descriptor
    assert one.step(0) is not None
    assert told[0].startswith("The folder of the record is open to other processes: Nothing can be")


def test_a_comparison_is_locked_while_it_goes_on(tmp_path):
    seen = []
    compared(
        {"truth": truth},
        folder=tmp_path / "out",
        listen=lambda step: seen.append((tmp_path / "out" / LOCK).exists()),
    )
    assert all(seen)
    assert not (tmp_path / "out" / LOCK).exists()
    with locked(tmp_path / "out"), pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        compared({"truth": truth}, folder=tmp_path / "out")


def test_a_second_run_in_one_process_is_refused_too(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        execute(plan_for(tmp_path / "files", rows(1)), tmp_path)
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().split()[:2] == [str(os.getpid()), socket.gethostname()]


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path / "a" / "b"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["kept"]


def test_a_file_that_its_owner_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    real = fcntl.flock
    file = tmp_path / LOCK
    calls = []

    def late(handle, operation):
        if not calls:
            file.unlink()  # whoever held it is done between our opening and our locking
        calls.append(handle)
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert len(calls) == 2
        assert file.exists()
        with pytest.raises(ValueError, match="Another process"), locked(tmp_path):
            pass


def test_where_the_file_system_knows_no_locks_the_file_is_one(tmp_path, monkeypatch):
    def unknown(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path), pytest.raises(ValueError, match="Another process"), locked(tmp_path):
        pass
    gone = subprocess.Popen(["true"])
    gone.wait()
    here = socket.gethostname()
    (tmp_path / LOCK).write_text(f"{gone.pid} {here} 2026-01-01\n")
    with locked(tmp_path):  # its owner is no more
        pass
    (tmp_path / LOCK).write_text(f"{gone.pid} another.{here} 2026-01-01\n")
    with pytest.raises(ValueError, match=f"on another.{here}"), locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"No space left on device\. Free some space"),
        (errno.EROFS, r"Read-only file system\. Choose a folder in which you may write"),
        (errno.EIO, r"Input/output error\. Check the path"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_before_the_model_is_opened(
    tmp_path, monkeypatch, number, said
):
    plan = plan_for(tmp_path, rows(1), model="unmask_test_none:never_opened")

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=f"Nothing can be written in '.*out': {said}") as told:
        execute(plan, tmp_path / "out")
    assert told.value.errno == number
    assert not (tmp_path / "out").exists()


def test_a_folder_that_another_process_puts_in_place_at_the_same_moment(tmp_path, monkeypatch):
    real = os.replace

    def late(source, target):
        if not (tmp_path / "place").exists():
            (tmp_path / "place").mkdir()
            (tmp_path / "place" / "theirs").touch()
            monkeypatch.setattr(os, "replace", real)
        real(source, target)

    monkeypatch.setattr(os, "replace", late)
    with written(tmp_path / "place") as draft:
        draft.mkdir()
        (draft / "ours").touch()
    assert [*files_of(tmp_path)] == ["place/ours"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    plan = plan_for(tmp_path, rows(1))
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="Choose a path whose parents are folders"):
        execute(plan, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 7}, r"seed \(0 before, 7 now\)"),
        ({"rows": (0, 1)}, r"rows \(nothing before, \[0, 1\] now\)"),
        (
            {"baseline": Choice("constant", {"value": 2.0})},
            r"baseline\.mean \({} before, nothing now\), baseline\.constant\.value \(nothing "
            r"before, 2\.0 now\)",
        ),
        (
            {"methods": {"and_or": {"steps": 9}, "shapley_exact": {}}},
            r"(?!.*methods\.and_or ).*methods\.and_or\.steps \(nothing before, 9 now\)",
        ),
        ({"model": "m" * 200}, r"model \(.* before, \"m{27} \.\.\. m{27}\" now\)"),
    ],
)
def test_a_changed_plan_is_told_with_both_values(tmp_path, change, said):
    plan = plan_for(tmp_path, rows(2))
    out = tmp_path / "out"
    from unmask.run.folder import RunFolder

    RunFolder(out).claim(plan)
    before = files_of(out)
    with pytest.raises(ValueError, match=f"they differ in {said}"):
        RunFolder(out).claim(replace(plan, **change))
    assert files_of(out) == before
