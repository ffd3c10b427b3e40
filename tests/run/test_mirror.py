"""Runs whose folder lies in a store: the same files, whole at any moment, gone on with anywhere."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import torch

from run.runs import counted_plan, files_of, plan_for
from run.tiny import rows
from unmask import log_odds
from unmask.players import features
from unmask.report import build
from unmask.report.from_run import cases
from unmask.results import Attribution
from unmask.run import execute, follow, plan_text, read_plan, read_run
from unmask.run.compare import compare
from unmask.run.execute import groups_of
from unmask.run.lock import locked
from unmask.run.plan_file import parsed
from unmask.store import frame, query, save

RUN = "memory://shelf/run"
METHODS = {"and_or": {}, "shapley_exact": {}}
INPUTS = 6
RESULTS = INPUTS * (1 + len(METHODS))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """fsspec's own memory, empty, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.rm("/", recursive=True)
    yield system
    system.rm("/", recursive=True)


@pytest.fixture(scope="module")
def near(tmp_path_factory):
    """A run in a folder of this machine."""
    path = tmp_path_factory.mktemp("near")
    execute(plan_for(path, rows(INPUTS), methods=METHODS), path / "run")
    return path / "run"


@pytest.fixture
def here(near):
    """Its plan, and its files."""
    return read_plan(near / "plan.toml"), files_of(near)


def kept_on(shelf):
    """The files on the shelf and their bytes, by their names in the run."""
    return {name.removeprefix("/shelf/run/"): shelf.cat_file(name) for name in shelf.find("/")}


def test_a_store_holds_what_a_folder_would(tmp_path, shelf, here):
    plan, files = here
    outcome = execute(plan, RUN)
    assert str(outcome.folder) == RUN
    assert outcome.computed == RESULTS
    assert kept_on(shelf) == files
    assert files_of(tmp_path / "cache") == {}  # nothing is left on this machine
    again = execute(plan, RUN)
    assert (again.computed, again.explained) == (0, tuple(range(INPUTS)))
    assert kept_on(shelf) == files
    assert not [name for name in os.listdir(tmp_path) if name.startswith("memory")]


def test_a_store_is_read_as_a_folder_is(tmp_path, shelf, here, near):
    execute(here[0], RUN)
    folder, near = near, read_run(near)
    far = read_run(RUN)
    assert far.plan == near.plan
    assert far.header == near.header
    assert [one.entry.title for one in far.explained] == [one.entry.title for one in near.explained]
    for a, b in zip(far.explained, near.explained, strict=True):
        assert a.results["and_or"].effects.equal(b.results["and_or"].effects)
    assert frame(RUN, everything=True).equals(frame(folder, everything=True))
    assert len(query(RUN, "SELECT * FROM terms")) == len(frame(RUN, everything=True))
    pages = [
        build(cases(run), tmp_path / "page.html", title="a page").read_bytes()
        for run in (RUN, folder)
    ]
    assert pages[0] == pages[1]


def test_what_is_not_whole_is_computed_again_and_the_rest_is_fetched(shelf, here):
    plan, files = here
    execute(plan, RUN)
    for lost in (
        "inputs/00003/and_or/result.json",  # what is left of it is no result
        "inputs/00004/entry/entry.json",
        "terms/part-00000000.parquet",
        "run.json",
    ):
        shelf.rm_file(f"/shelf/run/{lost}")
    shelf.pipe_file("/shelf/run/inputs/00003/and_or/tensors.safetensors", b"of who was killed")
    shelf.rm("/shelf/run/inputs/00005", recursive=True)
    assert execute(plan, RUN).computed == 1 + 1 + (1 + len(METHODS))
    assert kept_on(shelf) == files


def test_what_is_there_is_neither_sent_nor_fetched_again(shelf, here, monkeypatch):
    plan, _ = here
    execute(plan, RUN)
    sent, got = [], []
    put, cat = type(shelf).put_file, type(shelf).cat_file

    def sending(self, one, there, *rest, **named):
        sent.append(there)
        return put(self, one, there, *rest, **named)

    def getting(self, there, *rest, **named):
        got.append(there)
        return cat(self, there, *rest, **named)

    monkeypatch.setattr(type(shelf), "put_file", sending)
    monkeypatch.setattr(type(shelf), "cat_file", getting)

    def interrupt(step):
        if step.done > 3:
            raise KeyboardInterrupt

    for attempt in range(2):  # the folder here stays the first time, as the run is not through
        got.clear()
        with pytest.raises(KeyboardInterrupt):
            execute(plan, RUN, listen=interrupt)
        results = [name for name in got if "/inputs/" in name]
        assert bool(results) is (attempt == 0)
    assert not [name for name in sent if "/inputs/" in name]


def test_an_interrupted_run_goes_on_here_and_elsewhere(tmp_path, shelf, here, monkeypatch):
    plan, files = here
    first, second = groups_of(range(INPUTS))[:2]

    def interrupt(step):
        if step.title == f"row {second[-1]}" and step.what == "shapley_exact":
            raise KeyboardInterrupt

    def stopped():
        shelf.rm("/", recursive=True)
        with pytest.raises(KeyboardInterrupt):
            execute(plan, RUN, listen=interrupt)
        kept = kept_on(shelf)
        inputs = {name.split("/")[1] for name in kept if name.startswith("inputs/")}
        assert inputs == {f"{number:05d}" for number in first}
        assert all(files[name] == data for name, data in kept.items() if name != "run.json")
        assert len(read_run(RUN).explained) == len(first)

    stopped()
    # Here, the folder that was worked in has the second group too, but for its last result.
    done = (len(first) + len(second)) * (1 + len(METHODS)) - 1
    assert execute(plan, RUN).computed == RESULTS - done
    assert kept_on(shelf) == files
    stopped()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine's"))
    assert execute(plan, RUN).computed == RESULTS - len(first) * (1 + len(METHODS))
    assert kept_on(shelf) == files


def test_what_failed_is_tried_again(tmp_path, shelf, counted):
    x = rows(3)
    x[1, 0] = 100
    plan = counted_plan(tmp_path, x, methods=METHODS)
    assert execute(plan, RUN).explained == (0, 2)
    assert [failure.number for failure in read_run(RUN).failures] == [1]
    again = execute(plan, RUN)
    assert (again.computed, len(again.failures)) == (0, 1)


def test_tables_may_lie_in_another_store(tmp_path, shelf, here):
    plan, files = here
    execute(replace(plan, store="memory://other/tables"), RUN)
    there = {
        name.removeprefix("/other/tables/"): shelf.cat_file(name)
        for name in shelf.find("/other/tables")
        if name.endswith(".parquet")
    }
    tables = {name: data for name, data in files.items() if name.startswith(("terms", "attrib"))}
    assert there == tables
    assert not shelf.exists("/shelf/run/terms")


def test_the_run_of_another_plan_is_refused_and_untouched(tmp_path, shelf, here):
    plan, files = here
    execute(plan, RUN)
    with pytest.raises(ValueError, match=r"'memory://shelf/run' is the run of another plan: .*see"):
        execute(replace(plan, seed=4), RUN)
    with pytest.raises(ValueError, match=r"'memory://shelf' is no run, but .* such as 'run'\. Ch"):
        execute(plan, "memory://shelf")
    table = Path(plan.inputs.file)
    text = table.read_text("utf-8")
    try:
        table.write_text(text.replace("0.", "1."), "utf-8")
        with pytest.raises(
            ValueError, match=r"The inputs changed since the run in 'memory://shelf"
        ):
            execute(plan, RUN)
    finally:
        table.write_text(text, "utf-8")
    assert kept_on(shelf) == files
    shelf.pipe_file("/shelf/run/plan.toml", b"seed = [")
    with pytest.raises(ValueError, match=r"In the plan 'memory://shelf/run/plan\.toml': This is n"):
        execute(plan, RUN)


def test_two_processes_of_one_machine_are_kept_apart(tmp_path, shelf, here):
    plan, _ = here
    seen = []

    def listen(step):
        if not seen:
            (work,) = (tmp_path / "cache" / "unmask" / "runs").iterdir()
            seen.append(work)
            with pytest.raises(ValueError, match="Another process is at work"), locked(work):
                pass
            with pytest.raises(ValueError, match=f"Another process is at work in '{RUN}'"):
                execute(plan, RUN)

    execute(plan, RUN, listen=listen)
    assert seen


def test_reading_what_is_no_run_is_told(shelf):
    with pytest.raises(ValueError, match=r"There is no run at 'memory://shelf/run'\. Give the add"):
        read_run(RUN)
    shelf.pipe_file("/shelf/run/terms/part-00000000.parquet", b"")
    with pytest.raises(ValueError, match=r"holds no plan\.toml, so that no run .* `unmask query`"):
        read_run(RUN)
    shelf.pipe_file("/shelf/run/plan.toml", b"")
    with pytest.raises(ValueError, match=r"holds no inputs, so that no run .*Give the address of"):
        read_run(RUN)


def test_names_in_a_store_lead_nowhere_else(tmp_path, shelf, here):
    plan, _ = here
    execute(plan, RUN)
    for name in ("inputs/00000/../../../evil/result.json", "inputs/00000/and_or/../x/result.json",
                 "inputs/00000/and_or/evil.py", "evil/and_or/result.json"):  # fmt: skip
        shelf.store[f"/shelf/run/{name}"] = type(shelf.store["/shelf/run/plan.toml"])(
            shelf, f"/shelf/run/{name}", b"evil"
        )
    seen = []

    def listen(step):
        seen.append({name for name in files_of(tmp_path / "cache") if "evil" in name})

    assert execute(plan, RUN, listen=listen).computed == 0
    assert seen
    assert set.union(*seen) == set()
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("slashes", [1, 2])
def test_an_address_is_never_taken_for_a_folder(tmp_path, shelf, monkeypatch, slashes):
    """`Path` makes one slash of two."""
    monkeypatch.chdir(tmp_path)
    plan = plan_for(tmp_path / "plan", rows(3), methods=METHODS)
    where = f"memory:{'/' * slashes}shelf/run"
    assert str(execute(plan, Path(where) if slashes == 1 else where).folder) == RUN
    said = r"'memory://shelf/run.*' is an address, and this is kept on a disk only\. Give a path"
    training = replace(plan, methods={"and_or": {}}, checkpoints=("*.safetensors",))
    with pytest.raises(ValueError, match=said):
        follow(training, where)
    with pytest.raises(ValueError, match=said):
        save(Attribution(torch.ones(1, 2)), where)
    with pytest.raises(ValueError, match=said):
        build(cases(RUN), Path(where) / "page.html", title="a page")
    model = torch.nn.Linear(4, 2)
    with pytest.raises(ValueError, match=said):
        compare(
            log_odds(model, 0), torch.ones(2, 4), baseline=torch.zeros(4),
            players=features(4), folder=where,
        )  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["cache", "plan"]


KILLED = """
import sys
from unmask.run import execute, read_plan
execute(read_plan(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_in_an_object_store(tmp_path, monkeypatch, counted, s3):
    """SIGKILL, a server that speaks as S3 does, and another machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UNMASK_TEST_PAUSE", "0.02")
    s3.create_bucket(Bucket="shelf")

    def kept():
        listed = s3.list_objects_v2(Bucket="shelf").get("Contents", [])
        return {
            one["Key"].removeprefix("runs/a/"): s3.get_object(Bucket="shelf", Key=one["Key"])[
                "Body"
            ].read()
            for one in listed
        }

    plan = counted_plan(tmp_path, rows(INPUTS), methods=METHODS)
    (tmp_path / "plan.toml").write_text(plan_text(plan), "utf-8")
    words = [sys.executable, "-c", KILLED, str(tmp_path / "plan.toml"), "s3://shelf/runs/a"]
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths})
    deadline = time.monotonic() + 60
    while "inputs/00000/and_or/result.json" not in kept() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept()
    assert parsed(before["plan.toml"].decode()) == plan
    assert "inputs/00000/and_or/result.json" in before
    shutil.rmtree(tmp_path / "cache")
    assert execute(plan, "s3://shelf/runs/a").computed < RESULTS
    execute(plan, tmp_path / "whole")
    assert kept() == files_of(tmp_path / "whole")
    assert len(read_run("s3://shelf/runs/a").explained) == INPUTS
    assert not (tmp_path / "s3:").exists()
