"""How much of a disk a run will take, before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass

_ROW, _VALUE = 13, 11
"""Bytes of a term and of an attribution's value in a table, whose effects hardly compress."""
_FILE = 4000
"""Bytes of a file beyond its rows: schema, statistics, names."""
_TERM_AT_A_STEP = 17
"""Bytes of a term in the record of a step: its place, its logic and its effect."""


@dataclass(frozen=True)
class Size:
    """What a run will take at most.

    Args:
        rows: of the table of terms.
        tables: bytes of the tables, which may lie in a store elsewhere.
        folders: bytes of what is kept of each input, or of each step, bit for bit.
    """

    rows: int
    tables: int
    folders: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.tables + self.folders


def size_of(
    players: Sequence[int],
    positions: int,
    *,
    interactions: int = 1,
    attributions: int = 0,
    others: int = 0,
    steps: int = 0,
    group: int = 8,
) -> Size:
    r"""What a run takes at most, where every input has a term of every coalition.

    $$
    \text{rows} = k \, s \sum_i 2^{n_i}
    $$

    with k methods that find terms and s steps of a training, 1 where there is none. The sparsest
    terms of a game are no more than its coalitions, and mostly fewer; effects that are zero are no
    rows. The bytes are those of random effects, which nothing compresses; names are taken to be
    short.

    Args:
        players: n of each input.
        positions: numbers in an input.
        interactions: methods that find terms, k.
        attributions: methods that give a value per player or position.
        others: methods whose results are a few numbers.
        steps: checkpoints of a training, s, whose terms alone are kept.
        group: inputs whose rows share a file.

    >>> size_of([10] * 1000, 30)
    Size(rows=1024000, tables=14312000, folders=49560000)
    """
    if (
        any(n < 0 for n in players)
        or min(positions, interactions, attributions, others, steps, group - 1) < 0
    ):
        raise ValueError(
            f"A run of {len(players)} inputs of {positions} numbers, with {interactions}, "
            f"{attributions} and {others} methods, {steps} steps and groups of {group} cannot be. "
            "Give numbers of at least 0, and groups of at least 1."
        )
    coalitions = sum(2**n for n in players)
    if steps:
        rows = coalitions * steps
        return Size(
            rows,
            _ROW * rows + _FILE * steps,
            _TERM_AT_A_STEP * rows + (_FILE + 40 * len(players)) * steps,
        )
    parts = -(-len(players) // group)
    values = len(players) * attributions * positions
    rows = coalitions * interactions
    # x, its baseline, who owns each position, and a picture; the table of v in double precision.
    entries = 8 * coalitions + len(players) * (20 * positions + _FILE)
    members = sum(2**n * (n + 9 + _ROW) for n in players)
    results = interactions * (members + len(players) * _FILE)
    results += 8 * values + len(players) * (attributions + others) * _FILE
    tables = _ROW * rows + _VALUE * values + 2 * _FILE * parts
    return Size(rows, tables, entries + results)
