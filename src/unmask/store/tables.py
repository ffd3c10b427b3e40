"""Where the tables of a run lie: folders of Parquet, a file per group of inputs or per step.

```
RUN/terms/part-00000016.parquet         a row per term: input, step, order, members, logic, effect,
                                        method
RUN/attributions/part-00000016.parquet  a row per value: input, method, position, name, value
RUN/ratings.parquet                     of a comparison: method, metric, criterion, input, value
```

A part bears the number of its first input, or that of its step. It is written as soon as these are
done, so that a run can be asked while it goes on, and no file is ever gathered from the others.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from unmask.store.places import Place

TERMS, ATTRIBUTIONS, RATINGS = "terms", "attributions", "ratings"
WHOLE = {
    TERMS: "interactions.parquet",
    ATTRIBUTIONS: "attributions.parquet",
    RATINGS: "ratings.parquet",
}
"""Tables in one file: those of runs of earlier versions, and that of a comparison."""
ALONE = "terms.parquet"
"""Beside a single result that `save` has written."""
_PART = re.compile(r"part-\d{8,}\.parquet")
_MARKS = ("run.json", "training.json")
"""What tells a run, also one that has no tables yet, or has them in a store elsewhere."""
_NOT_ASKED = ("inputs", "steps", "methods", TERMS, ATTRIBUTIONS)
"""Folders in a run whose terms stand in its tables too."""


@dataclass(frozen=True)
class Tables:
    """The files of tables that were found.

    Args:
        parts: of each table, those that lie in a folder of the run.
        whole: of each table, those that lie in the run itself.
        alone: the terms of single results.
    """

    parts: dict[str, list[Place]] = field(default_factory=lambda: {table: [] for table in WHOLE})
    whole: dict[str, list[Place]] = field(default_factory=lambda: {table: [] for table in WHOLE})
    alone: list[Place] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.alone or any(self.parts.values()) or any(self.whole.values()))


def part(run: Place, table: str, number: int) -> Place:
    """Where a part of a table is.

    Args:
        run: the folder.
        table: `TERMS` or `ATTRIBUTIONS`.
        number: of the first input, or of the step.
    """
    return run / table / f"part-{number:08d}.parquet"


def tidy(run: Place, table: str, numbers: Sequence[int]) -> None:
    """Remove what is no part of a table: of other groups, or of an earlier version.

    Args:
        run: the folder.
        table: `TERMS` or `ATTRIBUTIONS`.
        numbers: of the parts that belong to it.
    """
    wanted = {part(run, table, number).name for number in numbers}
    for name in (run / table).listed()[1]:
        if _PART.fullmatch(name) and name not in wanted:
            (run / table / name).remove()
    (run / WHOLE[table]).remove()


def tables(paths: Sequence[str | os.PathLike[str]]) -> Tables:
    """The tables of all runs, comparisons and single results at or below some paths.

    Args:
        paths: folders, or files of tables; paths or addresses that fsspec knows. What is named
            twice counts once.
    """
    found = Tables()
    for path in paths:
        place = Place.of(path)
        if place.local is not None:  # one spelling
            place = Place(str(place.local))
        if not (place.name.endswith(".parquet") and place.is_file()):
            _look(place, found)
        elif place.name == ALONE:
            found.alone.append(place)
        else:
            for table, name in WHOLE.items():
                if place.name == name:
                    found.whole[table].append(place)
    return Tables(
        {table: _once(files) for table, files in found.parts.items()},
        {table: _once(files) for table, files in found.whole.items()},
        _once(found.alone),
    )


def _once(files: Sequence[Place]) -> list[Place]:
    known = {file.url if file.local is None else str(file.local.resolve()): file for file in files}
    return [*known.values()]


def _look(folder: Place, found: Tables) -> None:
    """Add what is in a folder and below it; what is hidden is a draft or a leftover."""
    folders, files = folder.listed()
    run = any(mark in files for mark in _MARKS)
    for table, name in WHOLE.items():
        names = (folder / table).listed()[1] if table in folders else []
        parts = [folder / table / one for one in names if _PART.fullmatch(one)]
        if name in files:  # removed by the run that puts parts in its stead, once all are there
            found.whole[table].append(folder / name)
        else:
            found.parts[table] += parts
        run = run or bool(parts) or name in files
    if ALONE in files:
        found.alone.append(folder / ALONE)
    for name in folders:
        if not name.startswith(".") and not (run and name in _NOT_ASKED):
            _look(folder / name, found)
