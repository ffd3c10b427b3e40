"""What a page about a training tells, as data for its script."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.interactions import Snapshot
from unmask.interactions.terms.orders import mean_order, order_sums
from unmask.interactions.terms.stacked import stacked
from unmask.lattice import coalitions
from unmask.methods.dynamics import two_phase
from unmask.results import Interactions, Measurement
from unmask.run import Record
from unmask.run.training.losses import comparable

Json = dict[str, Any]
_GROUPS = 48
"""Samples that can be looked at one by one; a page of more would not be read."""
_NUMBERS = 200_000
"""Numbers of terms that a page holds: about a megabyte."""
_FEWEST = 6
_WIDTH = 1.96
"""Standard errors to either side of a 95 % interval."""


def told(record: Record) -> Json:
    """The story of a training.

    Args:
        record: with at least one step that was not skipped.
    """
    history = record.history()
    if not history:
        raise ValueError(
            f"The record in '{record.path}' holds no step that terms were found for, "
            f"{len(record.steps())} that were skipped. Look at why in its steps/*/snapshot.json."
        )
    found, unknown = _phases(history)
    kept = [record.kept(step) for step in record.steps()]
    return {
        "samples": len(record.about.titles),
        "score": record.about.score,
        "players": len(record.about.names[0]),
        "steps": [snapshot.step for snapshot in history],
        "skipped": [
            {"step": one.step, "reason": one.skipped} for one in kept if one.skipped is not None
        ],
        "remarks": {str(one.step): list(one.notes) for one in kept if one.notes},
        "phases": found,
        "unknown": unknown,
        "orders": _orders(history),
        "losses": _losses(history),
        "groups": _groups(record, history),
    }


def _phases(history: Sequence[Snapshot]) -> tuple[Json | None, str]:
    """What the detector says; or why it can say nothing."""
    try:
        found = two_phase(comparable(history), generator=torch.Generator().manual_seed(0))
    except ValueError as error:
        return None, str(error)
    return {
        "numbers": {name: _plain(value) for name, value in found.numbers.items()},
        "curves": {name: _rounded(curve) for name, curve in _told_curves(found).items()},
    }, ""


def _told_curves(found: Measurement) -> Mapping[str, Tensor]:
    return {name: found.curves[name] for name in ("fitted",) if name in found.curves}


def _orders(history: Sequence[Snapshot]) -> Json:
    """The profile of every step: shares of each order, positive and negative, and their errors.

    One step is unpacked at a time: all of them would be gigabytes.
    """
    told: dict[str, list[Any]] = {
        name: [] for name in ("share", "error", "positive", "negative", "scale")
    }
    centres = []
    for snapshot in history:
        up, down = order_sums(stacked(snapshot.terms))
        whole = (up - down).sum(-1, keepdim=True)
        shares = (up - down) / whole
        centres.append(mean_order(shares))
        told["share"].append(_rounded(_mean(shares)))
        told["error"].append(_rounded(_WIDTH * _error(shares)))
        told["positive"].append(_rounded(_mean(up / whole)))
        told["negative"].append(_rounded(_mean(down / whole)))
        told["scale"].append(_plain(float(whole.mean())))
    centre = torch.stack(centres, 1)  # inputs steps
    return told | {
        "centre": _rounded(_mean(centre)),
        "centre_error": _rounded(_WIDTH * _error(centre)),
    }


def _mean(rows: Float[Tensor, "inputs values"]) -> Float[Tensor, " values"]:
    return rows.nanmean(0)


def _error(rows: Float[Tensor, "inputs values"]) -> Float[Tensor, " values"]:
    """The standard error of the mean over samples; zero of a single one."""
    count = (~rows.isnan()).sum(0)
    square = (rows - rows.nanmean(0)).square().nansum(0) / (count - 1).clamp(min=1)
    return (square / count.clamp(min=1)).sqrt()


def _losses(history: Sequence[Snapshot]) -> Json | None:
    """Mean losses with their 95 % intervals; None where not all steps have them."""
    told: Json = {}
    for name in ("train_losses", "test_losses"):
        rows = [getattr(snapshot, name) for snapshot in history]
        if any(row is None or len(row) == 0 for row in rows):
            continue
        told[name.removesuffix("_losses")] = {
            "mean": [_plain(float(row.double().mean())) for row in rows],
            "error": [_plain(_WIDTH * float(_error(row.double()[:, None]))) for row in rows],
        }
    return told or None


def _groups(record: Record, history: Sequence[Snapshot]) -> list[Json]:
    """The strongest terms through training: of all samples, if they share players, and of each."""
    about = record.about
    several = len(about.titles) > 1 and len(set(about.names)) == 1
    few = min(len(about.titles), _GROUPS)
    count = max(_FEWEST, int(_NUMBERS / (len(history) * (few + several)) / 3))
    groups = []
    if several:
        strength = torch.stack([_shares(one.terms).abs().mean(0) for one in history])
        groups.append(_group("all samples", about.names[0], strength, count, signed=False))
    for row in range(few):
        through = _shares([snapshot.terms[row] for snapshot in history])
        groups.append(_group(about.titles[row], about.names[row], through, count, signed=True))
    return groups


def _shares(terms: Sequence[Interactions]) -> Float[Tensor, "rows places"]:
    """The effect of each possible term as a share of the strength of all of its row."""
    rows = stacked(terms).flatten(1)
    return rows / rows.abs().sum(-1, keepdim=True).clamp(min=1e-300)


def _group(
    title: str,
    names: tuple[str, ...],
    through: Float[Tensor, "steps terms"],
    count: int,
    *,
    signed: bool,
) -> Json:
    """Terms that between any two steps grew most, and those that shrank most."""
    strength = through.abs()
    grown = (strength - strength.cummin(0).values).amax(0)
    shrunk = (strength.cummax(0).values - strength).amax(0)
    if len(through) == 1:
        grown = shrunk = strength[0]
    half = min(-(-count // 2), len(grown))
    best = torch.cat([one.topk(half).indices for one in (grown, shrunk)]).unique()
    chosen = best[strength.amax(0)[best] > 0]
    lattice = through.shape[1] // 2
    members = coalitions(len(names))[chosen % lattice]
    return {
        "title": title,
        "names": list(names),
        "signed": signed,
        "terms": [
            [one.nonzero()[:, 0].tolist(), int(is_or)]
            for one, is_or in zip(members, (chosen >= lattice).tolist(), strict=True)
        ],
        "share": [(row * 10_000).round().long().tolist() for row in through[:, chosen]],
    }


def _rounded(values: Tensor) -> list[float | None]:
    return [_plain(value) for value in values.tolist()]


def _plain(value: float) -> float | None:
    """A number as JSON can hold it, in six digits."""
    return float(f"{value:.6g}") if value == value and abs(value) != float("inf") else None
