"""The losses of a training, where they can be compared from step to step."""

from collections.abc import Sequence
from dataclasses import replace

from unmask.interactions import Snapshot


def comparable(history: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """The same history; without losses where they are not finite, or not as many, at some step.

    The phases are told by the terms alone, and must not be lost with a loss that overflowed.

    Args:
        history: of a training.
    """
    for name in ("train_losses", "test_losses"):
        rows = [getattr(snapshot, name) for snapshot in history]
        there = [row for row in rows if row is not None]
        same = len(there) == len(rows) and len({len(row) for row in there}) == 1
        if not (same and all(len(row) and row.isfinite().all() for row in there)):
            return tuple(replace(one, train_losses=None, test_losses=None) for one in history)
    return tuple(history)
