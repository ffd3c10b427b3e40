import pytest
import torch
from torch import nn

from unmask import log_odds, logit, predicted
from unmask.methods.saliency import (
    cam,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    x_grad_cam,
)

METHODS = (grad_cam, grad_cam_plus_plus, layer_cam, x_grad_cam, hires_cam)
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)


def slow_map(method, network, x, layer, target):
    """From the papers, position by position; the gradient by differences of the rest."""
    start, rest = network[: layer + 1], network[layer + 1 :]
    a = start(x[None])[0].detach()
    g = torch.zeros_like(a)
    step = 1e-6
    for place in range(a.numel()):
        up, down = a.flatten().clone(), a.flatten().clone()
        up[place] += step
        down[place] -= step
        ahead, behind = (rest(moved.view(1, *a.shape))[0, target] for moved in (up, down))
        g.view(-1)[place] = ((ahead - behind) / (2 * step)).detach()
    channels, rows, columns = a.shape
    maps = torch.zeros(rows, columns, dtype=a.dtype)
    for k in range(channels):
        total = float(a[k].sum())
        alpha = 0.0
        for i in range(rows):
            for j in range(columns):
                slope = float(g[k, i, j])
                if method is grad_cam:
                    alpha += slope / (rows * columns)
                elif method is grad_cam_plus_plus and abs(slope) > 1e-9:
                    share = slope**2 / (2 * slope**2 + total * slope**3)
                    alpha += share * max(slope, 0.0)
                elif method is x_grad_cam and total:
                    alpha += slope * float(a[k, i, j]) / total
        for i in range(rows):
            for j in range(columns):
                if method is layer_cam:
                    alpha = max(float(g[k, i, j]), 0.0)
                elif method is hires_cam:
                    alpha = float(g[k, i, j])
                maps[i, j] += alpha * float(a[k, i, j])
    return maps


@each_method
@pytest.mark.parametrize("seed", range(2))
def test_the_definition(convnet, images, method, seed):
    network = convnet(seed, hidden=True)
    found = method(logit(network, 1), images, layer="4", signed=True, upsample=False)
    assert found.values.shape == (3, 1, 6, 5)
    assert found.evaluations == 3
    assert found.gap is None
    for i in range(3):
        expected = slow_map(method, network, images[i], 4, 1)
        assert expected.abs().max() > 1e-3
        # differences of 1e-6 know a slope to about 1e-9
        assert torch.allclose(found.values[i, 0], expected, atol=1e-7)
    cut = method(logit(network, 1), images, layer="4", upsample=False)
    assert torch.equal(cut.values, found.values.clamp_min(0))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (grad_cam, [[0.25, 0.5], [0, 0]]),
        (grad_cam_plus_plus, [[1 / 2.75, 2 / 2.75], [0, 0]]),
        (layer_cam, [[0.25, 0.5], [0, 0]]),
        (x_grad_cam, [[0.25, 0.5], [0, 0]]),
        (hires_cam, [[0.25, 0.5], [0, 0]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_network_that_is_done_by_hand(camnet, image, method, expected):
    found = method(logit(camnet, 0), image, layer="1")
    assert torch.allclose(found.values[0, 0], torch.tensor(expected), atol=1e-6)


def test_the_weight_of_grad_cam_plus_plus(camnet, image):
    signed = grad_cam_plus_plus(logit(camnet, 0), image, layer="1", signed=True)
    # channel 0: g = 1/4 everywhere, sum 3: 4 g / (2 + 3 g); channel 1 lowers the score: nothing
    assert signed.values[0, 0].tolist() == [pytest.approx([4 / 11, 8 / 11]), [0.0, 0.0]]


@pytest.mark.parametrize("seed", range(4))
def test_on_a_mean_and_a_matrix_it_is_the_class_activation_map(convnet, images, seed):
    score = logit(convnet(seed), torch.tensor([0, 1, 2]))
    for upsample in (False, True):
        whole = cam(score, images, layer="4", upsample=upsample).values / 30
        found = grad_cam(score, images, layer="4", signed=True, upsample=upsample).values
        assert torch.allclose(found, whole, atol=1e-12)


@each_method
def test_maps_are_stretched_over_the_picture(convnet, images, method):
    score = logit(convnet(0, hidden=True), 0)
    small = method(score, images, layer="4", signed=True, upsample=False).values
    large = method(score, images, layer="4", signed=True).values
    assert large.shape == (3, 1, 12, 10)
    for i in range(12):
        for j in range(10):
            # the middle of a pixel on the grid of the layer, held at its border
            down = min(max((i + 0.5) * 6 / 12 - 0.5, 0), 5)
            across = min(max((j + 0.5) * 5 / 10 - 0.5, 0), 4)
            top, left = min(int(down), 4), min(int(across), 3)
            t, s = down - top, across - left
            above = (1 - s) * small[:, 0, top, left] + s * small[:, 0, top, left + 1]
            below = (1 - s) * small[:, 0, top + 1, left] + s * small[:, 0, top + 1, left + 1]
            expected = (1 - t) * above + t * below
            assert torch.allclose(large[:, 0, i, j], expected, atol=1e-12)


def test_x_grad_cam_and_hires_cam_sum_to_a_score_without_biases(images):
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(480, 9, bias=False), nn.ReLU(), nn.Linear(9, 2, bias=False)),
    ).double()
    for method in (x_grad_cam, hires_cam):
        found = method(logit(network, 1), images, layer="1", signed=True, upsample=False)
        assert torch.allclose(found.values.sum((1, 2, 3)), network(images)[:, 1], atol=1e-12)


def test_a_channel_that_sums_to_nothing_gets_its_mean_gradient():
    x = torch.tensor([[[[1.0, -1.0]]]])
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[3.0, 1.0]]))
    found = x_grad_cam(logit(network, 0), x, layer="0", signed=True)
    assert found.values.flatten().tolist() == [2.0, -2.0]


@each_method
def test_only_the_part_below_the_layer_sees_the_image(convnet, images, method):
    """The map is a function of the layer: what made it plays no part, differentiable or not."""
    network = convnet(1, hidden=True)
    lower, upper = network[:5], network[5:]

    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.upper = nn.Identity(), upper

        def forward(self, x):
            return self.upper(self.seen(lower(x).detach()))

    expected = method(logit(network, 1), images, layer="4").values
    assert torch.equal(method(logit(Rounded(), 1), images, layer="seen").values, expected)


def test_a_layer_that_is_called_again_counts_by_its_last_call(images):
    torch.manual_seed(1)
    first, second = nn.Conv2d(2, 3, 3).double(), nn.Conv2d(3, 2, 3).double()
    top = nn.Linear(2, 3).double()

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.top = first, second, top
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.top(self.relu(self.second(self.relu(self.first(x)))).mean((2, 3)))

    plain = nn.Sequential(
        first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), top
    )
    expected = grad_cam(logit(plain, 0), images, layer="3").values
    assert torch.equal(grad_cam(logit(Shared(), 0), images, layer="relu").values, expected)


class Transformer(nn.Module):
    """Patches with a class token before them, which alone is read."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.last = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.top = nn.Linear(8, 3)

    def forward(self, x):
        words = self.patches(x).flatten(2).transpose(1, 2)
        words = torch.cat([self.token.expand(len(x), -1, -1), words], 1)
        return self.top(self.last(self.block(words))[:, 0])


def without_class_token(words):
    return words[:, 1:].unflatten(1, (6, 5)).movedim(-1, 1)


@pytest.mark.parametrize("method", [grad_cam, layer_cam, x_grad_cam, hires_cam])
def test_a_transformer_is_laid_out_without_its_class_token(images, method):
    torch.manual_seed(0)
    network = Transformer().double().eval()
    kept = {}
    network.block.register_forward_hook(lambda m, i, o: kept.update(block=o))
    score = logit(network, 1)
    options = {"layer": "block", "reshape": without_class_token, "upsample": False}
    found = method(score, images, **options, signed=True)
    values = score(images)
    gradient = torch.autograd.grad(values.sum(), kept["block"])[0]
    assert found.values.shape == (3, 1, 6, 5)
    if method is grad_cam:
        weights = gradient[:, 1:].mean(1)
        expected = (kept["block"][:, 1:] * weights[:, None]).sum(-1).view(3, 1, 6, 5)
        assert torch.allclose(found.values, expected, atol=1e-12)
    if method in (hires_cam, layer_cam):
        gradient = gradient if method is hires_cam else gradient.clamp_min(0)
        expected = (kept["block"] * gradient)[:, 1:].sum(-1).view(3, 1, 6, 5)
        assert torch.allclose(found.values, expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"puts out shape \(3, 31, 8\).* give reshape="):
        method(score, images, layer="block")
    with pytest.raises(ValueError, match=r"which reshape made \(3, 31, 8\)"):
        method(score, images, layer="block", reshape=lambda words: words)


@each_method
def test_a_layer_nothing_depends_on(convnet, images, method):
    score = logit(convnet(0), 0)
    with pytest.raises(ValueError, match=r"Layer 'top' is not in the model.*nearest"):
        method(score, images, layer="top")
    spare = nn.Sequential(convnet(0))
    spare.add_module("unused", nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match=r"needs the layers of the model.*a function"):
        method(logit(lambda x: spare(x), 0), images, layer="0")

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aside, self.never = convnet(0), nn.Conv2d(2, 2, 1).double(), nn.ReLU()

        def forward(self, x):
            self.aside(x)
            return self.main(x)

    with pytest.raises(ValueError, match=r"does not depend on layer 'aside' by any differentiable"):
        method(logit(Aside(), 0), images, layer="aside")
    with pytest.raises(ValueError, match=r"layer 'never'.*: the layer is never called. Name"):
        method(logit(Aside(), 0), images, layer="never")


@each_method
def test_what_is_refused(convnet, images, method):
    network = convnet(0)
    score = logit(network, 0)
    with pytest.raises(ValueError, match=r"puts out shape \(3, 3\); a map needs \[batch"):
        method(score, images, layer="7")
    with pytest.raises((ValueError, TypeError), match=r"laid over an image|parameter 'x'"):
        method(score, images[:, :, 0], layer="4")
    with pytest.raises((TypeError, ValueError), match=r"real numbers|parameter 'x'"):
        method(score, images.long(), layer="4")
    with pytest.raises(ValueError, match="batch is empty"):
        method(score, images[:0], layer="4")
    with pytest.raises(ValueError, match=r"is of 2 inputs, but x holds 3\. Give one class"):
        method(logit(network, torch.tensor([0, 1])), images, layer="4")
    with pytest.raises(ValueError, match="Class 3 is out of range"):
        method(logit(network, 3), images, layer="4")

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.split = nn.MaxPool2d(2, return_indices=True)

        def forward(self, x):
            return self.split(x)[0].flatten(1)

    with pytest.raises(TypeError, match=r"puts out a tuple, not one tensor. Name a layer"):
        method(logit(Two(), 0), images, layer="split")
    broken = nn.Sequential(nn.Identity(), nn.Flatten())
    rooted = logit(lambda x: x, 0)
    rooted = type(rooted)(broken, lambda output, rows: (0 * output[:, 0]).abs().sqrt())
    with pytest.raises(ValueError, match=r"gradient of the score by layer '0' is not finite"):
        method(rooted, images, layer="0")


def test_grad_cam_plus_plus_refuses_what_its_formula_cannot_weigh():
    x = torch.full((1, 1, 2, 2), -1.0)
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        network[2].weight.fill_(1.0)
    score = logit(network, 0)
    with pytest.raises(ValueError, match=r"channel 0 of layer '0' sums to -4 on input 0. Name"):
        grad_cam_plus_plus(score, x, layer="0")
    assert grad_cam_plus_plus(score, x / 4, layer="0", signed=True).values[0, 0, 0, 0] < 0


@each_method
def test_a_failing_model_is_left_as_it_was(images, method):
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1).double()

        def forward(self, x):
            self.conv(x)
            raise RuntimeError("no more")

    network = Failing()
    with pytest.raises(RuntimeError, match="no more"):
        method(logit(network, 0), images, layer="conv")
    assert not network.conv._forward_hooks
    assert all(p.requires_grad for p in network.parameters())


@each_method
def test_a_constant_layer_has_an_even_map(images, method):
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = network.double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.copy_(torch.tensor([1.0, 2.0, -1.0]))
    found = method(logit(network, 1), images, layer="1", signed=True, upsample=False).values
    assert found.max() == found.min() > 0
    assert method(logit(network, 2), images, layer="1").values.abs().max() == 0


@pytest.mark.oracle
def test_captum_agrees(convnet, images):
    attr = pytest.importorskip("captum.attr")
    for hidden in (False, True):
        network = convnet(2, hidden=hidden)
        found = grad_cam(logit(network, 1), images, layer="4", signed=True, upsample=False)
        theirs = attr.LayerGradCam(network, network[4]).attribute(images, target=1)
        assert torch.allclose(found.values, theirs, atol=1e-12)


THEIRS = dict(
    zip(METHODS, ("GradCAM", "GradCAMPlusPlus", "LayerCAM", "XGradCAM", "HiResCAM"), strict=True)
)


@pytest.mark.oracle
@each_method
@pytest.mark.parametrize("hidden", [False, True])
def test_pytorch_grad_cam_agrees(peer, convnet, images, method, hidden):
    # It adds 1e-6 to the denominator of Grad-CAM++: with large gradients that is nothing.
    network = convnet(0, hidden=hidden, size=300.0).float()
    images = images.float()
    with getattr(peer, THEIRS[method])(model=network, target_layers=[network[4]]) as theirs:
        targets = [peer.utils.model_targets.ClassifierOutputTarget(1)] * 3
        expected = torch.tensor(theirs(input_tensor=images, targets=targets))[:, None]
    found = method(logit(network, 1), images, layer="4").values
    low, high = found.amin((2, 3), keepdim=True), found.amax((2, 3), keepdim=True)
    assert (high > 0).all()
    # It works in float32 and adds 1e-7 to what it divides by; cv2 interpolates in fixed point.
    assert torch.allclose((found - low) / (high - low), expected, atol=2e-5)


@each_method
def test_a_resnet_points_at_the_thing(real_data, method):
    """Hiding what the map marks costs the class more than hiding as much elsewhere."""
    from unmask.zoo import cifar10

    exhibit = cifar10()
    x = torch.stack(exhibit.inputs[:40])
    x = x[predicted(exhibit.model, x) == torch.tensor(exhibit.labels[:40])]
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    values = method(score, x, layer="layer3").values
    grey = exhibit.baseline(0)
    most = values.flatten(1).argsort(dim=1, descending=True)
    falls = []
    for places in (most[:, :256], most[:, -256:]):
        hidden = torch.zeros(len(x), 1024, dtype=torch.bool).scatter(1, places, True)
        seen = torch.where(hidden.view(-1, 1, 32, 32), grey, x)
        with torch.no_grad():
            falls.append((score(x) - score(seen)).mean())
    assert falls[0] > 1.5 * falls[1]


@each_method
def test_lenet_where_no_mean_is_taken(method):
    from unmask.zoo import digits

    exhibit = digits()
    x = torch.stack(exhibit.inputs[:8])
    score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:8]))
    found = method(score, x, layer="features.4")
    assert found.values.shape == (8, 1, 8, 8)
    assert (found.values.amax((1, 2, 3)) > 0).sum() >= 7
    alone = method(log_odds(exhibit.model, exhibit.labels[2]), x[2:3], layer="features.4")
    assert torch.allclose(alone.values, found.values[2:3], atol=1e-5)
