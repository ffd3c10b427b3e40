"""Files and folders that appear whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unmask.store.addresses import refuse_address

ADVICE = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Free some space, or write to another disk.",
    errno.EFBIG: "Raise the limit on the size of files, or write to another disk.",
    errno.EROFS: "Choose a folder in which you may write.",
    errno.EACCES: "Choose a folder in which you may write.",
    errno.EPERM: "Choose a folder in which you may write.",
    errno.ENOTDIR: "Choose a path whose parents are folders.",
    errno.EEXIST: "Choose a path whose parents are folders.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lend a draft beside `path`, and put it in place when the block ends without an error.

    The block makes a file or a folder at the path it is lent. Until it ends, what stood at `path`
    is untouched: after an error, an interrupt or a full disk it is as before and the draft is
    gone. A folder that stood there is replaced as a whole. To change two folders is two steps; a
    power cut between them leaves the old one as `.NAME.old`, which `standing` finds.

    Missing parent folders are made.

    Args:
        path: where the file or folder shall stand.

    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with written(place) as draft:
    ...     _ = draft.write_text("all of it")
    >>> place.read_text()
    'all of it'
    """
    refuse_address(path)
    place = Path(os.path.realpath(path))
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise ValueError(
            f"{path} is neither a file nor a folder but a device or a pipe. "
            "Give the path of a file or folder."
        )
    draft = place.with_name(f".{secrets.token_hex(6)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        _flush(draft)
        _put(draft, place)
    except OSError as error:
        advice = ADVICE.get(error.errno or 0)
        if advice is None:
            raise
        reason = os.strerror(error.errno or 0)
        told = OSError(
            f"{path} could not be written: {reason}. What stood there before is unchanged. {advice}"
        )
        told.errno = error.errno
        raise told from error
    finally:
        _remove(draft)


def standing(path: str | os.PathLike[str]) -> Path:
    """Where the folder of that name is: its place, or what a power cut left of replacing it."""
    place = Path(os.path.realpath(path))
    aside = _aside(place)
    return aside if aside.exists() and not place.exists() else place


def _put(draft: Path, place: Path) -> None:
    if not draft.is_dir():
        if place.is_dir():
            raise ValueError(f"{place} is a folder. Give the path of a file.")
        os.replace(draft, place)
        _flush_folder(place.parent)
        return
    if place.is_file():
        raise ValueError(f"{place} is a file. Give the path of a folder.")
    aside = _aside(place)
    if place.exists():
        _exchange(draft, place, aside)
    else:
        try:
            os.replace(draft, place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _exchange(draft, place, aside)  # another process has put one there meanwhile
    _flush_folder(place.parent)
    _remove(aside)


def _exchange(draft: Path, place: Path, aside: Path) -> None:
    _remove(aside)
    try:
        os.replace(place, aside)
        os.replace(draft, place)
    except BaseException:
        if aside.exists() and not place.exists():
            os.rename(aside, place)
        raise


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Wait until the draft is on the disk: a rename may otherwise outrun what it names."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # where folders cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
