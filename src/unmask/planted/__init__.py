"""Games and networks whose truth is known by construction, to judge methods by.

Nothing here is computed by the methods that it judges. A truth is written down as it was planted,
or follows from a formula that stands in the docstring.
"""

from unmask.planted.concepts import PlantedConcepts, one_of_each, planted_concepts
from unmask.planted.family import PlantedNetwork, planted_networks
from unmask.planted.games import majority_terms, parity_terms, planted_game, planted_terms, terms_of
from unmask.planted.graphs import PlantedGraph, house_graph
from unmask.planted.networks import (
    and_or_network,
    linear_network,
    majority_network,
    parity_network,
    relu_network,
)
from unmask.planted.polynomials import Polynomial, polynomial_terms, recentred, taylor_terms
from unmask.planted.shortcuts import PlantedShortcut, planted_shortcut

__all__ = [
    "PlantedConcepts",
    "PlantedGraph",
    "PlantedNetwork",
    "PlantedShortcut",
    "Polynomial",
    "and_or_network",
    "house_graph",
    "linear_network",
    "majority_network",
    "majority_terms",
    "one_of_each",
    "parity_network",
    "parity_terms",
    "planted_concepts",
    "planted_game",
    "planted_networks",
    "planted_shortcut",
    "planted_terms",
    "polynomial_terms",
    "recentred",
    "relu_network",
    "taylor_terms",
    "terms_of",
]
