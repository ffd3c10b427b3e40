"""What a person types for a run that lies in a store."""

import os

import pytest

from run.tiny import perceptron, rows, write_csv, write_exported
from typed import typed


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory with a program and a table."""
    monkeypatch.chdir(tmp_path)
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    names = ("age", "height", "weight", "dose")
    write_csv(tmp_path / "t.csv", rows(3), names, {"y": ["0", "1", "2"]})
    return tmp_path


def test_a_run_in_a_store_is_made_gone_on_with_asked_and_shown(here, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    shelf = fsspec.filesystem("memory")
    shelf.rm("/", recursive=True)
    before = {*os.listdir(here), "cache"}
    done = typed("explain", "m.pt2", "t.csv", "--label", "y", "--out", "memory://shelf/run")
    assert done.exit_code == 0, done.output
    assert "Results: memory://shelf/run\nPage: memory://shelf/run/page.html" in done.output
    page = shelf.cat_file("/shelf/run/page.html").decode()
    assert "height" in page
    again = typed("run", "memory://shelf/run")
    assert again.exit_code == 0, again.output
    seen = typed("plan", "memory://shelf/run", width=200)
    assert seen.exit_code == 0, seen.output
    assert any(
        line.split()[:3] == ["run", "folder", "memory://shelf/run"]
        for line in seen.output.splitlines()
    )
    assert typed("query", "memory://shelf", "SELECT 6 * 7 a").output.split()[-1] == "42"
    assert typed("report", "memory://shelf/run", "--out", "p.html").exit_code == 0
    assert (here / "p.html").read_text("utf-8") == page
    shelf.rm_file("/shelf/run/page.html")
    assert typed("report", "memory://shelf/run").exit_code == 0
    assert shelf.cat_file("/shelf/run/page.html").decode() == page
    shelf.rm("/", recursive=True)
    gone = typed("run", "memory://shelf/run")
    assert (gone.exit_code, "There is no run at 'memory://shelf/run'" in gone.output) == (2, True)
    for words in (["compare", "m.pt2", "t.csv", "--label", "y"], ["dynamics", "x"]):
        done = typed(*words, "--out", "memory://shelf/x")
        assert done.exit_code == 2
        assert "Traceback" not in done.output
    assert {*os.listdir(here)} == before | {"p.html"}
