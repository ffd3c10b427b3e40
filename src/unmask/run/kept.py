"""Read back what a run kept, and refuse what belongs to something else."""

from collections.abc import Sequence
from functools import cache

from unmask import catalogue
from unmask.results import Interactions, Result
from unmask.run.entry import Entry, load_entry
from unmask.run.folder import Failure, RunFolder
from unmask.store import load


def kept_entry(run: RunFolder, number: int) -> Entry:
    """An input of a run.

    Args:
        run: the folder.
        number: of the input.
    """
    place = run.entry(number)
    entry = load_entry(place)
    if entry.number != number:
        raise ValueError(
            f"'{place}' holds input {entry.number}, not {number}: it is foreign. "
            "Delete this folder and repeat the run."
        )
    return entry


def kept_result(run: RunFolder, entry: Entry, method: str) -> Result:
    """What a method found of an input.

    Args:
        run: the folder.
        entry: the input.
        method: the name of the method.
    """
    place = run.result(entry.number, method)
    result = load(place)
    fault, wanted = "", _wanted(method)
    if isinstance(wanted, type) and not isinstance(result, wanted):
        fault = f"a result of the kind {type(result).__name__}, which {method} does not give"
    elif isinstance(result, Interactions) and result.names != entry.players.names:
        fault = "terms of other players than those of the input"
    if fault:
        raise ValueError(
            f"'{place}' holds {fault}: it is foreign. Delete this folder and repeat the run."
        )
    return result


def refuse_without_terms(number: int, failures: Sequence[Failure]) -> None:
    """Refuse to look at the terms of a large game that a method has sought in vain.

    Args:
        number: of the input.
        failures: so far.
    """
    for one in failures:
        if one.number == number and one.method and _wanted(one.method) is Interactions:
            raise ValueError(f"There are no terms, as {one.method} failed: {one.reason}")


@cache  # the catalogue describes all methods anew, which takes longer than to read a result
def _wanted(method: str) -> object:
    known = catalogue.methods().get(method)
    return None if known is None else known.result
