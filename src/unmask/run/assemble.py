"""Gather the results of a run in two tables that other programs read."""

from collections.abc import Sequence
from typing import Any

import torch

from unmask.results import Attribution, Interactions
from unmask.run.folder import ATTRIBUTIONS, TERMS, RunFolder
from unmask.store import load, written
from unmask.store.parquet import write_columns

TERM_COLUMNS = ("input", "step", "order", "members", "logic", "effect", "method")
ATTRIBUTION_COLUMNS = ("input", "method", "position", "name", "value")


def assemble(run: RunFolder, numbers: Sequence[int], methods: Sequence[str]) -> None:
    """Write interactions.parquet and attributions.parquet. Terms of no effect are left out.

    Args:
        run: the folder.
        numbers: the inputs that are in it.
        methods: of the plan.
    """
    terms: dict[str, list[Any]] = {name: [] for name in TERM_COLUMNS}
    shares: dict[str, list[Any]] = {name: [] for name in ATTRIBUTION_COLUMNS}
    for number in numbers:
        for method in methods:
            place = run.result(number, method)
            if not place.exists():
                continue
            result = load(place)
            if isinstance(result, Interactions):
                _add_terms(terms, number, method, result)
            elif isinstance(result, Attribution):
                _add_shares(shares, number, method, result)
    for columns, name in ((terms, TERMS), (shares, ATTRIBUTIONS)):
        with written(run.path / name) as draft:
            write_columns(columns, draft)


def _add_terms(
    columns: dict[str, list[Any]], number: int, method: str, result: Interactions
) -> None:
    kept = result.effects != 0
    members = result.members[kept]
    count = len(members)
    columns["input"] += [number] * count
    columns["step"] += [0] * count  # of training: a run explains one state of the model
    columns["order"] += members.sum(-1).tolist()
    columns["members"] += [
        [name for name, there in zip(result.names, row, strict=True) if there]
        for row in members.tolist()
    ]
    columns["logic"] += ["OR" if is_or else "AND" for is_or in result.is_or[kept].tolist()]
    columns["effect"] += result.effects[kept].double().tolist()
    columns["method"] += [method] * count


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
