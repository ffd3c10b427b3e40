import copy
import math

import pytest
import torch
from torch import nn

from unmask.methods.saliency import WeakLocaliser, convolution_of, weak_localization
from unmask.methods.saliency.activation_maps.weak_localization import SCALES, resized, signs


def eye():
    return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(16, 2))


def spots(count, seed, size=64, side=8):
    """Noise, and in every other image a bright square; where it is."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, size, size, generator=draw)
    places = torch.randint(0, size - side, (count, 2), generator=draw)
    for i in range(0, count, 2):
        row, column = places[i].tolist()
        images[i, 0, row : row + side, column : column + side] += 1.0
    return images, (torch.arange(count) % 2 == 0).long()[:, None], places


def seeing():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(16 * 16 * 16, 2)),
        )


@pytest.mark.parametrize("tune", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_planted_square_is_found_from_presence_alone(tune):
    images, there, _ = spots(96, seed=1)
    found = weak_localization(
        *(seeing(), images),
        labels=there,
        layer="5",
        steps=150,
        minibatch=16,
        tune=tune,
        rescale=(0.8, 1.2),
    )
    test, there, places = spots(100, seed=2)
    for scales in ((1.0,), (0.7, 1.0, 1.4)):
        best = found.model.located(test, scales=scales)[:, 0]
        inside = ((best >= places) & (best < places + 8)).all(1)[there[:, 0] == 1]
        assert inside.double().mean() > 0.9
    if tune:  # random layers tell where a square is, but not well whether there is one
        scores = found.model(test)[:, 0]
        assert ((scores > 0).long() == there[:, 0]).double().mean() > 0.95
        assert found.fidelity > 0.95


def test_the_loss_by_hand():
    network = WeakLocaliser(nn.Identity(), 1, 3)
    scores = torch.zeros(2, 3)
    y = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0]])
    assert float(network.loss(scores, y)) == pytest.approx(2.079442, abs=1e-6)  # 3 log 2
    scores = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    expected = sum(
        math.log(1 + math.exp(-float(y[n, c]) * float(scores[n, c])))
        for n in range(2)
        for c in range(3)
    )
    assert float(network.loss(scores, y)) == pytest.approx(expected / 2, abs=1e-6)


def test_the_maximum_the_mean_and_what_is_between():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    network = WeakLocaliser(nn.Identity(), 3, 2).double()
    maps = network.maps(x).detach()
    weight, bias = network.maps_of.weight.detach()[:, :, 0, 0], network.maps_of.bias.detach()
    assert torch.allclose(maps, torch.einsum("ck,bkhw->bchw", weight, x) + bias.view(2, 1, 1))
    pooled = {}
    for sharpness in (0.0, 1e-5, 10.0, 1e4, math.inf):
        network.sharpness = sharpness
        pooled[sharpness] = network(x).detach()
    mean, largest = maps.mean((2, 3)), maps.amax((2, 3))
    assert torch.allclose(pooled[0.0], mean, atol=1e-12)
    assert torch.allclose(pooled[1e-5], mean, atol=1e-4)
    assert torch.allclose(pooled[1e4], largest, atol=1e-3)
    assert torch.equal(pooled[math.inf], largest)
    by_hand = torch.exp(10 * maps).mean((2, 3)).log() / 10
    assert torch.allclose(pooled[10.0], by_hand, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_layers_become_convolutions(bias):
    torch.manual_seed(0)
    first, second = nn.Linear(3 * 4 * 5, 7, bias=bias), nn.Linear(7, 2, bias=bias)
    state = torch.get_rng_state()
    head = nn.Sequential(
        convolution_of(first, rows=4, columns=5),
        nn.ReLU(),
        convolution_of(second, rows=1, columns=1),
    )
    assert torch.equal(torch.get_rng_state(), state)
    maps = torch.randn(6, 3, 9, 9)
    dense = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
    assert torch.allclose(
        head(maps[:, :, :4, :5])[:, :, 0, 0], dense(maps[:, :, :4, :5]), atol=1e-5
    )
    whole = head(maps)
    assert whole.shape == (6, 2, 6, 5)
    window = maps[:, :, 3:7, 2:7].contiguous()
    assert torch.allclose(whole[:, :, 3, 2], dense(window), atol=1e-5)
    head[0].weight.data.zero_()
    assert first.weight.abs().min() > 0
    with pytest.raises(ValueError, match=r"reads 60 numbers, which are no maps of 7 x 5. Give"):
        convolution_of(first, rows=7, columns=5)
    with pytest.raises(ValueError, match=r"no maps of 10 x 10"):
        convolution_of(first, rows=10, columns=10)


def test_pictures_are_means_over_scales():
    x = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    network = WeakLocaliser(nn.AvgPool2d(2), 3, 2)
    sizes = {0.5: (4, 5), 1.0: (8, 10), 2.0: (16, 20)}
    total = torch.zeros(2, 2, 8, 10)
    for scale, size in sizes.items():
        assert resized(x, scale).shape[2:] == size
        image = nn.functional.interpolate(x, size, mode="bilinear", antialias=scale < 1)
        maps = network.maps(image)
        total += nn.functional.interpolate(maps, (8, 10), mode="bilinear") / 3
    found = network.pictures(x, scales=tuple(sizes))
    assert torch.allclose(found, total.detach(), atol=1e-6)
    best = network.located(x, scales=tuple(sizes))
    assert best.shape == (2, 2, 2)
    for i in range(2):
        for c in range(2):
            row, column = best[i, c].tolist()
            assert found[i, c, row, column] == found[i, c].max()
    assert network.pictures(x, scales=SCALES).isfinite().all()
    spot = torch.zeros(1, 1, 8, 10)
    spot[0, 0, 3, 9] = 1.0
    plain = WeakLocaliser(nn.Identity(), 1, 2)
    plain.maps_of.weight.data.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    assert plain.located(spot)[0, 0].tolist() == [3, 9]
    for scales in ((), (0.0,), (1.0, math.inf)):
        with pytest.raises(ValueError, match=r"looked at on the scales .* Give factors above 0"):
            network.pictures(x, scales=scales)
    with pytest.raises(ValueError, match=r"cannot read images of \(8, 10\) at scale 0.1 .*Leave"):
        network.pictures(x, scales=(0.1,))


def test_the_model_stays_as_it_is_and_its_copy_is_cut_at_the_layer():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True)
            self.top = nn.Linear(64, 2)

        def forward(self, x):
            x = self.relu(1 + self.relu(self.conv(x)))
            return self.top(x.flatten(1))

    torch.manual_seed(0)
    model = Shared()
    model.conv.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    images, there, _ = spots(8, seed=0, size=8, side=2)
    found = weak_localization(model, images, labels=there, layer="relu", steps=3, tune=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert not model.relu._forward_hooks
    network = found.model
    assert not network.training
    inner = network.backbone.model.conv
    larger = torch.rand(2, 1, 12, 12)  # the dense top could not read this
    expected = (1 + inner(larger).clamp_min(0)).clamp_min(0)  # the last call of the layer
    assert torch.allclose(network.backbone(larger), expected)
    assert not torch.equal(inner.bias, model.conv.bias)  # it was tuned
    rigid = weak_localization(model, images, labels=there, layer="relu", steps=3).model
    assert torch.equal(rigid.backbone.model.conv.bias, model.conv.bias)


def test_labels_of_every_kind():
    data = torch.zeros(3, 1, 2, 2)
    expected = [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]
    assert signs(torch.tensor([0, 2, 0]), data).tolist() == expected
    as_zeros = (torch.tensor(expected) > 0).long()
    for labels in (as_zeros, as_zeros.bool(), as_zeros.float(), torch.tensor(expected)):
        assert signs(labels, data).tolist() == expected


def test_what_is_refused():
    x = torch.rand(4, 1, 4, 4)
    y = torch.tensor([0, 1, 0, 1])
    given = {"layer": "0", "steps": 2}
    wrong = r"There are 3 labels for 4 images. Give one row|parameter 'labels'"
    with pytest.raises((ValueError, TypeError), match=wrong):
        weak_localization(eye(), x, labels=y[:3], **given)
    with pytest.raises(ValueError, match=r"one label is -1. For images"):
        weak_localization(eye(), x, labels=y - 1, **given)
    with pytest.raises(ValueError, match=r"but hold 0, 1, 2. Convert"):
        weak_localization(eye(), x, labels=torch.tensor([[0], [1], [2], [1]]), **given)
    with pytest.raises(ValueError, match=r"but hold -1, 0, 1. Convert"):
        weak_localization(eye(), x, labels=torch.tensor([[0], [1], [-1], [1]]), **given)
    with pytest.raises(ValueError, match=r"batch is empty"):
        weak_localization(eye(), x[:0], labels=y[:0], **given)
    with pytest.raises(ValueError, match="must be finite"):
        weak_localization(eye(), x / 0, labels=y, **given)
    with pytest.raises(ValueError, match=r"Layer '9' is not in the model"):
        weak_localization(eye(), x, labels=y, layer="9")
    with pytest.raises(ValueError, match=r"Layer '1' puts out shape \(1, 16\), but maps need"):
        weak_localization(eye(), x, labels=y, layer="1")
    spare = eye()
    spare.forward = lambda x: x
    with pytest.raises(ValueError, match=r"Layer '0' puts out nothing, but maps need"):
        weak_localization(spare, x, labels=y, layer="0")
    for rescale in ((0.0, 1.0), (1.4, 0.7), (1.0, math.inf)):
        with pytest.raises(ValueError, match=r"Images cannot be rescaled by .* Give two factors"):
            weak_localization(eye(), x, labels=y, **given, rescale=rescale)
    for sharpness in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"cannot have the sharpness .* Give 0 for the mean"):
            weak_localization(eye(), x, labels=y, **given, sharpness=sharpness)


def test_on_digits_the_ink_is_found():
    """Small digits somewhere on a larger sheet: which one, and where."""
    from unmask.zoo import digits

    exhibit = digits()
    images, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    images, labels = images[labels < 2], labels[labels < 2]
    draw = torch.Generator().manual_seed(0)
    places = torch.randint(0, 13, (len(images), 2), generator=draw)
    sheets = torch.zeros(len(images), 1, 20, 20)
    for sheet, image, (row, column) in zip(sheets, images, places.tolist(), strict=True):
        sheet[:, row : row + 8, column : column + 8] = image

    class Anywhere(nn.Module):
        """The trained network, its dense top moved over the sheet as a convolution."""

        def __init__(self):
            super().__init__()
            inner = exhibit.model
            self.features = inner.features
            self.top = convolution_of(inner.classifier[1], rows=2, columns=2)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.top(self.features(x)))

    found = weak_localization(Anywhere(), sheets, labels=labels, layer="relu", steps=200)
    assert found.fidelity > 0.9
    best = found.model.located(sheets)[range(len(labels)), labels]
    # inside the digit's box, give or take two pixels: the maps are a fourth of the sheet's size
    assert ((best - (places + 4)).abs().amax(1) <= 6).double().mean() > 0.9
