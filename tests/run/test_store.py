"""The tables of a run: written as it goes on, here or in a store elsewhere."""

import shutil
from dataclasses import replace

import fsspec
import pytest

from run.runs import asked, counted_plan, files_of, plan_for
from run.tiny import rows
from unmask.run import execute, plan_text, read_plan
from unmask.run.execute import GROUP, groups_of
from unmask.run.plan_file import parsed
from unmask.store import frame, query

STORE = "memory://shelf/run"
METHODS = {"and_or": {}, "shapley_exact": {}}


@pytest.fixture
def shelf():
    """fsspec's own memory, empty."""
    system = fsspec.filesystem("memory")
    system.rm("/", recursive=True)
    yield system
    system.rm("/", recursive=True)


def tables_in(folder):
    """The tables of a run folder and their bytes."""
    files = files_of(folder)
    return {name: files[name] for name in files if name.startswith(("terms/", "attributions/"))}


def kept_on(shelf):
    """The files on the shelf and their bytes, by their names in the run."""
    return {name.removeprefix("/shelf/run/"): shelf.cat_file(name) for name in shelf.find("/")}


def tables_on(shelf):
    kept = kept_on(shelf)
    return {name: kept[name] for name in kept if name.endswith(".parquet")}


def groups(inputs):
    return [f"part-{first:08d}.parquet" for first, *_ in groups_of(range(inputs))]


def test_every_group_of_inputs_has_a_file_of_its_own(tmp_path):
    count = 2 * GROUP + 1
    execute(plan_for(tmp_path, rows(count), methods=METHODS), tmp_path / "out")
    for table in ("terms", "attributions"):
        found = sorted(file.name for file in (tmp_path / "out" / table).iterdir())
        assert found == groups(count)
        numbers = query(tmp_path / "out", f"SELECT DISTINCT input FROM {table} ORDER BY 1")
        assert numbers["input"].tolist() == [*range(count)]


def test_a_part_is_there_as_soon_as_its_inputs_are(tmp_path):
    seen = []

    def listen(step):
        folder = tmp_path / "out" / "terms"
        seen.append(len(list(folder.glob("part-*"))) if folder.is_dir() else 0)

    plan = plan_for(tmp_path, rows(2 * GROUP), methods=METHODS)
    execute(plan, tmp_path / "out", listen=listen)
    assert seen[0] == 0
    assert 1 in seen  # the first group's, while the second is worked on


def test_tables_in_a_store_are_those_that_would_be_in_the_folder(tmp_path, shelf):
    plan = plan_for(tmp_path, rows(GROUP + 2), methods=METHODS)
    execute(plan, tmp_path / "here")
    execute(replace(plan, store=STORE), tmp_path / "out")
    kept = kept_on(shelf)
    assert parsed(kept.pop("plan.toml").decode()) == replace(plan, store=STORE)
    assert kept.pop("run.json") == (tmp_path / "out" / "run.json").read_bytes()
    assert kept == tables_in(tmp_path / "here")
    assert not (tmp_path / "out" / "terms").exists()
    elsewhere, here = frame(STORE, everything=True), frame(tmp_path / "here", everything=True)
    assert elsewhere.equals(here)
    answer = query(
        ["memory://shelf", tmp_path / "here"], "SELECT run, count(*) n FROM terms GROUP BY 1"
    )
    assert {run.rsplit("/", 2)[-1] for run in answer["run"]} == {"run", "here"}
    assert answer["n"].tolist() == [len(here)] * 2
    again = execute(replace(plan, store=STORE), tmp_path / "out")
    assert again.computed == 0
    assert tables_on(shelf) == tables_in(tmp_path / "here")


def test_tables_move_when_the_plan_names_another_store(tmp_path, shelf):
    plan = plan_for(tmp_path, rows(3), methods=METHODS)
    execute(plan, tmp_path / "out")
    moved = execute(replace(plan, store=STORE), tmp_path / "out")
    assert moved.computed == 0
    assert read_plan(tmp_path / "out" / "plan.toml").store == STORE
    kept = tables_on(shelf)
    assert kept == tables_in(tmp_path / "out")
    execute(replace(plan, store=str(tmp_path / "beside")), tmp_path / "out")
    assert tables_in(tmp_path / "beside") == kept


def test_lost_parts_are_written_again_and_foreign_ones_removed(tmp_path):
    plan = plan_for(tmp_path, rows(GROUP + 2), methods=METHODS)
    execute(plan, tmp_path / "out")
    before = files_of(tmp_path / "out")
    terms = tmp_path / "out" / "terms"
    (terms / "part-00000000.parquet").unlink()
    (terms / f"part-{GROUP:08d}.parquet").write_bytes(b"cut sho")
    (terms / "part-00000003.parquet").write_bytes(b"of another grouping")
    (tmp_path / "out" / "interactions.parquet").write_bytes(b"of an earlier version")
    (tmp_path / "out" / "attributions.parquet").write_bytes(b"of an earlier version")
    shutil.rmtree(tmp_path / "out" / "attributions")
    assert execute(plan, tmp_path / "out").computed == 0
    assert files_of(tmp_path / "out") == before


def test_inputs_that_failed_come_into_the_tables_when_they_succeed(tmp_path, counted):
    x = rows(4)
    x[1, 0] = 100
    plan = counted_plan(tmp_path, x, methods=METHODS)
    assert execute(plan, tmp_path / "out").explained == (0, 2, 3)
    numbers = "SELECT DISTINCT input FROM terms ORDER BY 1"
    assert query(tmp_path / "out", numbers)["input"].tolist() == [0, 2, 3]
    text = (tmp_path / "unmask_test_counted.py").read_text()
    (tmp_path / "unmask_test_counted.py").write_text(text.replace("== 100", "== 101"))
    import sys

    sys.modules.pop("unmask_test_counted")
    assert execute(plan, tmp_path / "out").explained == (0, 1, 2, 3)
    assert query(tmp_path / "out", numbers)["input"].tolist() == [0, 1, 2, 3]


def test_a_run_without_terms_has_empty_tables(tmp_path):
    execute(plan_for(tmp_path, rows(2), methods={"shapley_exact": {}}), tmp_path / "out")
    assert len(frame(tmp_path / "out")) == 0
    assert len(query(tmp_path / "out", "SELECT * FROM attributions")) == 2 * 4


def test_the_store_of_another_plan_is_refused(tmp_path, shelf):
    plan = plan_for(tmp_path, rows(2), methods=METHODS, store=STORE)
    execute(plan, tmp_path / "out")
    other = replace(plan, seed=3)
    with pytest.raises(
        ValueError, match=r"tables of another plan: .*seed \(0 before, 3 now\).*Name"
    ):
        execute(other, tmp_path / "other")


@pytest.mark.parametrize("store", ["nowhere://shelf/run", "{tmp}/file/run"])
def test_a_store_that_cannot_be_written_is_told_before_any_work(tmp_path, counted, store):
    (tmp_path / "file").write_text("in the way")
    plan = counted_plan(tmp_path, rows(2), store=store.format(tmp=tmp_path))
    with pytest.raises(ValueError, match=r"No work is done, as nothing could be kept: .*\. "):
        execute(plan, tmp_path / "out")
    assert asked(counted) == 0
    assert not (tmp_path / "out").exists()


def test_a_store_that_breaks_amid_a_run_ends_it_and_it_goes_on(tmp_path, shelf, monkeypatch):
    plan = plan_for(tmp_path, rows(4), methods=METHODS, store=STORE)
    real, calls = type(shelf).put_file, []

    def breaking(self, here, there, *rest, **named):
        calls.append(there)
        if len(calls) == 5:  # the probe, the plan, two parts of the first group
            raise PermissionError("the keys ran out")
        return real(self, here, there, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(type(shelf), "put_file", breaking)
        with pytest.raises(OSError, match=r"cannot be written: the keys ran out\. Check the keys"):
            execute(plan, tmp_path / "out")
    assert set(kept_on(shelf)) == {
        "plan.toml", "terms/part-00000000.parquet", "attributions/part-00000000.parquet",
    }  # fmt: skip
    again = execute(plan, tmp_path / "out")
    assert again.computed == 0  # the results of the second group were in the folder already
    execute(replace(plan, store=None), tmp_path / "whole")
    assert tables_on(shelf) == tables_in(tmp_path / "whole")


def test_the_plan_says_where_the_tables_are(tmp_path):
    plan = plan_for(tmp_path, rows(1), store="s3://bucket/run")
    assert parsed(plan_text(plan)) == plan
    with pytest.raises(ValueError, match=r"The key 'store' is 3\. Give a path or an address"):
        parsed(plan_text(plan).replace('store = "s3://bucket/run"', "store = 3"))
    assert "store" not in plan_text(replace(plan, store=None))


def test_an_object_store_keeps_the_tables(tmp_path, s3):
    """Against a server that speaks as S3 does, on this machine."""
    plan = plan_for(tmp_path, rows(GROUP + 2), methods=METHODS, store="s3://shelf/runs/a")
    with pytest.raises(ValueError, match=r"No work is done.*Make the bucket"):
        execute(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    s3.create_bucket(Bucket="shelf")
    execute(plan, tmp_path / "out")
    execute(replace(plan, store=None), tmp_path / "here")
    here = tables_in(tmp_path / "here")
    listed = s3.list_objects_v2(Bucket="shelf")["Contents"]
    kept = {
        one["Key"]: s3.get_object(Bucket="shelf", Key=one["Key"])["Body"].read() for one in listed
    }
    assert parsed(kept.pop("runs/a/plan.toml").decode()) == plan
    assert kept.pop("runs/a/run.json") == (tmp_path / "out" / "run.json").read_bytes()
    assert kept == {f"runs/a/{name}": data for name, data in here.items()}
    assert frame("s3://shelf/runs/a").equals(frame(tmp_path / "here"))
    answer = query(
        ["s3://shelf/runs", tmp_path / "here"],
        "SELECT run, sum(value) s FROM attributions GROUP BY 1 ORDER BY 1 DESC",
    )
    assert answer["run"].tolist() == ["s3://shelf/runs/a", str(tmp_path / "here")]
    # Parts are added up in the order in which DuckDB's threads have read them.
    assert answer["s"][0] == pytest.approx(answer["s"][1], rel=1e-12)
    assert execute(plan, tmp_path / "out").computed == 0
