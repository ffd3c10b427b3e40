import pytest
import torch
from torch import nn

from unmask import log_odds, logit
from unmask.methods.saliency import score_cam


@torch.no_grad()
def slow_map(network, x, target, baseline):
    """One channel after the other."""
    a = network[:5](x[None])[0]
    scores, kept = [], []
    for k in range(len(a)):
        if a[k].max() == a[k].min():
            continue
        up = nn.functional.interpolate(a[None, k : k + 1], size=x.shape[1:], mode="bilinear")[0, 0]
        h = (up - up.min()) / (up.max() - up.min())
        seen = baseline + h * (x - baseline)
        scores.append(float(network(seen[None])[0, target] - network(baseline[None])[0, target]))
        kept.append(a[k])
    weights = torch.tensor(scores).double().softmax(0)
    return sum(w * m for w, m in zip(weights, kept, strict=True))


@pytest.mark.parametrize("batch_size", [None, 1, 2, 100])
@pytest.mark.parametrize("grey", [0.0, 0.3])
def test_the_definition(convnet, images, batch_size, grey):
    network = convnet(1, hidden=True)
    targets = torch.tensor([2, 0, 1])
    baseline = torch.full((2, 12, 10), grey).double()
    found = score_cam(
        logit(network, targets),
        images,
        layer="4",
        baseline=baseline,
        signed=True,
        upsample=False,
        batch_size=batch_size,
    )
    expected = [
        slow_map(network, x, int(t), baseline) for x, t in zip(images, targets, strict=True)
    ]
    # the twin keeps its scores in single precision
    assert torch.allclose(found.values[:, 0], torch.stack(expected), atol=1e-6)


def test_the_network_that_is_done_by_hand(camnet, image):
    found = score_cam(logit(camnet, 0), image, layer="1").values[0, 0]
    expected = torch.tensor([[0.739171, 1.478342], [0.260829, 0.782487]])
    assert torch.allclose(found, expected, atol=1e-6)
    scaled = (found - found.min()) / (found.max() - found.min())
    expected = torch.tensor([[0.392885, 1.0], [0.0, 0.428461]])
    assert torch.allclose(scaled, expected, atol=1e-6)


def test_constant_channels_are_not_run_and_get_no_weight(images):
    seen = []

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 6, 1).double()

        def forward(self, x):
            seen.append(len(x))
            return self.conv(x).mean((2, 3))

    model = Root()
    with torch.no_grad():
        model.conv.weight[2:] = 0
    found = score_cam(
        logit(model, 0), images, layer="conv", signed=True, upsample=False, batch_size=2
    )
    assert sum(seen) == found.evaluations == 3 + 3 * 2
    assert max(seen) <= 2
    two = nn.Sequential(nn.Conv2d(2, 2, 1).double(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        two[0].weight.copy_(model.conv.weight[:2])
        two[0].bias.copy_(model.conv.bias[:2])
    expected = score_cam(logit(two, 0), images, layer="0", signed=True, upsample=False)
    assert torch.allclose(found.values, expected.values, atol=1e-12)
    with torch.no_grad():
        model.conv.weight.zero_()
    assert score_cam(logit(model, 0), images, layer="conv").values.abs().max() == 0


def test_what_is_refused(convnet, images):
    score = logit(convnet(0), 0)
    with pytest.raises(ValueError, match=r"A batch of -1 inputs is too small"):
        score_cam(score, images, layer="4", batch_size=-1)
    with pytest.raises(ValueError, match=r"one baseline here, but it is a set of 3. Give one"):
        score_cam(score, images, layer="4", baseline=images)
    with pytest.raises(ValueError, match=r"The baseline has shape \(5,\), one input"):
        score_cam(score, images, layer="4", baseline=torch.zeros(5).double())
    with pytest.raises((ValueError, TypeError), match=r"laid over an image|parameter 'x'"):
        score_cam(score, images[0], layer="4")
    with pytest.raises(TypeError, match=r"score_cam needs the layers"):
        score_cam(logit(lambda x: x, 0), images, layer="4")
    with pytest.raises(ValueError, match=r"puts out shape \(3, 3\); a map needs"):
        score_cam(score, images, layer="7")
    spare = nn.Sequential(convnet(0))
    spare.never = nn.ReLU()
    spare.forward = spare[0].forward
    with pytest.raises(ValueError, match=r"Layer 'never' is never called on these inputs. Name"):
        score_cam(logit(spare, 0), images, layer="never")
    rooted = type(score)(score.model, lambda output, rows: (output[:, 0] - 100).sqrt())
    with pytest.raises(ValueError, match=r"changed inputs is not finite: nan. Look"):
        score_cam(rooted, images, layer="4")


@pytest.mark.oracle
def test_pytorch_grad_cam_agrees(peer, convnet, images):
    # It stretches maps with their corners held, we with their pixels: at a layer of the image's
    # size there is nothing to stretch.
    network, images = convnet(1, hidden=True).float(), images.float()
    with peer.ScoreCAM(model=network, target_layers=[network[1]]) as theirs:
        targets = [peer.utils.model_targets.ClassifierOutputTarget(1)] * 3
        expected = torch.tensor(theirs(input_tensor=images, targets=targets))[:, None]
    found = score_cam(logit(network, 1), images, layer="1").values
    low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
    assert torch.allclose((found - low) / (high - low), expected, atol=1e-5)


def test_real_networks(real_data):
    from unmask.zoo import cifar10, digits

    for exhibit, layer in ((digits(), "features.4"), (cifar10(), "layer3")):
        x = torch.stack(exhibit.inputs[:3])
        score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:3]))
        grey = exhibit.baseline(0)
        found = score_cam(score, x, layer=layer, baseline=grey)
        assert found.values.shape == (3, 1, *x.shape[2:])
        assert found.values.amax((1, 2, 3)).min() > 0
        alone = score_cam(
            log_odds(exhibit.model, exhibit.labels[1]), x[1:2], layer=layer, baseline=grey
        )
        assert torch.allclose(found.values[1:2], alone.values, atol=1e-4)
