"""Hypothesis strategies: games, masks, players, networks, tensors."""

import itertools

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn

from unmask import Game, Players

NAMES = tuple("abcdefghijklmnopqrst")


def tabled(table: Tensor) -> Game:
    """The game of a table in lattice order: bit i of the place says whether player i is there."""
    players = len(table).bit_length() - 1

    def value(masks: Tensor) -> Tensor:
        places = [sum(2**i for i, there in enumerate(mask) if there) for mask in masks.tolist()]
        return table[places]

    return Game(value, NAMES[:players], table.clone)


def numbers(bound: float = 8.0) -> st.SearchStrategy[float]:
    """Real numbers, small enough for sums of them to be compared; zeros and ties are common."""
    return st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 2.0]), st.floats(-bound, bound, width=32).map(float)
    )


def tensors(*shape: int, dtype: torch.dtype = torch.float64) -> st.SearchStrategy[Tensor]:
    """Tensors without NaN or infinity."""
    return arrays.arrays(np.float64, shape, elements=numbers()).map(
        lambda array: torch.tensor(array, dtype=dtype)
    )


@st.composite
def tables(draw: st.DrawFn, min_players: int = 1, max_players: int = 6) -> Tensor:
    """Any number for every coalition."""
    players = draw(st.integers(min_players, max_players))
    return draw(tensors(2**players))


def games(min_players: int = 1, max_players: int = 6) -> st.SearchStrategy[Game]:
    """Games of a table."""
    return tables(min_players, max_players).map(tabled)


@st.composite
def masks(draw: st.DrawFn, players: int, rows: int | None = None) -> Tensor:
    """Coalitions, at least one unless told how many."""
    rows = draw(st.integers(1, 8)) if rows is None else rows
    flat = draw(st.lists(st.booleans(), min_size=rows * players, max_size=rows * players))
    return torch.tensor(flat, dtype=torch.bool).view(rows, players)


@st.composite
def players(draw: st.DrawFn, max_players: int = 5) -> Players:
    """Players of an input of one to three axes; some positions may be hidden never."""
    count = draw(st.integers(1, max_players))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    size = int(np.prod(shape))
    count = min(count, size)
    rest = draw(st.lists(st.integers(-1, count - 1), min_size=size - count, max_size=size - count))
    owners = draw(st.permutations([*range(count), *rest]))
    return Players(torch.tensor(owners).view(shape), NAMES[:count])


@st.composite
def networks(draw: st.DrawFn, inputs: int = 4, classes: int = 3) -> nn.Sequential:
    """Small ReLU networks in float64, made from a seed; the global random state stays as it is."""
    seed = draw(st.integers(0, 2**16))
    width = draw(st.sampled_from([1, 5, 9]))
    return relu_network([inputs, width, classes], seed)


def relu_network(
    widths: list[int],
    seed: int,
    dtype: torch.dtype = torch.float64,
    kink: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear layers with a kink between, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), kink()]
    return nn.Sequential(*layers[:-1]).to(dtype).eval()
