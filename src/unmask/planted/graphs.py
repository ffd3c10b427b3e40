"""Graphs in which the edges that decide are known."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_HOUSE = torch.tensor([[0, 1, 2, 3, 4, 4], [1, 2, 3, 0, 0, 1]])
"""Walls and floors of nodes 0 to 3, the first two below the roof, which is node 4."""
_ROLES = torch.tensor([1, 1, 2, 2, 3])


@dataclass(frozen=True)
class PlantedGraph:
    """A graph whose nodes have labels, and the edges that these rest on.

    Args:
        x: features of the nodes.
        edges: sources and targets; every edge is there in both directions.
        labels: of the nodes.
        motif: the motif that each edge belongs to, or -1.
    """

    x: Float[Tensor, "nodes width"]
    edges: Int[Tensor, "2 edges"]
    labels: Int[Tensor, " nodes"]
    motif: Int[Tensor, " edges"]


def house_graph(
    nodes: int,
    houses: int,
    generator: torch.Generator,
    *,
    attached: int = 5,
    extra: int = 0,
) -> PlantedGraph:
    """Houses of five nodes hung onto a graph that grew by preferential attachment.

    A node of a house is below the roof (1), on the ground (2) or the roof itself (3), all others
    are 0, and all nodes have the same feature, a 1. So a label can be read off nothing but the
    edges, and within a house off the six edges of the house. The grown part begins as a star; each
    further node is joined to some of those before, with chances as their numbers of neighbours.

    Args:
        nodes: of the grown part.
        houses: each is joined to the grown part by one edge.
        generator: source of randomness.
        attached: edges of each node at its birth.
        extra: edges between any two nodes, drawn at random at the end; some may be there already.

    >>> graph = house_graph(20, 3, torch.Generator().manual_seed(0), attached=2)
    >>> graph.labels.bincount().tolist(), int((graph.motif == 2).sum())
    ([20, 6, 6, 3], 12)
    """
    if not 1 <= attached < nodes or houses < 0 or extra < 0:
        raise ValueError(
            f"No graph grows to {nodes} nodes by {attached} edges a node, with {houses} houses and "
            f"{extra} further edges. Give more nodes than edges a node, and numbers of at least 0."
        )
    neighbours = torch.zeros(nodes)
    pairs = [torch.stack([torch.zeros(attached).long(), torch.arange(1, attached + 1)])]
    neighbours[0], neighbours[1 : attached + 1] = attached, 1
    for node in range(attached + 1, nodes):
        chosen = torch.multinomial(neighbours[:node], attached, generator=generator)
        pairs.append(torch.stack([torch.full_like(chosen, node), chosen]))
        neighbours[chosen] += 1
        neighbours[node] = attached
    grown = torch.cat(pairs, 1)

    first = nodes + 5 * torch.arange(houses)
    walls = (first[:, None, None] + _HOUSE).permute(1, 0, 2).flatten(1)
    joints = torch.stack([first, torch.randint(nodes, (houses,), generator=generator)])
    total = nodes + 5 * houses
    further = torch.randint(total, (2, extra), generator=generator)
    further = further[:, further[0] != further[1]]
    single = torch.cat([grown, walls, joints, further], 1)
    motif = torch.full((single.shape[1],), -1)
    motif[grown.shape[1] : grown.shape[1] + walls.shape[1]] = torch.arange(
        houses
    ).repeat_interleave(_HOUSE.shape[1])
    labels = torch.cat([torch.zeros(nodes).long(), _ROLES.repeat(houses)])
    return PlantedGraph(
        torch.ones(total, 1), torch.cat([single, single.flip(0)], 1), labels, motif.repeat(2)
    )
