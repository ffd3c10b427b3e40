"""A run folder: a plan, what is known of its making, and a folder per input.

```
plan.toml              the plan
run.json               versions, seed, hashes, what could not be explained and why
inputs/00003/entry     the input: players, view, baseline, the table of v
inputs/00003/and_or    the result of a method, as `unmask.store.save` writes it
terms/                 all terms, a file per group of inputs (see `unmask.store.tables`)
attributions/          all attributions, likewise
```

Where the plan names a store, the two tables are there instead. The whole may lie in an object store
(see `unmask.run.mirror`).
"""

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.run.lock import LOCK
from unmask.run.plan import Plan, differences
from unmask.run.plan_file import parsed, read_plan, told_differences
from unmask.run.plan_file import written as plan_text
from unmask.store import written
from unmask.store.places import Place

FORMAT = "unmask run"
VERSION = 1
PLAN, HEADER, INPUTS, ENTRY = "plan.toml", "run.json", "inputs", "entry"
TRAINING = "training.json"
"""What the record of a training has in place of a header."""
MOVABLE = ("store",)
"""Keys of a plan that no result depends on."""
DRAFT = re.compile(r"\.[0-9a-f]{12}\.part")


@dataclass(frozen=True)
class Failure:
    """What could not be explained.

    Args:
        number: of the input.
        title: how it is called.
        method: None where the input as a whole failed.
        reason: why.
    """

    number: int
    title: str
    method: str | None
    reason: str


@dataclass(frozen=True)
class Header:
    """What run.json says.

    Args:
        hashes: of plan, inputs and model.
        numbers: the inputs that the run is about.
        finished: whether all of them were tried.
        failures: what could not be explained.
        notes: what the user should know.
        versions: of what computed the results.
        seed: of random methods.
    """

    hashes: dict[str, str]
    numbers: tuple[int, ...]
    finished: bool = False
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class RunFolder:
    """The places in a run folder.

    Args:
        path: the folder.
        mirror: where all of it goes as it comes, if the run is one of an object store and the
            folder only the place where it is worked on.
    """

    path: Path
    mirror: Place | None = None

    @property
    def told(self) -> str:
        """How the user calls it."""
        return str(self.path) if self.mirror is None else self.mirror.url

    def entry(self, number: int) -> Path:
        """Where an input is."""
        return self.path / INPUTS / f"{number:05d}" / ENTRY

    def result(self, number: int, method: str) -> Path:
        """Where the result of a method for an input is."""
        return self.path / INPUTS / f"{number:05d}" / method

    def plan(self) -> Plan:
        """The plan in the folder."""
        if not self.path.is_dir():
            raise ValueError(f"There is no run at '{self.path}'. Give the folder of a run.")
        if (self.path / TRAINING).is_file():
            raise ValueError(
                f"'{self.path}' is the record of a training, which has a page of its own. "
                "Make it with `unmask dynamics`."
            )
        if not (self.path / PLAN).is_file():
            found = ", ".join(sorted(part.name for part in self.path.iterdir())[:6])
            raise ValueError(
                f"'{self.path}' is no run folder: it holds no {PLAN}, but {found or 'nothing'}. "
                "Give a folder that `unmask explain` or `unmask run` wrote."
            )
        return read_plan(self.path / PLAN)

    def header(self) -> Header | None:
        """What run.json says; None where there is none yet."""
        file = self.path / HEADER
        if not file.exists():
            return None
        try:
            words = json.loads(file.read_text("utf-8"))
            if not isinstance(words, dict):
                raise ValueError("it is no table of JSON")
            return _header(words)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"'{file}' is no record of a run ({what}): it is cut short or foreign. "
                "Delete it and repeat the run; finished results stay."
            ) from None

    def write_header(self, header: Header) -> None:
        """Write run.json."""
        words = {
            "format": FORMAT,
            "version": VERSION,
            "versions": header.versions or versions(),
            "seed": header.seed,
            "hashes": header.hashes,
            "inputs": header.numbers,
            "finished": header.finished,
            "failures": [vars(failure) for failure in header.failures],
            "notes": header.notes,
        }
        text = json.dumps(words, indent=1) + "\n"
        with written(self.path / HEADER) as draft:
            draft.write_text(text, "utf-8")
        if self.mirror is not None:
            (self.mirror / HEADER).write_bytes(text.encode())

    def claim(self, plan: Plan, *, but: Sequence[str] = ()) -> None:
        """Make the folder that of a plan, or refuse where it is another's.

        Args:
            plan: what is to be done in it.
            but: keys that may have changed since; the new plan is kept then.
        """
        before = self._claimed()
        if before is not None:
            changed = differences(plan, before)
            foreign = [key for key in changed if key not in but]
            if foreign:
                raise ValueError(
                    f"'{self.told}' is the run of another plan: they differ in "
                    f"{told_differences(before, plan, foreign)}. Choose another folder with --out, "
                    "or delete this one."
                )
            if changed:
                self._write_plan(plan)
        else:
            found = self._foreign()
            if found:
                raise ValueError(
                    f"The folder '{self.told}' is no run, but holds other files such as "
                    f"{found[0]!r}. Choose another folder with --out, or an empty one."
                )
            self._write_plan(plan)
        if self.mirror is not None and not (self.path / PLAN).is_file():
            with written(self.path / PLAN) as draft:
                draft.write_text(plan_text(plan), "utf-8")
        sweep(self.path)

    def _claimed(self) -> Plan | None:
        """The plan whose run this is; None where it is nobody's yet."""
        if self.mirror is not None:
            return plan_in(self.mirror)
        return read_plan(self.path / PLAN) if (self.path / PLAN).is_file() else None

    def _foreign(self) -> list[str]:
        """What lies in a folder that is no run."""
        if self.mirror is not None:
            folders, files = self.mirror.listed()
            return [*folders, *files]
        if not self.path.is_dir():
            return []
        parts = (part.name for part in self.path.iterdir() if part.name != LOCK)
        return sorted(name for name in parts if not DRAFT.fullmatch(name))

    def refuse_absent(self) -> None:
        """Refuse to go on where the folder is not: on a machine that does not share the disk."""
        if not (self.path / PLAN).is_file():
            raise ValueError(
                f"The run in '{self.path}' is not there, seen from {platform.node()}. All machines "
                "of a cluster write into one folder: give one on a disk that they share, and leave "
                "it alone while the run goes on."
            )

    def _write_plan(self, plan: Plan) -> None:
        with written(self.path / PLAN) as draft:
            draft.write_text(plan_text(plan), "utf-8")
        if self.mirror is not None:
            (self.mirror / PLAN).write_bytes((self.path / PLAN).read_bytes())


def plan_in(store: Place) -> Plan | None:
    """The plan whose run or tables a store holds; None where there is none.

    Args:
        store: that may hold one.
    """
    file = store / PLAN
    if not file.is_file():
        return None
    try:
        return parsed(file.read_bytes().decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"In the plan '{file.url}': {error}") from None


def sweep(folder: Path) -> None:
    """Remove what a killed run left half-written.

    Args:
        folder: of the run.
    """
    # Workers of a run that was killed may come to an end only now: nothing need be there for long.
    for here, inside, files in os.walk(folder):
        for name in [name for name in inside if DRAFT.fullmatch(name)]:
            shutil.rmtree(os.path.join(here, name), ignore_errors=True)
            inside.remove(name)
        for name in files:
            if DRAFT.fullmatch(name):
                Path(here, name).unlink(missing_ok=True)


def digest_of_plan(plan: Plan) -> str:
    """A hash of all that results depend on in a plan."""
    plan = replace(plan, **dict.fromkeys(MOVABLE))
    return hashlib.sha256(plan_text(plan).encode("utf-8", "surrogatepass")).hexdigest()


def versions() -> dict[str, str]:
    """What computes here."""
    from unmask import __version__

    return {
        "unmask": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _header(words: dict[str, Any]) -> Header:
    if words["format"] != FORMAT or words["version"] != VERSION:
        raise ValueError(f"it is of the kind {words['format']!r}, version {words['version']!r}")
    return Header(
        hashes={str(key): str(value) for key, value in words["hashes"].items()},
        numbers=tuple(map(int, words["inputs"])),
        finished=bool(words["finished"]),
        failures=tuple(_failure(failure) for failure in words["failures"]),
        notes=_texts(words["notes"]),
        versions={str(key): str(value) for key, value in words["versions"].items()},
        seed=int(words["seed"]),
    )


def _failure(words: dict[str, Any]) -> Failure:
    method = words["method"]
    return Failure(
        int(words["number"]),
        str(words["title"]),
        None if method is None else str(method),
        str(words["reason"]),
    )


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))
