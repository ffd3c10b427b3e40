import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unmask import patches
from unmask.lattice import coalitions
from unmask.sharing.convolutions.convolution import convolved, windows
from unmask.sharing.layout import Layout, by_colour, by_place, coloured_players


@st.composite
def dependences(draw):
    """Which of up to 9 places depend on which of up to 5 players."""
    n, places = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    flat = draw(st.lists(st.booleans(), min_size=n * places, max_size=n * places))
    return torch.tensor(flat).view(n, places)


@given(dependences())
def test_players_of_one_colour_never_meet(depends):
    colours = coloured_players(depends)
    for p, q in itertools.combinations(range(len(depends)), 2):
        if colours[p] == colours[q]:
            assert not (depends[p] & depends[q]).any()
    assert set(colours) == set(range(max(colours) + 1))
    most = int(depends.sum(0).max())
    assert max(most, 1) <= max(colours) + 1


def test_a_grid_whose_places_see_their_neighbours_needs_four_colours():
    owner = patches((12, 16), (3, 4)).owner
    depends = torch.zeros(12, 12, 16, dtype=torch.bool)
    for row, column in itertools.product(range(12), range(16)):
        near = owner[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        depends[near.unique(), row, column] = True
    assert max(coloured_players(depends.flatten(1))) + 1 == 4


@given(dependences())
def test_every_line_is_of_one_place_and_what_it_can_tell(depends):
    """Lines agree exactly where the place is the same, and the players that it depends on."""
    n, places = depends.shape
    masks = coalitions(n)
    told = {}
    scattered = by_place(depends)
    for layout in (scattered, by_colour(depends, coloured_players(depends))):
        index = layout.index(masks)
        assert int(index.max()) < layout.lines
        assert torch.equal(layout.index(masks, torch.arange(places).flip(0)), index.flip(1))
        told.clear()
        for s, mask in enumerate(masks):
            for place in range(places):
                seen = (place, tuple((mask & depends[:, place]).tolist()))
                line = int(index[s, place])
                assert told.setdefault(seen, line) == line
        assert len(set(told.values())) == len(told)
    assert scattered.lines == int((2 ** depends.sum(0)).sum())  # none is spare
    assert sorted(told.values()) == sorted(set(told.values()))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "shape", [(3, 1, 1, 1), (3, 2, 1, 2), (2, 1, 0, 1), ((1, 3), (2, 1), (0, 1), 1)]
)
@pytest.mark.parametrize("at_once", [1, 100, 10**6])
def test_a_convolution_by_place_is_the_convolution(bias, shape, at_once):
    torch.manual_seed(0)
    kernel, stride, padding, dilation = shape
    layer = nn.Conv2d(3, 4, kernel, stride, padding, dilation, bias=bias).double()
    n, (height, width) = 4, (5, 6)
    before_depends = torch.rand(n, height * width) < 0.3
    # What a map holds at a place: a number for each coalition of the players it depends on.
    before = by_place(before_depends)
    table = torch.randn(before.lines, 3, dtype=torch.float64)
    masks = coalitions(n)
    maps = table[before.index(masks)].transpose(1, 2).unflatten(2, (height, width))
    with torch.no_grad():
        true = layer(maps)
        seen = windows(layer, height, width)
        assert len(seen) == true[0, 0].numel()
        depends = torch.stack(
            [before_depends[:, window[window >= 0]].any(1) for window in seen], dim=1
        )
        after = by_place(depends)
        made = convolved(table, before, after, layer, (height, width), at_once)
    found = made[after.index(masks)].transpose(1, 2)
    assert (found - true.flatten(2)).abs().max() <= 1e-12
    assert len(made) == after.lines


def test_windows_by_hand():
    layer = nn.Conv2d(1, 1, 2, stride=2, padding=1)
    assert windows(layer, 2, 2).tolist() == [
        [-1, -1, -1, 0], [-1, -1, 1, -1], [-1, 2, -1, -1], [3, -1, -1, -1]
    ]  # fmt: skip


def test_one_place_that_depends_on_nobody():
    layout = by_place(torch.zeros(3, 1, dtype=torch.bool))
    assert isinstance(layout, Layout)
    assert layout.lines == 1
    assert layout.index(coalitions(3)).unique().tolist() == [0]
