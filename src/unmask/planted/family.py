"""A family of networks of several kinds, each with an input whose Shapley values are known."""

from dataclasses import dataclass
from math import comb

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmask.lattice import coalitions
from unmask.planted.games import planted_terms
from unmask.planted.networks import and_or_network, linear_network, relu_network
from unmask.results import Interactions

_PLAYERS = 8
_UNUSED = 2


@dataclass(frozen=True)
class PlantedNetwork:
    """A network, an input, and what each of its numbers contributes.

    Args:
        kind: how the network was made.
        network: one number per input.
        x: one input.
        baseline: what stands where a number is hidden.
        shapley: the Shapley value of each number of x.
        unused: the numbers that nothing leads from; their Shapley values are 0.
    """

    kind: str
    network: nn.Module
    x: Float[Tensor, " players"]
    baseline: Float[Tensor, " players"]
    shapley: Float[Tensor, " players"]
    unused: Bool[Tensor, " players"]


def planted_networks(count: int, generator: torch.Generator) -> tuple[PlantedNetwork, ...]:
    r"""Networks of four kinds in turn, of eight inputs of which two do not matter, in float64.

    $$
    \text{linear: } \phi_i = w_i (x_i - b_i), \qquad
    \text{AND-OR: } \phi_i = \sum_{T \ni i} \frac{I_T}{|T|}, \qquad
    \text{majority: } \phi_i = \sum_{G \ni i} \frac{c_G}{|G|}
    $$

    A weighted sum; AND and OR terms on corners; a sum of majority votes of groups that overlap;
    and a random ReLU network of two hidden layers, whose Shapley values come from all 2^8 masks by
    their definition. Corners have numbers of their own, and baselines are not zero.

    >>> first, *others = planted_networks(4, torch.Generator().manual_seed(0))
    >>> [first.kind, *(one.kind for one in others)]
    ['linear', 'AND-OR', 'majority', 'ReLU']
    >>> with torch.no_grad():
    ...     change = first.network(first.x) - first.network(first.baseline)
    >>> bool(torch.isclose(change, first.shapley.sum()))
    True

    Args:
        count: how many.
        generator: source of randomness.
    """
    if count < 1:
        raise ValueError(f"{count} networks were asked for. Give at least 1.")
    kinds = (_linear, _and_or, _majority, _relu)
    return tuple(kinds[i % len(kinds)](generator) for i in range(count))


def _draw(generator: torch.Generator) -> Float[Tensor, " players"]:
    return torch.randn(_PLAYERS, generator=generator, dtype=torch.float64)


def _unused(generator: torch.Generator) -> Bool[Tensor, " players"]:
    chosen = torch.randperm(_PLAYERS, generator=generator)[:_UNUSED]
    return torch.zeros(_PLAYERS, dtype=torch.bool).index_fill_(0, chosen, True)


def _corner(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two numbers for each player that are not close to each other."""
    absent = 0.5 * _draw(generator)
    step = _draw(generator)
    return absent + step + torch.where(step < 0, -0.5, 0.5), absent


def _linear(generator: torch.Generator) -> PlantedNetwork:
    weights, unused = _draw(generator), _unused(generator)
    weights = torch.where(unused, 0, weights)
    x, baseline = _corner(generator)
    network = linear_network(weights, float(torch.randn((), generator=generator)))
    return PlantedNetwork("linear", network, x, baseline, weights * (x - baseline), unused)


def _and_or(generator: torch.Generator) -> PlantedNetwork:
    unused = _unused(generator)
    terms = planted_terms(_PLAYERS - _UNUSED, 4, 3, generator, largest=4)
    members = torch.zeros(len(terms.effects), _PLAYERS, dtype=torch.bool)
    members[:, ~unused] = terms.members
    names = tuple(f"player {i + 1}" for i in range(_PLAYERS))
    terms = Interactions(members, terms.is_or, terms.effects, terms.empty, names)
    x, baseline = _corner(generator)
    network = and_or_network(terms, present=x, absent=baseline)
    shapley = (terms.effects / terms.order) @ members.double()
    return PlantedNetwork("AND-OR", network, x, baseline, shapley, unused | ~members.any(0))


def _majority(generator: torch.Generator) -> PlantedNetwork:
    r"""$\sum_G c_G (\mathrm{relu}(s_G - m_G + 1) - \mathrm{relu}(s_G - m_G))$ on a corner."""
    unused = _unused(generator)
    used = (~unused).nonzero()[:, 0]
    groups = torch.zeros(3, _PLAYERS, dtype=torch.float64)
    for row in groups:
        row[used[torch.randperm(len(used), generator=generator)[:3]]] = 1
    worth = _draw(generator)[: len(groups)]
    x, baseline = _corner(generator)
    weight = (groups / (x - baseline)).repeat(2, 1)
    knots = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat_interleave(len(groups))
    layers = nn.Linear(_PLAYERS, 6, device="meta"), nn.Linear(6, 1, device="meta")
    layers[0].weight = nn.Parameter(weight)
    layers[0].bias = nn.Parameter(-knots - weight @ baseline)
    layers[1].weight = nn.Parameter(torch.cat([worth, -worth])[None])
    layers[1].bias = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    network = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    shapley = worth @ groups / 3
    return PlantedNetwork("majority", network, x, baseline, shapley, groups.sum(0) == 0)


def _relu(generator: torch.Generator) -> PlantedNetwork:
    unused = _unused(generator)
    network = relu_network(_PLAYERS, generator, unused=unused.nonzero()[:, 0].tolist())
    x, baseline = _corner(generator)
    masks = coalitions(_PLAYERS)
    with torch.no_grad():
        v = network(torch.where(masks, x, baseline))[:, 0]
    shapley = torch.zeros(_PLAYERS, dtype=torch.float64)
    for i in range(_PLAYERS):
        without = (~masks[:, i]).nonzero()[:, 0]
        share = [1 / (_PLAYERS * comb(_PLAYERS - 1, int(s))) for s in masks[without].sum(1)]
        shapley[i] = torch.tensor(share, dtype=v.dtype) @ (v[without + 2**i] - v[without])
    return PlantedNetwork("ReLU", network, x, baseline, shapley, unused)
