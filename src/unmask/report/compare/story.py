"""What a page about a comparison tells, as data for its script."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unmask import catalogue
from unmask.evaluation.association import spearman
from unmask.report.compare.seen import maps, of_players
from unmask.results import Rating
from unmask.run.compare.comparison import Against, Comparison
from unmask.run.compare.verdict import RULES

Json = dict[str, Any]
_DOTS = 200
"""Inputs that are shown one by one behind a number."""
_POINTS = 60
"""Points of a curve that an eye can tell apart in a small drawing."""
_MOODS = {True: "good", False: "bad", None: "open"}
_TITLES = {
    "all": "All",
    "exactness": "Exactness",
    "consistency": "Consistency",
    "completeness": "Completeness",
    "sanity": "Sanity",
    "complexity": "Complexity",
    "cost": "Cost",
}


def told(comparison: Comparison) -> Json:
    """The story of a comparison.

    Args:
        comparison: with methods that are rated.
    """
    ids = [*comparison.order, *comparison.references]
    return {
        "score": comparison.subject.score,
        "inputs": len(comparison.subject.x),
        "players": len(comparison.subject.names),
        "cost": _plain(comparison.cost.total),
        "recommended": list(comparison.recommended),
        "fillings": _fillings(comparison),
        "chance": comparison.references[0] if comparison.references else None,
        "criteria": [
            {
                "title": _TITLES.get(criterion, criterion.capitalize()),
                "metrics": [
                    name
                    for name, metric in comparison.metrics.items()
                    if metric.criterion == criterion
                ],
            }
            for criterion in comparison.criteria
        ],
        "metrics": {
            name: {
                "title": _words(name),
                "says": metric.words,
                "better": "higher" if metric.higher_is_better else "lower",
            }
            for name, metric in comparison.metrics.items()
        },
        "methods": [_method(comparison, name) for name in ids],
        "left_out": [
            {"id": name, "reason": reason} for name, reason in comparison.left_out.items()
        ],
        "maps": maps(comparison, ids),
        "agreement": _agreement(comparison, ids),
        "notes": list(comparison.notes),
    }


def _method(comparison: Comparison, name: str) -> Json:
    place = comparison.places.get(name, {}).get("all")
    ratings = comparison.ratings.get(name, {})
    why = {  # a metric that failed as a whole, which is no failure on an input
        failure.title: failure.reason
        for failure in comparison.failures
        if failure.method == name and failure.number < 0
    }
    return {
        "id": name,
        "reference": name in comparison.references,
        "family": _family(name),
        "rank": None
        if place is None
        else [_plain(one) for one in (place.rank, place.low, place.high)],
        "verdicts": [
            [_MOODS[remark.good], remark.text] for remark in comparison.verdicts.get(name, ())
        ],
        "failed": Counter(
            failure.reason
            for failure in comparison.failures
            if failure.method == name and failure.number >= 0
        ).most_common(),
        "cells": {
            metric: _cell(rating, comparison.against.get(name, {}).get(metric))
            | {"why": why.get(metric)}
            for metric, rating in ratings.items()
        },
    }


def _family(name: str) -> str:
    known = catalogue.methods()
    return known[name].section or known[name].family if name in known else "given"


def _cell(rating: Rating, against: Against | None) -> Json:
    """A number of the matrix and what lies behind it."""
    low, high = rating.interval()
    cell: Json = {
        "mean": _plain(rating.mean),
        "low": _plain(low),
        "high": _plain(high),
        "undefined": rating.undefined,
        "values": _rounded(rating.values[:_DOTS]),
        "curve": None,
        "against": None,
    }
    if rating.curve is not None:
        mean = rating.curve.double().nanmean(0)
        at = rating.at if rating.at is not None else torch.arange(len(mean))
        some = torch.linspace(0, len(mean) - 1, min(len(mean), _POINTS)).round().long()
        cell["curve"] = {"at": _rounded(at[some]), "mean": _rounded(mean[some])}
    if against is not None:
        numbers = (against.difference, against.low, against.high, against.p)
        cell["against"] = [_plain(one) for one in numbers]
    return cell


def _fillings(comparison: Comparison) -> str:
    """Whether the verdict hangs on what stands where parts are removed, in a sentence."""
    found = comparison.fillings
    if found is None:
        return ""
    one, other = found.names
    if math.isnan(found.correlation):
        return (
            f"Only one of {one} and {other}, in place of what is removed, tells the methods apart: "
            "what is recommended hangs on that choice."
        )
    known = "" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    said = (
        f"The order of the methods with {one} and with {other} in place of what is removed has a "
        f"rank correlation of {found.correlation:.2f}{known}"
    )
    if found.correlation >= RULES.agree:
        return f"{said}: it does not hang on that choice."
    return f"{said}: what is recommended hangs on that choice."


def _agreement(comparison: Comparison, ids: Sequence[str]) -> Json | None:
    """The mean rank correlation of each two methods over the inputs, player by player."""
    rows = {
        name: of_players(comparison, comparison.attributions[name])
        for name in ids
        if name in comparison.attributions
    }
    if len(rows) < 2:
        return None
    stack = torch.stack(list(rows.values()))
    unknown = stack.isnan().any(-1)
    stack = stack.nan_to_num()
    table = []
    for one, broken in zip(stack, unknown, strict=True):
        alike = spearman(one.expand_as(stack), stack)
        table.append(_rounded(torch.where(unknown | broken, torch.nan, alike).nanmean(1)))
    return {"ids": list(rows), "rows": table}


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _rounded(values: Tensor) -> list[float | None]:
    return [_plain(value) for value in values.double().tolist()]


def _plain(value: float) -> float | None:
    """A number as JSON has it, in five digits."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
