"""A run read back from its folder: the inputs, and what was found of each."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unmask.results import Interactions, Result
from unmask.run.entry import Entry
from unmask.run.folder import Failure, Header, RunFolder
from unmask.run.kept import kept_entry, kept_result
from unmask.run.mirror import held
from unmask.run.plan import Plan
from unmask.store import frame
from unmask.store.explanations import Explanation
from unmask.store.frame_of_run import TAU, frame_of


@dataclass(frozen=True)
class Explained:
    """One explained input.

    Args:
        entry: who plays, what the model says, and the table of v.
        results: by the name of their method.
    """

    entry: Entry
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Stored:
    """All that a run folder holds.

    Args:
        plan: what was asked for.
        header: versions, hashes, notes.
        explained: the inputs that have been explained so far.
        failures: what could not be explained.
    """

    plan: Plan
    header: Header
    explained: tuple[Explained, ...]
    failures: tuple[Failure, ...]


def read_run(folder: str | os.PathLike[str]) -> Stored:
    """Read a run folder. Nothing in it can make this run code.

    A run that was stopped is read as far as it came.

    Args:
        folder: that `execute` wrote: a path, or an address that fsspec knows.
    """
    with held(folder) as run:
        return _read(run)


def _read(run: RunFolder) -> Stored:
    plan = run.plan()
    header = run.header()
    if header is None:
        raise ValueError(
            f"The run in '{run.told}' has not begun: there is no run.json. "
            "Start it with `unmask run`."
        )
    explained = []
    for number in header.numbers:
        if not run.entry(number).exists():
            if header.finished and number not in {failure.number for failure in header.failures}:
                raise ValueError(
                    f"Input {number} is missing from the run in '{run.told}', though the run was "
                    "finished. Repeat it with `unmask run`: the other inputs stay."
                )
            continue
        entry, results = kept_entry(run, number), {}
        for method in plan.methods:
            place = run.result(number, method)
            if place.parent == run.entry(number).parent and place.exists():
                results[method] = kept_result(run, entry, method)
        explained.append(Explained(entry, results))
    return Stored(plan, header, tuple(explained), header.failures)


@frame.register(Stored)
def _(run: Stored, *, everything: bool = False, tau: float = TAU) -> Any:
    """The salient terms of a run that was read, as those of its folder: a data frame.

    Args:
        run: that was read.
        everything: whether all terms are wanted.
        tau: the least spread of a salient term, relative to the largest of its explanation.
    """
    found = (
        Explanation(one.entry.number, 0, method, result)
        for one in run.explained
        for method, result in one.results.items()
        if isinstance(result, Interactions)
    )
    return frame_of(found, everything=everything, tau=tau)
