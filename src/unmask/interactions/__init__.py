"""Interactions: the exact logic of a prediction, and what follows from it.

A game is written as AND and OR terms that reproduce it on every coalition. `and_or` finds the
fewest; `universal_matching` says how well they match, `sparsity` how few matter, and
`interaction_indices` shares them out to smaller sets and to single players.
"""

from unmask.interactions.and_interaction import and_interaction
from unmask.interactions.and_or import and_or, and_or_tables
from unmask.interactions.interaction_indices import interaction_indices
from unmask.interactions.many_games import and_or_games
from unmask.interactions.or_interaction import or_interaction
from unmask.interactions.snapshot import Snapshot
from unmask.interactions.sparsity import sparsity, strengths
from unmask.interactions.universal_matching import universal_matching

__all__ = [
    "Snapshot",
    "and_interaction",
    "and_or",
    "and_or_games",
    "and_or_tables",
    "interaction_indices",
    "or_interaction",
    "sparsity",
    "strengths",
    "universal_matching",
]
