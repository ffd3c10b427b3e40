"""Gather the results of a run in two tables that other programs read."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from unmask.results import Attribution, Interactions
from unmask.run.folder import ATTRIBUTIONS, TERMS, RunFolder
from unmask.store import load, written
from unmask.store.explanations import Explanation, write_explanations
from unmask.store.parquet import write_columns

ATTRIBUTION_COLUMNS = ("input", "method", "position", "name", "value")


def assemble(run: RunFolder, numbers: Sequence[int], methods: Sequence[str]) -> None:
    """Write interactions.parquet and attributions.parquet. Terms of no effect are left out.

    Args:
        run: the folder.
        numbers: the inputs that are in it.
        methods: of the plan.
    """
    shares: dict[str, list[Any]] = {name: [] for name in ATTRIBUTION_COLUMNS}
    with written(run.path / TERMS) as draft:
        write_explanations(_explanations(run, numbers, methods, shares), draft)
    with written(run.path / ATTRIBUTIONS) as draft:
        write_columns(shares, draft)


def _explanations(
    run: RunFolder, numbers: Sequence[int], methods: Sequence[str], shares: dict[str, list[Any]]
) -> Iterator[Explanation]:
    """The terms, one result after the other; attributions that lie between go to the shares."""
    for number in numbers:
        for method in methods:
            place = run.result(number, method)
            if not place.exists():
                continue
            result = load(place)
            if isinstance(result, Interactions):
                yield Explanation(number, 0, method, result)  # a run explains one state of a model
            elif isinstance(result, Attribution):
                _add_shares(shares, number, method, result)


def _add_shares(
    columns: dict[str, list[Any]], number: int, method: str, result: Attribution
) -> None:
    values = result.values[0].detach().double().flatten()
    named = result.names is not None and len(result.names) == len(values)
    columns["input"] += [number] * len(values)
    columns["method"] += [method] * len(values)
    columns["position"] += torch.arange(len(values)).tolist()
    columns["name"] += list(result.names) if named and result.names else [""] * len(values)
    columns["value"] += values.tolist()
