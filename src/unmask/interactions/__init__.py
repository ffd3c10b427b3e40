"""Interactions: the exact logic of a prediction, and what follows from it.

A game is written as AND and OR terms that reproduce it on every coalition. `and_or` finds the
fewest; `universal_matching` says how well they match, `sparsity` how few matter, and
`interaction_indices` shares them out to smaller sets and to single players. `generalizable` finds
the terms that several networks have in common, `transferability_samples` and
`transferability_models` ask whether inputs and networks share them unasked. `large_n` finds the
strong terms where there are too many players for any of this.
"""

from unmask.interactions.and_interaction import and_interaction
from unmask.interactions.and_or import and_or, and_or_tables
from unmask.interactions.and_or_graph import and_or_graph, and_or_graph_complexity
from unmask.interactions.contexts.order_loss import (
    encourage_orders,
    nested_masks,
    order_window,
    penalise_orders,
)
from unmask.interactions.contexts.order_table import OrderTable, near_pairs, order_table
from unmask.interactions.generalizable import generalizable, generalizable_tables
from unmask.interactions.interaction_indices import interaction_indices
from unmask.interactions.interaction_tree import interaction_tree, interaction_tree_nodes
from unmask.interactions.language.content_words import content_words, speaks
from unmask.interactions.language.learned_token_embedding import (
    learned_token_embedding,
    second_order_effects,
)
from unmask.interactions.large_n import large_n
from unmask.interactions.learned_baseline import learned_baseline
from unmask.interactions.llm_interactions import llm_interactions, next_word_game
from unmask.interactions.multi_order import bottleneck, expected_spectrum, multi_order
from unmask.interactions.multivariate_shapley import best_partition, multivariate_shapley
from unmask.interactions.or_interaction import or_interaction
from unmask.interactions.sparsity import sparsity, strengths
from unmask.interactions.taylor.allocation import allocation, allocation_of_values, handed
from unmask.interactions.taylor.taylor_effects import TaylorEffects, by_support, taylor_effects
from unmask.interactions.taylor.taylor_shares import ALLOCATIONS, principles, shared_out
from unmask.interactions.taylor_attributions import taylor_attributions
from unmask.interactions.terms.many_games import and_or_games
from unmask.interactions.terms.snapshot import Snapshot
from unmask.interactions.transferability_models import transferability_models
from unmask.interactions.transferability_samples import transferability_samples
from unmask.interactions.universal_matching import universal_matching
from unmask.interactions.word_reliability import word_reliability

__all__ = [
    "ALLOCATIONS",
    "OrderTable",
    "Snapshot",
    "TaylorEffects",
    "allocation",
    "allocation_of_values",
    "and_interaction",
    "and_or",
    "and_or_games",
    "and_or_graph",
    "and_or_graph_complexity",
    "and_or_tables",
    "best_partition",
    "bottleneck",
    "by_support",
    "content_words",
    "encourage_orders",
    "expected_spectrum",
    "generalizable",
    "generalizable_tables",
    "handed",
    "interaction_indices",
    "interaction_tree",
    "interaction_tree_nodes",
    "large_n",
    "learned_baseline",
    "learned_token_embedding",
    "llm_interactions",
    "multi_order",
    "multivariate_shapley",
    "near_pairs",
    "nested_masks",
    "next_word_game",
    "or_interaction",
    "order_table",
    "order_window",
    "penalise_orders",
    "principles",
    "second_order_effects",
    "shared_out",
    "sparsity",
    "speaks",
    "strengths",
    "taylor_attributions",
    "taylor_effects",
    "transferability_models",
    "transferability_samples",
    "universal_matching",
    "word_reliability",
]
