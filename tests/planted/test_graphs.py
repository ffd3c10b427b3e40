import pytest
import torch

from unmask.planted import house_graph


def graph(**options):
    chosen = {"nodes": 30, "houses": 7, "attached": 3} | options
    nodes, houses = chosen.pop("nodes"), chosen.pop("houses")
    return house_graph(nodes, houses, torch.Generator().manual_seed(0), **chosen)


def test_every_edge_has_its_counterpart():
    edges = graph(extra=5).edges.T.tolist()
    assert sorted(edges) == sorted([target, source] for source, target in edges)
    assert all(source != target for source, target in edges)


def test_a_house_is_a_square_below_a_roof():
    made = graph()
    for house in range(7):
        inside = made.edges[:, made.motif == house] - (30 + 5 * house)
        pairs = {frozenset(pair) for pair in inside.T.tolist()}
        assert pairs == {
            frozenset(pair) for pair in ((0, 1), (1, 2), (2, 3), (3, 0), (4, 0), (4, 1))
        }
    assert made.labels[30:].tolist() == [1, 1, 2, 2, 3] * 7
    assert made.labels[:30].max() == 0


def test_houses_hang_by_one_edge_each():
    made = graph()
    source, target = made.edges[:, made.motif == -1]
    joints = (source >= 30) & (target < 30)
    assert sorted(source[joints].tolist()) == [30 + 5 * house for house in range(7)]


def test_the_grown_part_has_as_many_edges_as_said():
    made = graph(houses=0)
    assert made.edges.shape[1] == 2 * (3 + 26 * 3)
    assert made.edges.unique(dim=1).shape == made.edges.shape
    degrees = made.edges[0].bincount()
    assert degrees[4:].min() >= 3
    assert graph(houses=0, extra=4).edges.shape[1] <= made.edges.shape[1] + 8


def test_the_rich_get_richer():
    made = house_graph(400, 0, torch.Generator().manual_seed(1), attached=2)
    degrees = made.edges[0].bincount()
    assert degrees[:20].float().mean() > 3 * degrees[200:].float().mean()


def test_the_same_generator_makes_the_same_graph():
    with torch.random.fork_rng(devices=[]):
        one, other = graph(extra=5), graph(extra=5)
    assert torch.equal(one.edges, other.edges)
    different = house_graph(30, 7, torch.Generator().manual_seed(1), attached=3)
    assert not torch.equal(graph().edges, different.edges)


@pytest.mark.parametrize(
    "options", [{"attached": 0}, {"attached": 30}, {"houses": -1}, {"extra": -1}]
)
def test_what_cannot_grow_is_refused(options):
    with pytest.raises(ValueError, match=r"No graph grows.*Give more nodes"):
        graph(**options)
