"""Put the results of a run into tables that other programs read, a part per group of inputs."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unmask.results import Attribution, Interactions
from unmask.run.folder import PLAN, RunFolder, plan_in
from unmask.run.plan import Plan, differences
from unmask.run.plan_file import told_differences
from unmask.run.plan_file import written as plan_text
from unmask.store import load
from unmask.store.explanations import Explanation, Shares, shares_written, write_explanations
from unmask.store.places import Place
from unmask.store.tables import ATTRIBUTIONS, TERMS, part, tidy


def tables_of(plan: Plan, folder: Path | Place) -> Place:
    """Where the tables of a run lie: in the store that the plan names, or in the run folder.

    Args:
        plan: what is to be done.
        folder: of the run, which may lie in a store itself.
    """
    place = Place.of(folder if plan.store is None else plan.store)
    # Whole, as other processes may work in other folders.
    return place if place.local is None else Place(str(place.local.resolve()))


def refuse_unwritable(plan: Plan) -> None:
    """Refuse a store that cannot be written, before a model is opened.

    Args:
        plan: that names it, or none.
    """
    if plan.store is not None:
        Place(plan.store).try_writing()


def claim_store(plan: Plan, *, but: Sequence[str] = ()) -> None:
    """Make a store that of a plan, or refuse it where it is another's.

    Args:
        plan: that names it, or none.
        but: keys that may have changed since.
    """
    if plan.store is None:
        return
    before = plan_in(Place(plan.store))
    if before is not None:
        changed = [key for key in differences(plan, before) if key not in (*but, "store")]
        if changed:
            raise ValueError(
                f"'{plan.store}' holds the tables of another plan: they differ in "
                f"{told_differences(before, plan, changed)}. Name another store in the plan, or "
                "empty this one."
            )
    (Place(plan.store) / PLAN).write_bytes(plan_text(plan).encode("utf-8"))


def write_part(
    tables: Place, run: RunFolder, numbers: Sequence[int], methods: Sequence[str]
) -> None:
    """Write the rows of a group of inputs. Terms of no effect are left out.

    Whatever stood there is replaced, so that a run that goes on ends as one that never stopped.

    Args:
        tables: where to.
        run: the folder that has the results.
        numbers: the inputs of the group, at least one.
        methods: of the plan.
    """
    with (
        part(tables, TERMS, numbers[0]).written() as terms,
        part(tables, ATTRIBUTIONS, numbers[0]).written() as shares,
        shares_written(shares) as add,
    ):
        write_explanations(_explanations(run, numbers, methods, add), terms)


def finish_tables(tables: Place, groups: Sequence[Sequence[int]]) -> None:
    """Remove parts of other groups, and the tables of earlier versions.

    Args:
        tables: where they lie.
        groups: the inputs of each part.
    """
    for table in (TERMS, ATTRIBUTIONS):
        tidy(tables, table, [group[0] for group in groups])


def describe_store(plan: Plan, file: Path) -> None:
    """Lay what is said of a run beside its tables, where these lie elsewhere: that it is finished.

    Args:
        plan: that names the store, or none.
        file: of the run folder.
    """
    if plan.store is not None:
        (Place(plan.store) / file.name).write_bytes(file.read_bytes())


def _explanations(
    run: RunFolder,
    numbers: Sequence[int],
    methods: Sequence[str],
    add: Callable[[Shares], None],
) -> Iterator[Explanation]:
    """The terms, one result after the other; attributions that lie between are added elsewhere."""
    for number in numbers:
        for method in methods:
            if not (run.entry(number).exists() and run.result(number, method).exists()):
                continue
            result = load(run.result(number, method))
            if isinstance(result, Interactions):
                yield Explanation(number, 0, method, result)  # a run explains one state of a model
            elif isinstance(result, Attribution):
                add(Shares(number, method, result))
