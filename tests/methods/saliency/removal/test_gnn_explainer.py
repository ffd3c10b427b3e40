import math

import pytest
import torch

from graph_networks import Means, Sums, random_graph, seeded, summed
from unmask.methods.saliency import gnn_explainer
from unmask.methods.saliency.removal.gnn_explainer import Prices

STAR = torch.tensor([[1, 2, 3], [0, 0, 0]])
X = torch.tensor([[0.0], [3.0], [0.0], [0.0]])
WRONG_EDGES = "row of sources|parameter 'edges'"  # the second where types are checked at run time


def total(x, edges, weights):
    sums = summed(x, edges, weights)
    return torch.cat([torch.zeros_like(sums), sums - 1], 1)


def slow_masks(model, x, edges, node, y, steps, rate, start, prices):
    """One node: the loss of the paper, edge by edge, and Adam as it is printed."""
    masks = [start[0].clone(), start[1].clone()]
    first = [torch.zeros_like(mask) for mask in masks]
    second = [torch.zeros_like(mask) for mask in masks]
    keep = None
    for t in range(1, steps + 1):
        masks = [mask.detach().requires_grad_() for mask in masks]
        logits = model(x * masks[1].sigmoid(), edges, masks[0].sigmoid())[node]
        cost = -logits.log_softmax(0)[y]
        if keep is not None:
            for mask, kept, size, doubt, mean in (
                (masks[0], keep[0], prices.edge_size, prices.edge_doubt, False),
                (masks[1], keep[1], prices.feature_size, prices.feature_doubt, True),
            ):
                count = int(kept.sum())
                for i in range(len(mask)):
                    if kept[i]:
                        p = 1 / (1 + (-mask[i]).exp())
                        cost = cost + size * p / (count if mean else 1)
                        cost = cost - doubt * (p * p.log() + (1 - p) * (1 - p).log()) / count
        cost.backward()
        if keep is None:
            keep = [mask.grad != 0 for mask in masks]
        for i, mask in enumerate(masks):
            slope = mask.grad * keep[i]
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            step = first[i] / (1 - 0.9**t) / ((second[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            masks[i] = mask.detach() - rate * step
    return torch.cat([mask.sigmoid() * kept for mask, kept in zip(masks, keep, strict=True)])


def test_the_one_neighbour_that_decides():
    found = gnn_explainer(total, X, edges=STAR, nodes=[0], rate=0.05, steps=200)
    assert found.names == ("1 -> 0", "2 -> 0", "3 -> 0", "feature 1")
    assert found.values[0, 0] > 0.95
    assert found.values[0, 1:3].tolist() == [0, 0]
    assert 0.5 < found.values[0, 3] < 1  # three times its feature is more than is needed
    without = gnn_explainer(
        total, X, edges=STAR, nodes=[0], rate=0.05, steps=200, features=False,
    )  # fmt: skip
    assert without.values[0].tolist() == [pytest.approx(0.9968, abs=2e-3), 0, 0]


def test_values_follow_the_definition():
    x, edges = random_graph()
    model, prices = seeded(lambda: Sums([3, 5, 4])), Prices(0.1, 0.7, 0.9, 0.2)
    target = torch.tensor([2, 0, 3])
    found = gnn_explainer(
        model, x, edges=edges, nodes=[4, 7, 0], target=target, steps=12, prices=prices,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    of_features = 0.1 * torch.randn(3, generator=generator).double()
    of_edges = math.sqrt(2 / 12) * torch.randn(30, generator=generator).double()
    for row, (node, y) in enumerate(zip((4, 7, 0), target.tolist(), strict=True)):
        expected = slow_masks(model, x, edges, node, y, 12, 0.1, (of_edges, of_features), prices)
        assert torch.allclose(found.values[row], expected, atol=1e-9)


def test_what_is_left_out_is_what_the_model_predicts():
    x, edges = random_graph()
    model = seeded(lambda: Sums([3, 5, 4]))
    classes = model(x, edges, torch.ones(30).double()).argmax(1)
    left_out, given = (
        gnn_explainer(model, x, edges=edges, target=target, steps=5) for target in (None, classes)
    )
    assert left_out.values.shape == (12, 30 + 3)
    assert torch.equal(left_out.values, given.values)
    assert left_out.evaluations == 1 + 12 * 5


def test_one_output_stands_for_two_classes():
    x, edges = random_graph()
    model = seeded(lambda: Sums([3, 5, 1]))

    def two(x, edges, weights):
        z = model(x, edges, weights)
        return torch.cat([torch.zeros_like(z), z], 1)

    one, other = (gnn_explainer(m, x, edges=edges, steps=5).values for m in (model, two))
    assert torch.allclose(one, other, atol=1e-12)


def test_a_part_of_the_graph_is_enough():
    x, edges = random_graph(nodes=30, edges=40)
    model = seeded(lambda: Sums([3, 5, 4]))
    whole = gnn_explainer(model, x, edges=edges, steps=20)
    part = gnn_explainer(model, x, edges=edges, steps=20, hops=2)
    assert torch.allclose(whole.values, part.values, atol=1e-10)
    assert part.evaluations == 1 + 30 * 21
    with pytest.raises(ValueError, match=r"within these hops.*Give more hops"):
        gnn_explainer(model, x, edges=edges, steps=20, hops=1)


def test_normalised_layers_need_one_hop_more():
    x, edges = random_graph(nodes=30, edges=40)
    model = seeded(lambda: Means([3, 5, 5, 4]))
    whole = gnn_explainer(model, x, edges=edges, steps=10).values
    assert torch.allclose(
        whole, gnn_explainer(model, x, edges=edges, steps=10, hops=3).values, atol=1e-9
    )
    with pytest.raises(ValueError, match="within these hops"):
        gnn_explainer(model, x, edges=edges, steps=10, hops=2)


def test_edges_beyond_the_layers_have_no_value():
    path = torch.tensor([[3, 2, 1, 0, 4], [2, 1, 0, 1, 4]])
    model = seeded(lambda: Sums([1, 5, 2]))
    x = torch.tensor([[1.0], [2.0], [-1.0], [0.5], [1.0]]).double()
    values = gnn_explainer(model, x, edges=path, nodes=[0]).values[0]
    # Two layers: 2 -> 1 -> 0 and 0 -> 1 -> 0 reach node 0; the first edge is too far, the last
    # is elsewhere.
    assert (values[[1, 2, 3]] > 0).all()
    assert values[[0, 4]].tolist() == [0, 0]


def test_a_node_without_neighbours_has_only_its_features():
    x, edges = random_graph(nodes=5, edges=6)
    x = torch.cat([x, x[:1]])
    found = gnn_explainer(seeded(lambda: Sums([3, 5, 4])), x, edges=edges, nodes=[5]).values[0]
    assert found[:6].abs().max() == 0
    assert (found[6:] > 0).all()


def test_a_graph_without_edges():
    x, _ = random_graph()
    none = torch.zeros(2, 0, dtype=torch.long)
    found = gnn_explainer(seeded(lambda: Sums([3, 5, 4])), x, edges=none)
    assert found.values.shape == (12, 3)
    assert found.names == ("feature 1", "feature 2", "feature 3")


def test_a_feature_that_the_network_ignores_has_no_value():
    x, edges = random_graph()
    model = seeded(lambda: Sums([3, 5, 4]))
    with torch.no_grad():
        model.own[0].weight[:, 1] = 0
        model.other[0].weight[:, 1] = 0
    values = gnn_explainer(model, x, edges=edges).values
    assert values[:, 31].abs().max() == 0
    assert (values[:, [30, 32]] > 0).all()


@pytest.mark.parametrize("hops", [None, 2])
def test_nodes_do_not_meet(hops):
    x, edges = random_graph(nodes=20, edges=30)
    model = seeded(lambda: Sums([3, 5, 4]))
    options = {"edges": edges, "hops": hops, "steps": 20}
    whole = gnn_explainer(model, x, **options).values
    for size in (1, 3, 100):
        some = gnn_explainer(model, x, batch_size=size, **options).values
        assert torch.allclose(whole, some, atol=1e-10)
    alone = gnn_explainer(model, x, nodes=torch.tensor([7]), **options).values
    assert torch.allclose(whole[7], alone[0], atol=1e-10)


def test_no_more_graphs_at_a_time_than_the_batch():
    x, edges = random_graph()
    model, sizes = seeded(lambda: Sums([3, 5, 4])), []

    def counted(x, edges, weights):
        sizes.append(len(x))
        return model(x, edges, weights)

    found = gnn_explainer(counted, x, edges=edges, batch_size=5, steps=4)
    assert max(sizes) == 5 * 12
    assert sum(sizes) == 12 * found.evaluations


def test_chance_comes_from_the_generator():
    x, edges = random_graph()
    model = seeded(lambda: Sums([3, 5, 4]))
    default, same, other = (
        gnn_explainer(model, x, edges=edges, generator=generator).values
        for generator in (
            None,
            torch.Generator().manual_seed(0),
            torch.Generator().manual_seed(1),
        )
    )
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_have_the_type_of_the_features(dtype):
    found = gnn_explainer(total, X.to(dtype), edges=STAR, nodes=[0])
    assert found.values.dtype == dtype
    expected = gnn_explainer(total, X, edges=STAR, nodes=[0]).values
    assert torch.allclose(found.values.float(), expected, atol=0.02)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"edges": STAR.float()}, (ValueError, TypeError), WRONG_EDGES),
        ({"edges": STAR.T}, (ValueError, TypeError), WRONG_EDGES),
        ({"edges": STAR + 2}, ValueError, "from 2 to 5.*4 nodes"),
        ({"edges": STAR - 1}, ValueError, "from -1 to 2"),
        ({"nodes": [4]}, ValueError, "Nodes 4 to 4"),
        ({"nodes": [-1]}, ValueError, "Nodes -1 to -1"),
        ({"nodes": []}, ValueError, "at least one node"),
        ({"target": 2}, ValueError, "Class 2 is out of range"),
        ({"target": torch.tensor([0, 1])}, ValueError, "2 classes for 4 explained"),
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"hops": 0}, ValueError, "hops is 0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"rate": 0.0}, ValueError, "rate of 0.0"),
        ({"x": X * torch.nan}, ValueError, "finite"),
        ({"x": X[:0]}, ValueError, "empty"),
        ({"x": X.long()}, TypeError, "embeddings|parameter 'x'"),
        ({"model": lambda x, e, w: x.sum(1)}, ValueError, r"\(4,\) for 4 nodes"),
        ({"model": lambda x, e, w: [x]}, ValueError, "list for 4 nodes"),
        ({"model": lambda x, e, w: x * (1 / w.sum() - 1 / 3).sqrt()}, ValueError, "not finite"),
    ],
)
def test_what_cannot_be_explained_is_refused(options, error, words):
    given = {"model": total, "x": X, "edges": STAR} | options
    with pytest.raises(error, match=words):
        gnn_explainer(given.pop("model"), given.pop("x"), **given)


def test_a_model_that_ignores_the_weights_is_refused():
    def deaf(x, edges, weights):
        return total(x, edges, torch.ones_like(weights))

    with pytest.raises(ValueError, match=r"does not depend on the weights.*third argument"):
        gnn_explainer(deaf, X, edges=STAR)


def test_nothing_is_left_behind_by_a_model_that_fails_half_way():
    x, edges = random_graph()
    model, calls = seeded(lambda: Sums([3, 5, 4])), []
    hook = model.register_forward_hook(lambda *_: calls.append(1) or _raise(len(calls) == 3))
    with pytest.raises(RuntimeError, match="out of paper"):
        gnn_explainer(model, x, edges=edges)
    hook.remove()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def _raise(now):
    if now:
        raise RuntimeError("out of paper")
