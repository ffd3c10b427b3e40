"""Folders that may lie in an object store, such as s3://bucket/run, as well as on this machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from unmask.store.whole import written

_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci")
"""Where there are no folders to be made; asked for one, some make a bucket."""
_AT_ONCE = 64
"""Files that are fetched together."""
_PROBE = ".unmask-probe"


@dataclass(frozen=True)
class Place:
    """A file or folder, by its path or by an address that fsspec knows.

    Only the address is kept, so that a place can be sent to another process. Keys and endpoints
    come from the environment, as the packages behind fsspec read them (`AWS_ACCESS_KEY_ID`,
    `AWS_ENDPOINT_URL`, ...), never from a plan.

    Args:
        url: a path, or protocol://path.

    >>> place = Place("s3://bucket/run") / "terms"
    >>> place.url, place.name, place.local
    ('s3://bucket/run/terms', 'terms', None)
    """

    url: str

    @classmethod
    def of(cls, path: "str | os.PathLike[str] | Place") -> "Place":
        """What a user means.

        Args:
            path: a path or an address.
        """
        return path if isinstance(path, Place) else cls(os.fspath(path))

    @property
    def local(self) -> Path | None:
        """The path, where it is on this machine."""
        protocol, there, path = self.url.partition("://")
        if not there:
            return Path(self.url)
        return Path(path) if protocol in ("file", "local") else None

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rstrip("/").rpartition("/")[2] if self.local is None else self.local.name

    def __truediv__(self, part: str) -> "Place":
        local = self.local
        return Place(f"{self.url.rstrip('/')}/{part}" if local is None else str(local / part))

    def listed(self) -> tuple[list[str], list[str]]:
        """The names of the folders and of the files in a folder, each in order; none of none."""
        local = self.local
        if local is not None:
            parts = sorted(local.iterdir()) if local.is_dir() else []
            folders = [part.name for part in parts if part.is_dir()]
            return folders, [part.name for part in parts if part.is_file()]
        with self._reached("read") as (system, path):
            system.invalidate_cache()
            try:
                found = system.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                found = []
            names: dict[str, set[str]] = {"directory": set(), "file": set()}
            for one in found:
                name = one["name"].rstrip("/")
                if name != path.rstrip("/"):  # a folder's own empty object, or a file itself
                    names.setdefault(one["type"], set()).add(name.rpartition("/")[2])
            return sorted(names["directory"]), sorted(names["file"])

    def files(self) -> list[str]:
        """All files in a folder and below it, by their paths from there, in order."""
        local = self.local
        if local is not None:
            inside = (file for file in local.rglob("*") if file.is_file())
            return sorted(file.relative_to(local).as_posix() for file in inside)
        with self._reached("read") as (system, path):
            system.invalidate_cache()
            folder = path.rstrip("/") + "/"
            try:
                found = system.find(path)
            except (FileNotFoundError, NotADirectoryError):
                found = []
            names = (name.removeprefix(folder) for name in found if name.startswith(folder))
            return sorted(name for name in names if name and not name.endswith("/"))

    def is_file(self) -> bool:
        """Whether there is such a file."""
        if self.local is not None:
            return self.local.is_file()
        with self._reached("read") as (system, path):
            system.invalidate_cache()
            return bool(system.isfile(path))

    def read_bytes(self) -> bytes:
        """All that a file holds."""
        if self.local is not None:
            return self.local.read_bytes()
        with self._reached("read") as (system, path):
            return system.cat_file(path)

    @contextmanager
    def written(self) -> Iterator[Path]:
        """Lend a draft of a file, which appears whole or not at all when the block ends.

        A draft of a file in an object store lies on this machine until it is sent, and a store
        shows nothing of it before all has arrived.
        """
        if self.local is not None:
            with written(self.local) as draft:
                yield draft
            return
        with TemporaryDirectory(prefix="unmask-") as folder:
            draft = Path(folder, "draft")
            yield draft
            with self._reached("written") as (system, path):
                if self.url.partition("://")[0] not in _OBJECT_STORES:
                    system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.put_file(str(draft), path)

    def write_bytes(self, data: bytes) -> None:
        """Write a file, whole or not at all.

        Args:
            data: all of it.
        """
        with self.written() as draft:
            draft.write_bytes(data)

    def put(self, files: Mapping[str, Path]) -> None:
        """Send files into a folder of a store, many at a time; each appears whole or not at all.

        Args:
            files: those of this machine, by the paths that they get, seen from the folder.
        """
        if not files:
            return
        with self._reached("written") as (system, path):
            root = path.rstrip("/")
            there = [f"{root}/{name}" for name in files]
            if self.url.partition("://")[0] not in _OBJECT_STORES:
                for folder in {name.rpartition("/")[0] for name in there}:
                    system.makedirs(folder, exist_ok=True)
            system.put([str(file) for file in files.values()], there)

    def remove(self) -> None:
        """Remove a file; nothing if there is none."""
        if self.local is not None:
            self.local.unlink(missing_ok=True)
            return
        with self._reached("changed") as (system, path), suppress(FileNotFoundError):
            system.rm_file(path)

    def try_writing(self) -> None:
        """Refuse a folder that nothing can be written to, before work is done for it."""
        probe = self / _PROBE
        try:
            probe.write_bytes(b"")
        except OSError as error:
            raise ValueError(f"No work is done, as nothing could be kept: {error}") from None
        with suppress(OSError):  # some may write and not remove
            probe.remove()

    def system(self) -> Any:
        """The fsspec file system of an address, for what reads through fsspec."""
        with self._reached("reached") as (system, _):
            return system

    @contextmanager
    def _reached(self, verb: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; whatever goes wrong there is told in three parts."""
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(self.url)
        except Exception as error:  # each store has errors of its own, with no class in common
            said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
            told = OSError(f"'{self.url}' cannot be {verb}: {said}. {_advice(error)}")
            raise told from error


def fetched(places: Sequence[Place]) -> Iterator[bytes]:
    """What several files of one store hold, in their order, a few at a time.

    Args:
        places: the files.
    """
    if not places or places[0].local is not None:
        yield from (place.read_bytes() for place in places)
        return
    system = places[0].system()
    for start in range(0, len(places), _AT_ONCE):
        paths = [system._strip_protocol(place.url) for place in places[start : start + _AT_ONCE]]
        with places[start]._reached("read"):
            found = system.cat(paths)
        yield from [found] if isinstance(found, bytes) else (found[path] for path in paths)


def _advice(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "Install that package; for s3:// it comes with: pip install 'unmask[s3]'."
    if isinstance(error, ValueError):
        return "Give a path, or an address such as s3://bucket/run or gs://bucket/run."
    if isinstance(error, FileNotFoundError):
        return "Make the bucket, or name one that is there."
    if isinstance(error, PermissionError):
        return "Check the keys in the environment, and what they allow."
    return "Check the address, the network and the keys in the environment, then repeat."
