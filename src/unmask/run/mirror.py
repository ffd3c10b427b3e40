"""Runs in an object store: worked on in a folder of this machine, kept in the store as they go on.

A store knows neither folders that appear at once nor locks that the system takes back, so that
nothing is worked on there. What is finished is sent, file by file, and what makes others whole
comes last; whoever goes on, here or elsewhere, fetches what is whole and computes the rest. The
folder on this machine is one of the cache: what a killed run left there is used again, and it is
removed when the run is through.

Two processes of one machine are kept apart by the lock in that folder. Two machines are not: they
would do the same work twice and write the same files, as results depend on nothing but the plan.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from unmask.run.entry import WORDS as ENTRY_WORDS
from unmask.run.folder import HEADER, PLAN, RunFolder, digest_of_plan
from unmask.run.lock import locked
from unmask.run.plan import Plan
from unmask.store import written
from unmask.store.addresses import address
from unmask.store.folder import TENSORS, TERMS
from unmask.store.folder import WORDS as RESULT_WORDS
from unmask.store.places import Place, fetched

_LAST = (ENTRY_WORDS, RESULT_WORDS)
"""Files that come last: a folder that holds one of them is whole."""
_KNOWN = {*_LAST, TENSORS, TERMS}
_FOLDER = re.compile(r"inputs/\d{5,}/\w+")


@contextmanager
def worked_on(folder: str | os.PathLike[str], plan: Plan) -> Iterator[RunFolder]:
    """Lend a run folder that no other process works in, as it lies here or, if that is wanted, in a
    store.

    Args:
        folder: a path, or an address that fsspec knows.
        plan: what is to be done.
    """
    meant = address(folder)
    if meant is None:
        path = Place.of(folder).local
        assert path is not None  # as it is no address
        with locked(path):
            yield RunFolder(path)
        return
    mirror = Place(meant.rstrip("/"))
    mirror.try_writing()
    path = _cache() / hashlib.sha256(f"{mirror.url} {digest_of_plan(plan)}".encode()).hexdigest()
    with locked(path, mirror.url):
        yield RunFolder(path, mirror)
        shutil.rmtree(path, ignore_errors=True)  # all of it is in the store


def begun(run: RunFolder) -> None:
    """Fetch what a store holds of a run, so that it goes on from there.

    Args:
        run: that the plan has claimed; one of this machine is as it is.
    """
    if run.mirror is not None:
        _fetch(run.mirror, run.path)


def publish(run: RunFolder, numbers: Sequence[int]) -> None:
    """Send what is finished of some inputs, and is not in the store yet.

    Args:
        run: the folder; of one of this machine, nothing is sent.
        numbers: of the inputs.
    """
    if run.mirror is None:
        return
    for number in numbers:
        here = run.entry(number).parent
        there = run.mirror / here.relative_to(run.path).as_posix()
        files = (one for one in Place(str(here)).files() if not one.startswith("."))
        whole = [one for one in files if _is_whole((here / one).parent)]
        known = set(there.files()) if whole else set()
        told = {Path(name).parent for name in known if Path(name).name in _LAST}
        # Of what another process left half-sent, nothing is kept.
        lacking = {
            name: here / name
            for name in whole
            if name not in known or Path(name).parent not in told
        }
        last = {name: file for name, file in lacking.items() if file.name in _LAST}
        there.put({name: file for name, file in lacking.items() if name not in last})
        there.put(last)


@contextmanager
def held(run: str | os.PathLike[str]) -> Iterator[RunFolder]:
    """Lend the folder of a run to read; one of a store is fetched, and thrown away in the end.

    Args:
        run: a path, or an address that fsspec knows.
    """
    meant = address(run)
    if meant is None:
        path = Place.of(run).local
        assert path is not None  # as it is no address
        yield RunFolder(path)
        return
    mirror = Place(meant.rstrip("/"))
    _refuse_other(mirror)
    with TemporaryDirectory(prefix="unmask-") as here:
        path = Path(here, "run")
        _fetch(mirror, path)
        with written(path / PLAN) as draft:
            draft.write_bytes((mirror / PLAN).read_bytes())
        yield RunFolder(path, mirror)


def _refuse_other(mirror: Place) -> None:
    """Refuse to read what is no run, or only the tables of one."""
    folders, files = mirror.listed()
    if not folders and not files:
        raise ValueError(f"There is no run at '{mirror.url}'. Give the address of a run.")
    if PLAN not in files or "inputs" not in folders:
        what = f"no {PLAN}" if PLAN not in files else "no inputs"
        raise ValueError(
            f"'{mirror.url}' holds {what}, so that no run can be "
            "read from it; its tables may be asked with `unmask query`. Give the address of a "
            "whole run, which `unmask run PLAN --out` wrote, or the folder it was worked on in."
        )


def _cache() -> Path:
    """Where runs of stores are worked on."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "unmask" / "runs"


def _is_whole(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _LAST)


def _fetch(mirror: Place, run: Path) -> None:
    """Fetch the header, and the entries and results that are whole and not here."""
    names: dict[str, list[str]] = {}
    for name in mirror.files():
        folder, _, file = name.rpartition("/")
        # Nothing else is taken, so that no file of a stranger's finds its way out of the folder.
        if file in _KNOWN and _FOLDER.fullmatch(folder):
            names.setdefault(folder, []).append(file)
    lacking = {
        folder: files
        for folder, files in names.items()
        if not {*_LAST}.isdisjoint(files) and not (run / folder).exists()
    }
    contents = fetched([mirror / folder / file for folder in lacking for file in lacking[folder]])
    for folder, files in lacking.items():
        with written(run / folder) as draft:
            draft.mkdir()
            for file in files:
                (draft / file).write_bytes(next(contents))
    if (mirror / HEADER).is_file():
        with written(run / HEADER) as draft:
            draft.write_bytes((mirror / HEADER).read_bytes())
