import pytest
import torch
from torch import nn

from unmask import log_odds, logit, margin, predicted
from unmask.methods.saliency import cam, cam_box, hires_cam


def test_the_network_that_is_done_by_hand(camnet, image):
    for target, expected in ((0, [[1, 2], [-0.5, -1.5]]), (1, [[-1, -2], [2, 6]])):
        found = cam(logit(camnet, target), image, layer="1")
        assert found.values[0, 0].tolist() == expected
        assert found.values.mean() == camnet(image)[0, target].detach()
        assert found.evaluations == 1
        assert found.gap is None


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_and_its_mean(convnet, images, seed):
    network = convnet(seed)
    targets = torch.tensor([2, 0, 1])
    found = cam(logit(network, targets), images, layer="4", upsample=False).values
    a, w = network[:5](images).detach(), network[-1].weight.detach()
    for i in range(3):
        for row in range(6):
            for column in range(5):
                expected = sum(
                    float(w[targets[i], k]) * float(a[i, k, row, column]) for k in range(5)
                )
                assert float(found[i, 0, row, column]) == pytest.approx(expected, abs=1e-12)
    logits = network(images)[range(3), targets] - network[-1].bias[targets]
    assert torch.allclose(found.mean((1, 2, 3)), logits.detach(), atol=1e-12)
    assert cam(logit(network, 0), images, layer="4").values.shape == (3, 1, 12, 10)


def test_other_scores_weigh_the_maps_of_the_classes(convnet, images):
    network = convnet(0)
    maps = [cam(logit(network, c), images, layer="4").values for c in range(3)]
    found = cam(margin(network, 2, 0), images, layer="4").values
    assert torch.allclose(found, maps[2] - maps[0], atol=1e-12)
    others = network(images)[:, :2].softmax(1).detach()
    rivals = others[:, 0].view(3, 1, 1, 1) * maps[0] + others[:, 1].view(3, 1, 1, 1) * maps[1]
    found = cam(log_odds(network, 2), images, layer="4").values
    assert torch.allclose(found, maps[2] - rivals, atol=1e-12)


class Head(nn.Module):
    """Convolution, pooling of some kind, and a head of some kind."""

    def __init__(self, pool, head, end=lambda z: z):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.pool, self.head, self.end = pool, head, end

    def forward(self, x):
        return self.end(self.head(self.pool(self.relu(self.conv(x)))))


def made(pool, head, end=lambda z: z):
    torch.manual_seed(0)
    return Head(pool, head(), end).double()


def mean(a):
    return a.mean((2, 3))


def test_a_sum_instead_of_a_mean(images):
    network = made(lambda a: a.sum((2, 3)), lambda: nn.Linear(4, 3))
    found = cam(logit(network, 1), images, layer="relu", upsample=False).values
    assert torch.allclose(
        found.mean((1, 2, 3)), network(images)[:, 1] - network.head.bias[1], atol=1e-12
    )


def test_a_convolution_of_one_pixel_as_classifier(images):
    network = made(nn.AdaptiveAvgPool2d(1), lambda: nn.Conv2d(4, 3, 1), lambda z: z.flatten(1))
    with pytest.raises(ValueError, match=r"No linear layer leads from the 4 channels of layer"):
        cam(logit(network, 1), images, layer="relu")
    found = cam(logit(network, 1), images, layer="relu", classifier="head", upsample=False).values
    assert torch.allclose(
        found.mean((1, 2, 3)), network(images)[:, 1] - network.head.bias[1], atol=1e-12
    )
    assert torch.allclose(
        found,
        30
        * 4
        * hires_cam(logit(network, 1), images, layer="relu", signed=True, upsample=False).values,
        atol=1e-12,
    )


def test_a_map_for_each_class_is_its_own(images):
    network = made(mean, nn.Identity)
    found = cam(logit(network, 3), images, layer="relu", upsample=False).values
    assert torch.allclose(found[:, 0], network.conv(images)[:, 3].clamp_min(0), atol=1e-12)
    single = made(lambda a: a.mean((1, 2, 3)), nn.Identity)
    with pytest.raises(ValueError, match=r"No linear layer leads from the 4 channels"):
        cam(logit(single, 0), images, layer="relu")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: made(lambda a: a.amax((2, 3)), lambda: nn.Linear(4, 3)), "off by up to"),
        (lambda: made(mean, lambda: nn.Linear(4, 3), lambda z: z.softmax(1)), "off by up to"),
        (lambda: made(mean, lambda: nn.Linear(4, 3), torch.tanh), r"use grad_cam\."),
        (
            lambda: made(mean, lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))),
            "No linear layer leads from the 4 channels of layer 'relu' to the 3 outputs",
        ),
    ],
)
def test_networks_that_end_otherwise(images, network, words):
    with pytest.raises(ValueError, match=words):
        cam(logit(network(), 1), images, layer="relu")


def test_which_classifier(images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.main, self.side = nn.Conv2d(2, 4, 3), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            a = self.conv(x).mean((2, 3))
            self.side(a)
            return self.main(a)

    torch.manual_seed(0)
    network = Two().double()
    score = logit(network, 1)
    with pytest.raises(ValueError, match=r"2 linear layers lead from 4 .*'main', 'side'. Name"):
        cam(score, images, layer="conv")
    found = cam(score, images, layer="conv", classifier="main", upsample=False).values
    assert torch.allclose(
        found.mean((1, 2, 3)), network(images)[:, 1] - network.main.bias[1], atol=1e-12
    )
    with pytest.raises(ValueError, match=r"not the mean of layer 'conv' times one matrix"):
        cam(score, images, layer="conv", classifier="side")
    with pytest.raises(ValueError, match=r"'conv' has weights of shape \(4, 2, 3, 3\)"):
        cam(score, images, layer="conv", classifier="conv")
    with pytest.raises(TypeError, match=r"The classifier '' is a Two. Name a linear layer"):
        cam(score, images, layer="conv", classifier="")
    with pytest.raises(ValueError, match=r"Layer 'mean' is not in the model"):
        cam(score, images, layer="conv", classifier="mean")


def test_one_output(images):
    network = made(mean, lambda: nn.Linear(4, 1))
    for model in (network, made(mean, lambda: nn.Linear(4, 1), lambda z: z[:, 0])):
        found = cam(logit(model, 0), images, layer="relu", upsample=False).values
        assert torch.allclose(
            found.mean((1, 2, 3)), network(images)[:, 0] - network.head.bias, atol=1e-12
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_guard_knows_rounding(images, dtype):
    network = made(mean, lambda: nn.Linear(4, 3))
    expected = cam(logit(network, 1), images, layer="relu").values
    found = cam(logit(network.to(dtype), 1), images.to(dtype), layer="relu").values
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, atol=8 * torch.finfo(dtype).eps)


def test_a_failing_model_is_left_as_it_was(images):
    network = made(mean, lambda: nn.Linear(5, 3))  # does not fit
    with pytest.raises(RuntimeError):
        cam(logit(network, 0), images, layer="relu")
    assert not network.relu._forward_hooks


def test_boxes():
    picture = torch.zeros(4, 1, 7, 9)
    picture[0, 0, 2:4, 3:8] = 1.0  # 10 positions
    picture[0, 0, 5, :4] = 3.0  # the strongest, but smaller
    picture[1, 0, 0, 0] = picture[1, 0, 1, 1] = 1.0  # corners touch
    picture[1, 0, 4, 4] = 1.0
    picture[1] *= 0.1  # each map has a largest value of its own
    picture[2] = -1.0
    picture[3, 0, 1, 1], picture[3, 0, 1, 2], picture[3, 0, 1, 3] = 1.0, 0.2, 0.21
    picture[3, 0, 5, 5] = 0.5
    assert cam_box(picture).tolist() == [[2, 3, 4, 8], [0, 0, 2, 2], [0, 0, 0, 0], [1, 1, 2, 2]]
    assert cam_box(picture, share=0.5)[0].tolist() == [5, 0, 6, 4]
    assert cam_box(-torch.ones(1, 1, 2, 2) + 2).tolist() == [[0, 0, 2, 2]]
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"above .* of the largest value. Give a share"):
            cam_box(picture, share=share)


def overlap(one, other):
    top, left = max(one[0], other[0]), max(one[1], other[1])
    bottom, right = min(one[2], other[2]), min(one[3], other[3])
    both = max(0, bottom - top) * max(0, right - left)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


def test_real_networks(real_data):
    from unmask.zoo import cifar10, squeezenet

    exhibit = cifar10()
    x = torch.stack(exhibit.inputs[:8])
    network, classes = exhibit.model, predicted(exhibit.model, x)
    found = cam(logit(network, classes), x, layer="layer3", upsample=False).values
    logits = network(x)[range(8), classes] - network.linear.bias[classes]
    assert torch.allclose(found.mean((1, 2, 3)), logits.detach(), atol=1e-3)
    with pytest.raises(ValueError, match=r"No linear layer leads|not the mean"):
        cam(logit(network, classes), x, layer="layer2")
    # SqueezeNet has no matrix: its last maps, a thousand of them, are averaged
    exhibit = squeezenet()
    x = torch.stack(exhibit.inputs[:2])
    classes = predicted(exhibit.model, x)
    found = cam(logit(exhibit.model, classes), x, layer="relu", upsample=False).values
    logits = exhibit.model(x)[range(2), classes].detach()
    assert torch.allclose(found.mean((1, 2, 3)), logits, atol=1e-3)
    assert (found >= 0).all()
