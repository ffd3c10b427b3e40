import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from graph_networks import Means, Sums, random_graph, seeded
from unmask.methods.saliency import gnn_explainer
from unmask.methods.saliency.removal.gnn_explainer import Prices
from unmask.planted import house_graph


def fitted(make, logits, labels, steps):
    """A network that has learned, and the share of its answers that is right."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=5e-4)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits(network), labels).backward()
        optimiser.step()
    network.zero_grad()
    with torch.no_grad():
        right = (logits(network).argmax(1) == labels).float().mean()
    return network.eval(), float(right)


def test_the_edges_of_planted_houses_are_found():
    graph = house_graph(300, 80, torch.Generator().manual_seed(0), extra=70)
    ones = torch.ones(graph.edges.shape[1])
    network, right = fitted(
        lambda: Means([1, 20, 20, 20, 4]),
        lambda network: network(graph.x, graph.edges, ones),
        graph.labels,
        1500,
    )
    assert right > 0.9
    nodes = torch.arange(300, 325)
    found = gnn_explainer(
        network, graph.x, edges=graph.edges, nodes=nodes, hops=4, prices=Prices(edge_size=0.05)
    )
    values = found.values[:, : graph.edges.shape[1]]
    inside = graph.motif == (nodes[:, None] - 300) // 5
    reached = values > 0
    assert roc_auc_score(inside[reached], values[reached]) >= 0.9


def near(points, neighbours):
    """From each point's nearest others to the point."""
    distance = torch.cdist(points, points)
    distance.fill_diagonal_(torch.inf)
    nearest = distance.topk(neighbours, largest=False).indices
    return torch.stack([nearest.flatten(), torch.arange(len(points)).repeat_interleave(neighbours)])


def test_clouds_of_points():
    """Trees and fences as graphs of neighbours, each named as a whole."""
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    with np.load(Path(os.environ["UNMASK_DATA"], "pointclouds/dales_objects.npz")) as file:
        wanted = np.isin(file["label"], (2, 4))
        clouds = torch.tensor(file["points"][wanted])[::5, ::32]
        labels = torch.tensor(file["label"][wanted] == 4).long()[::5]
    count, size = clouds.shape[:2]
    clouds = clouds / clouds.flatten(1).norm(dim=1)[:, None, None] * size**0.5
    edges = torch.cat([near(cloud, 4) + i * size for i, cloud in enumerate(clouds)], 1)
    ones = torch.ones(edges.shape[1])
    network, right = fitted(
        lambda: Sums([3, 16, 16, 2]),
        lambda network: network(clouds.flatten(0, 1), edges, ones).view(count, size, 2).mean(1),
        labels,
        150,
    )
    assert right > 0.9

    def of_cloud(x, edges, weights):
        return network(x, edges, weights).mean(0).expand(len(x), -1)

    generator = torch.Generator().manual_seed(0)
    for i in (21, 22, 0):
        links = near(clouds[i], 4)
        found = gnn_explainer(of_cloud, clouds[i], edges=links, nodes=[0], features=False)
        values = found.values[0]
        assert values.shape == (size * 4,)

        def chance(weights, i=i, links=links):
            with torch.no_grad():
                return float(of_cloud(clouds[i], links, weights)[0].softmax(0)[labels[i]])

        # What the mask keeps is enough, and worth more than as much of anything.
        assert values.mean() < 0.7
        assert chance(values) > 0.9
        for _ in range(20):
            mixed = values[torch.randperm(len(values), generator=generator)]
            assert chance(mixed) < chance(values)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["GCNConv", "GraphConv"])
def test_torch_geometric_agrees(kind):
    geometric = pytest.importorskip("torch_geometric")
    from torch_geometric.explain import Explainer, GNNExplainer
    from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            layer = getattr(geometric.nn, kind)
            self.first, self.second = layer(3, 8), layer(8, 4)

        def forward(self, x, edges, weights=None):
            return self.second(torch.tanh(self.first(x, edges, weights)), edges, weights)

    model = seeded(Network).float()
    x, edges = random_graph()
    x = x.float()

    def masked(x, edges, weights):
        set_masks(model, weights, edges, apply_sigmoid=False)
        try:
            return model(x, edges)
        finally:
            clear_masks(model)

    ours = gnn_explainer(masked, x, edges=edges, steps=50, rate=0.05).values
    if kind == "GraphConv":  # whose weights of edges do just what the masks do
        directly = gnn_explainer(model, x, edges=edges, steps=50, rate=0.05).values
        assert torch.allclose(ours, directly, atol=1e-5)
    for node in (0, 3, 8):
        theirs = Explainer(
            model,
            algorithm=GNNExplainer(epochs=50, lr=0.05),
            explanation_type="model",
            node_mask_type="common_attributes",
            edge_mask_type="object",
            model_config={
                "mode": "multiclass_classification",
                "task_level": "node",
                "return_type": "raw",
            },
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # both draw the same start
            found = theirs(x, edges, index=node)
        expected = torch.cat([found.edge_mask, found.node_mask[0]])
        assert torch.allclose(ours[node], expected, atol=1e-4)


@pytest.mark.oracle
def test_a_network_of_torch_geometric_that_takes_weights():
    geometric = pytest.importorskip("torch_geometric")
    model = seeded(lambda: geometric.nn.GCN(3, 8, 2, 4))
    x, edges = random_graph(nodes=30, edges=40)
    whole = gnn_explainer(model, x, edges=edges, steps=10).values
    assert whole.shape == (30, 43)
    part = gnn_explainer(model, x, edges=edges, steps=10, hops=3).values
    assert torch.allclose(whole, part, atol=1e-9)
