"""The networks of the courses, and what makes clouds of points into courses."""

import pytest
import torch
from torch import nn

from unmask.players import features
from unmask.zoo.courses.clouds import far_apart, parts, unit
from unmask.zoo.courses.tables import joined
from unmask.zoo.dgcnn import DGCNN, EdgeConvolution, nearest
from unmask.zoo.resnet import MEAN
from unmask.zoo.training import fresh
from unmask.zoo.vgg import VGG11


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(model):
    """With normalisations that are not the identity."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1, 1, generator=draws(1))
            nn.init.normal_(layer.bias, generator=draws(2))
            nn.init.normal_(layer.running_mean, generator=draws(3))
            nn.init.uniform_(layer.running_var, 0.5, 2, generator=draws(4))
    return model.eval()


def test_vgg_has_the_layers_of_the_paper():
    network = VGG11()
    # Column A: weights of 3 x 3 convolutions, two numbers per channel of the normalisations (in
    # place of the paper's one bias), and one linear layer.
    pairs = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 3]
    count = sum(9 * a * b + 2 * b for a, b in pairs) + 512 * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == count
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in network.features) == 5
    narrow = VGG11(classes=4, width=0.25)
    assert narrow.features[0].out_channels == 16
    assert narrow.classifier.in_features == 128
    assert narrow(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_the_mean_colour_is_zero_to_vgg():
    network = VGG11(width=0.25).eval()
    grey = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    seen = []
    network.features[0].register_forward_hook(lambda layer, args, out: seen.append(args[0]))
    network(grey)
    assert seen[0].abs().max() == 0


def test_an_edge_convolution_is_the_maximum_over_the_neighbours():
    layer = moved(EdgeConvolution(3, 5)).double()
    x = torch.randn(2, 7, 3, generator=draws()).double()
    found = layer(x, 3)
    norm = layer.norm
    for cloud in range(2):
        for i in range(7):
            apart = [float((x[cloud, i] - x[cloud, j]).square().sum()) for j in range(7)]
            near = sorted(range(7), key=lambda j: apart[j])[:3]
            assert i in near
            told = []
            for j in near:
                h = layer.step.weight @ (x[cloud, j] - x[cloud, i])
                h = h + layer.place.weight @ x[cloud, i]
                h = (h - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
                h = h * norm.weight + norm.bias
                told.append(torch.where(h > 0, h, 0.2 * h))
            wanted = torch.stack(told).amax(0)
            assert torch.allclose(found[cloud, i], wanted, atol=1e-12)


def test_a_cloud_has_no_order():
    network = moved(fresh(lambda: DGCNN(4, neighbours=5), 0)).double()
    x = torch.randn(2, 20, 3, generator=draws()).double()
    shuffled = x[:, torch.randperm(20, generator=draws(5))]
    assert torch.allclose(network(x), network(shuffled), atol=1e-12)
    assert not torch.allclose(network(x), network(2 * x), atol=1e-3)
    assert network(x[:, :3]).shape == (2, 4)  # fewer points than neighbours


def test_points_in_one_place_do_no_harm():
    network = moved(fresh(lambda: DGCNN(4, neighbours=5), 0))
    x = torch.zeros(2, 20, 3)
    x[1, 10:] = torch.randn(10, 3, generator=draws())
    assert network(x).isfinite().all()
    assert torch.allclose(network(x)[0], network(torch.zeros(1, 8, 3))[0], atol=1e-5)
    assert nearest(x, 5).shape == (2, 20, 5)


def test_a_cloud_is_centred_and_scaled():
    clouds = 5 + 3 * torch.randn(4, 30, 3, generator=draws())
    found = unit(clouds)
    assert torch.allclose(found.mean(1), torch.zeros(4, 3), atol=1e-6)
    assert torch.allclose(found.norm(dim=-1).amax(1), torch.ones(4))
    assert torch.allclose(unit(7 * clouds - 2), found, atol=1e-5)


def test_points_are_taken_far_from_each_other():
    cloud = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.1, 0, 0], [10, 0, 0], [4, 0, 0]])
    chosen = far_apart(cloud[None], 4)[0, :, 0].tolist()
    assert chosen == [0, 10, 4, 1]
    assert far_apart(cloud[None, :2], 3)[0, :, 0].tolist() == [0, 1, 0]  # none is left


def test_parts_are_what_lies_together():
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    blobs = corners.repeat_interleave(6, 0) + 0.05 * torch.randn(48, 3, generator=draws())
    order = torch.randperm(48, generator=draws(1))
    found = parts(blobs[order], 8)
    assert len(found.unique()) == 8
    label = order // 6
    assert ((found[:, None] == found) == (label[:, None] == label)).all()
    assert parts(blobs[order], 8).equal(found)


def test_facts_that_say_the_same_are_one_player():
    names = ["age", "marital status", "capital gain", "relationship", "capital loss", "sex"]
    facts = {name: (i,) for i, name in enumerate(names[:-1])} | {"sex": (5, 6)}
    players = features([f"column {i}" for i in range(7)], facts)
    found = joined(players)
    assert found.names == ("age", "family", "capital", "sex")
    assert found.owner.tolist() == [0, 1, 2, 1, 2, 3, 3]


@pytest.mark.parametrize("make", [lambda: VGG11(width=0.25), lambda: DGCNN(5)])
def test_every_weight_learns(make):
    network = fresh(make, 0).train()
    shape = (3, 32, 32) if isinstance(network, VGG11) else (20, 3)
    x = torch.randn(4, *shape, generator=draws())
    network(x).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
