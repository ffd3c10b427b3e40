"""Folders here and in stores that fsspec knows: the same verbs, the same promises."""

import pickle

import fsspec
import pytest

from unmask.store.places import Place, fetched


@pytest.fixture(params=["path", "file", "memory"])
def place(request, tmp_path):
    """An empty folder on the disk, by path and by address, and in fsspec's own memory."""
    if request.param == "memory":
        system = fsspec.filesystem("memory")
        system.rm("/", recursive=True)
        yield Place("memory://shelf/run")
        system.rm("/", recursive=True)
    else:
        yield Place(("file://" if request.param == "file" else "") + str(tmp_path / "run"))


def test_what_is_written_is_read_and_listed(place):
    assert place.listed() == ([], [])
    assert not (place / "a").is_file()
    (place / "b").write_bytes(b"two")
    (place / "a").write_bytes(b"one")
    (place / "deep" / "er").write_bytes(b"three")
    assert place.listed() == (["deep"], ["a", "b"])
    assert (place / "a").is_file()
    assert not (place / "deep").is_file()
    assert (place / "deep" / "er").read_bytes() == b"three"
    assert (place / "deep" / "er").name == "er"
    (place / "a").remove()
    (place / "a").remove()
    assert place.listed() == (["deep"], ["b"])


def test_a_file_appears_whole_or_not_at_all(place):
    (place / "a").write_bytes(b"before")

    def interrupted():
        with (place / "a").written() as draft:
            draft.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (place / "a").read_bytes() == b"before"
    assert place.listed() == ([], ["a"])
    with (place / "a").written() as draft:
        draft.write_bytes(b"after")
        assert (place / "a").read_bytes() == b"before"
    assert (place / "a").read_bytes() == b"after"


def test_many_files_come_in_their_order(place):
    many = [place / f"{(i * 37) % 100:02d}" for i in range(100)]  # more than go at once
    for file in many:
        file.write_bytes(file.name.encode())
    assert [*fetched(many)] == [file.name.encode() for file in many]
    assert [*fetched(many[:1])] == [many[0].name.encode()]
    assert [*fetched([])] == []


def test_a_place_goes_to_another_process(place):
    (place / "a").write_bytes(b"one")
    again = pickle.loads(pickle.dumps(place / "a"))
    assert again.read_bytes() == b"one"


def test_trying_leaves_nothing(place):
    place.try_writing()
    assert place.listed() == ([], [])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://x", r"No work is done.*Protocol not known: nowhere.*Give a path, or an addr"),
        ("abfs://x/y", r"No work is done.*cannot be written: .*Install"),
    ],
)
def test_what_cannot_be_written_is_told_in_three_parts(url, said):
    with pytest.raises(ValueError, match=said):
        Place(url).try_writing()


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"No work is done.*could not be written"):
        Place(str(tmp_path / "file" / "run")).try_writing()


def test_reading_what_is_not_there(place):
    with pytest.raises(OSError, match="a"):
        (place / "a").read_bytes()
