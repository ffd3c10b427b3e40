"""A run that was stopped goes on where it stopped, whatever stopped it."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from run.runs import ALL, asked, counted_plan, files_of, plan_for
from run.tiny import rows
from unmask.run import execute, plan_text


def test_a_finished_run_is_not_done_again(tmp_path):
    plan = plan_for(tmp_path, rows(3))
    first = execute(plan, tmp_path / "out")
    assert first.computed == 3 * (1 + len(ALL))
    before = files_of(tmp_path / "out")
    again = execute(plan, tmp_path / "out")
    assert again.computed == 0
    assert files_of(tmp_path / "out") == before


def test_a_lost_result_is_computed_again_and_only_that(tmp_path):
    plan = plan_for(tmp_path, rows(3))
    execute(plan, tmp_path / "out")
    before = files_of(tmp_path / "out")
    for lost in ("00001/and_or", "00002/gradient", "00000/sparsity"):
        shutil.rmtree(tmp_path / "out" / "inputs" / lost)
    assert execute(plan, tmp_path / "out").computed == 3
    assert files_of(tmp_path / "out") == before


def run_in_another_process(folder, plan, **settings):
    """Start `execute` in a process of its own."""
    code = (
        "import sys\nfrom unmask.run import execute, read_plan\n"
        "execute(read_plan(sys.argv[1]), sys.argv[2])\n"
    )
    (folder / "the.toml").write_text(plan_text(plan))
    environment = {**os.environ, "UNMASK_TEST_LOG": str(folder / "log"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder / "the.toml"), str(folder / "out")],
        cwd=folder,
        env={**environment, **settings},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 7])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, counted, after):
    plan = counted_plan(tmp_path, rows(5), batch_size=8)
    execute(plan, tmp_path / "whole")
    total = asked(counted)
    counted.unlink()

    process = run_in_another_process(tmp_path, plan, UNMASK_TEST_PAUSE="0.15")
    try:
        deadline = time.monotonic() + 120
        while len(counted.read_text().split() if counted.exists() else ()) < after:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    assert not (tmp_path / "out" / "terms").exists()
    finished = len(list((tmp_path / "out" / "inputs").glob("*/entry"))) if after > 2 else 0
    before = asked(counted)
    assert 0 < before < total

    execute(plan, tmp_path / "out")
    whole, resumed = files_of(tmp_path / "whole"), files_of(tmp_path / "out")
    assert resumed == whole
    # Those whose tables were kept are asked again neither for a prediction nor for a table.
    assert asked(counted) - before == total - finished * (1 + 16)


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, counted):
    plan = counted_plan(tmp_path, rows(3))
    execute(plan, tmp_path / "whole")
    sizes = [len(data) for data in files_of(tmp_path / "whole").values()]
    limit = sorted(sizes)[-2] - 1  # so that some files fit and the larger ones do not
    code = (
        "import resource, sys\nfrom unmask.run import execute, read_plan\n"
        "plan = read_plan(sys.argv[1])\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {resource.RLIM_INFINITY}))\n"
        "try:\n    execute(plan, sys.argv[2])\n"
        "except OSError as error:\n    print(error.errno, error)\n"
    )
    (tmp_path / "the.toml").write_text(plan_text(plan))
    done = subprocess.run(
        [sys.executable, "-c", code, "the.toml", "out"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{errno.EFBIG} "), done.stderr
    assert "could not be written" in done.stdout
    whole, partial = files_of(tmp_path / "whole"), files_of(tmp_path / "out")
    partial.pop("run.json")
    assert partial
    assert {name for name, data in partial.items() if whole.get(name) != data} == set()
    execute(plan, tmp_path / "out")
    assert files_of(tmp_path / "out") == whole


def test_an_interrupt_between_or_while_writing_loses_only_what_was_not_finished(
    tmp_path, monkeypatch
):
    plan = plan_for(tmp_path, rows(3))
    execute(plan, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    real = os.fsync
    for after in (1, 9, 17, 30):
        count = 0

        def interrupted(handle, after=after):
            nonlocal count
            count += 1
            if count == after:
                raise KeyboardInterrupt
            real(handle)

        out = tmp_path / f"out{after}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", interrupted)
            with pytest.raises(KeyboardInterrupt):
                execute(plan, out)
        for name, data in files_of(out).items():
            assert name == "run.json" or whole[name] == data
        execute(plan, out)
        assert files_of(out) == whole
