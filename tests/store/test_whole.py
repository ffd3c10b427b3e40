"""Files and folders that appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unmask.store import written
from unmask.store.whole import standing


def _all_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _begin(place: Path, kind: str, error: type[BaseException]) -> None:
    with written(place) as draft:
        if kind == "folder":
            draft.mkdir()
            (draft / "b").write_text("ne")
        else:
            draft.write_text("ne")
        raise error


def _fill_the_disk(place: Path) -> None:
    with written(place) as draft:
        draft.write_text("ne")
        with open("/dev/full", "w") as full:
            full.write("w")


def test_puts_a_file_in_place_and_leaves_nothing_else(tmp_path):
    with written(tmp_path / "new" / "a.txt") as draft:
        draft.write_text("one")
        assert not (tmp_path / "new" / "a.txt").exists()
    with written(tmp_path / "new" / "a.txt") as draft:
        draft.write_text("two")
        assert (tmp_path / "new" / "a.txt").read_text() == "one"
    assert (tmp_path / "new" / "a.txt").read_text() == "two"
    assert _all_of(tmp_path) == ["new", "new/a.txt"]


def test_replaces_a_folder_as_a_whole(tmp_path):
    for names in (["a", "b"], ["c"]):
        with written(tmp_path / "folder") as draft:
            draft.mkdir()
            for name in names:
                (draft / name).write_text(name)
    assert _all_of(tmp_path) == ["folder", "folder/c"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_interrupt_leaves_the_old_and_no_draft(tmp_path, error, kind):
    place = tmp_path / "a"
    if kind == "folder":
        place.mkdir()
        place = place / "b"
    place.write_text("old")
    before = _all_of(tmp_path)
    with pytest.raises(error):
        _begin(tmp_path / "a", kind, error)
    assert place.read_text() == "old"
    assert _all_of(tmp_path) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_in_three_parts(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError, match=r"a could not be written: No space.*d\. Free") as told:
        _fill_the_disk(tmp_path / "a")
    assert told.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_text() == "old"
    assert _all_of(tmp_path) == ["a"]


def test_an_error_of_another_kind_passes_as_it_is(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="no such thing"),
        written(tmp_path / "a"),
    ):
        raise FileNotFoundError("no such thing")


@pytest.mark.parametrize("call", [1, 2])
def test_a_failing_rename_of_folders_is_undone(tmp_path, monkeypatch, call):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("old")
    calls = []
    replace = os.replace

    def failing(source, target):
        calls.append(source)
        if len(calls) == call:
            raise OSError(errno.EIO, "broken")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="broken"), written(tmp_path / "a") as draft:
        draft.mkdir()
    assert (tmp_path / "a" / "b").read_text() == "old"
    assert _all_of(tmp_path) == ["a", "a/b"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that split")
def test_a_power_cut_at_any_rename_leaves_the_old_or_the_new(tmp_path):
    """Processes end at once at the first, second, ... rename, without any clearing up."""
    for call in (1, 2, 3):
        (tmp_path / str(call)).mkdir()
        (tmp_path / str(call) / "a").write_text("old")
    program = f"""
import os
from pathlib import Path
from unmask.store.whole import written
replace = os.replace
for call in (1, 2, 3):
    left = [call]
    def cut(source, target):
        left[0] -= 1
        if left[0] == 0:
            os._exit(0)
        replace(source, target)
    os.replace = cut
    child = os.fork()
    if child == 0:
        with written(Path({str(tmp_path)!r}) / str(call)) as draft:
            draft.mkdir()
            (draft / "a").write_text("new")
        os._exit(0)
    os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    for call, expected in ((1, "old"), (2, "old"), (3, "new")):
        place = tmp_path / str(call)
        assert (standing(place) / "a").read_text() == expected
        with written(place) as draft:  # and writing again works, and clears up
            draft.mkdir()
            (draft / "a").write_text("newer")
        assert (standing(place) / "a").read_text() == "newer"
        assert not (tmp_path / f".{call}.old").exists()


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs a device")
def test_a_device_is_not_replaced_by_a_file():
    with pytest.raises(ValueError, match="neither a file nor a folder"), written("/dev/null"):
        pass
    assert not os.path.isfile("/dev/null")


def test_kinds_are_not_mixed(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is a file"), written(tmp_path / "file") as draft:
        draft.mkdir()
    with pytest.raises(ValueError, match="is a folder"), written(tmp_path / "folder") as draft:
        draft.write_text("new")
    with pytest.raises(OSError, match="parents are folders"), written(tmp_path / "file" / "a"):
        pass
    assert _all_of(tmp_path) == ["file", "folder"]


def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    with written(tmp_path / "link") as draft:
        draft.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"
