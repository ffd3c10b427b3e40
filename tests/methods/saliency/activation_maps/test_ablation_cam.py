import pytest
import torch
from torch import nn

from unmask import log_odds, logit
from unmask.internals import edit
from unmask.methods.saliency import ablation_cam, cam


def slow_map(network, x, target):
    """One channel after the other, the whole network each time."""
    a = network[:5](x[None]).detach()
    start = network(x[None])[0, target]
    total = torch.zeros(a.shape[2:], dtype=a.dtype)
    for k in range(a.shape[1]):

        def without(output, k=k):
            output = output.clone()
            output[:, k] = 0
            return output

        with edit(network, {"4": without}):
            total += (start - network(x[None])[0, target]).detach() * a[0, k]
    return total


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("batch_size", [None, 1, 2, 100])
def test_the_definition(convnet, images, seed, batch_size):
    network = convnet(seed, hidden=True)
    targets = torch.tensor([2, 0, 1])
    score = logit(network, targets)
    options = {"layer": "4", "upsample": False, "batch_size": batch_size}
    found = ablation_cam(score, images, **options, signed=True)
    expected = [slow_map(network, x, int(t)) for x, t in zip(images, targets, strict=True)]
    assert torch.allclose(found.values[:, 0], torch.stack(expected), atol=1e-12)
    cut = ablation_cam(score, images, **options)
    assert torch.equal(cut.values, found.values.clamp_min(0))
    assert ablation_cam(score, images, layer="4").values.shape == (3, 1, 12, 10)


def test_on_a_mean_and_a_matrix_each_channel_counts_by_what_it_gives(convnet, images):
    network = convnet(1)
    found = ablation_cam(logit(network, 1), images, layer="4", signed=True, upsample=False)
    a = network[:5](images).detach()
    weights = network[-1].weight[1].detach() * a.mean((2, 3))
    expected = torch.einsum("bk,bkhw->bhw", weights, a)
    assert torch.allclose(found.values[:, 0], expected, atol=1e-12)


def test_the_network_that_is_done_by_hand(camnet, image):
    found = ablation_cam(logit(camnet, 0), image, layer="1", signed=True)
    # without channel 0 the score falls by 0.75, without channel 1 it rises by 0.5
    expected = torch.tensor([[0.75, 1.5], [-0.5, -1.5]])
    assert torch.allclose(found.values[0, 0], expected, atol=1e-6)


def test_a_negative_score_does_not_turn_the_map_over(camnet, image):
    shifted = nn.Sequential(*camnet[:4], nn.Linear(2, 2))
    with torch.no_grad():
        shifted[4].weight.copy_(camnet[4].weight)
        shifted[4].bias.fill_(-10.0)
    one, other = (ablation_cam(logit(m, 0), image, layer="1").values for m in (camnet, shifted))
    assert torch.allclose(one, other, atol=1e-5)


def test_dead_channels_are_not_run(images):
    seen = []

    class Top(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.mean((2, 3))

    network = nn.Sequential(nn.Conv2d(2, 40, 1), nn.ReLU(), Top()).double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.copy_(torch.where(torch.arange(40) % 4 == 0, 1.0, -1.0))
    found = ablation_cam(logit(network, 4), images, layer="1", batch_size=7, upsample=False)
    assert found.values.flatten().tolist() == [1.0] * 360
    assert sum(seen) == found.evaluations
    assert found.evaluations <= 3 * 3 + 3 * 10
    assert max(seen) <= 7


class Words(nn.Module):
    """A class token and patches; the top reads them all."""

    def __init__(self):
        super().__init__()
        self.patches, self.mix = nn.Conv2d(2, 6, 2, stride=2), nn.Linear(6, 6)
        self.top = nn.Linear(6, 3)

    def forward(self, x):
        words = self.patches(x).flatten(2).transpose(1, 2)
        words = torch.cat([words.mean(1, keepdim=True), words], 1)
        return self.top(torch.tanh(self.mix(words)).mean(1))


def test_reshape_says_which_numbers_are_a_channel(images):
    torch.manual_seed(0)
    model = Words().double()

    def laid_out(words):
        return words[:, 1:].unflatten(1, (6, 5)).movedim(-1, 1)

    options = {"layer": "mix", "reshape": laid_out, "signed": True, "upsample": False}
    found = ablation_cam(logit(model, 1), images, **options).values[:, 0]
    total = torch.zeros_like(found)
    kept = {}
    with edit(model, {"mix": lambda o: kept.setdefault("words", o)}):
        start = model(images)[:, 1].detach()
    for k in range(6):

        def without(words, k=k):  # the class token stays as it is
            words = words.clone()
            words[:, 1:, k] = 0
            return words

        with edit(model, {"mix": without}):
            fall = start - model(images)[:, 1].detach()
        total += fall.view(3, 1, 1) * laid_out(kept["words"].detach())[:, k]
    assert torch.allclose(found, total, atol=1e-12)


def test_what_is_refused(convnet, images):
    score = logit(convnet(0), 0)
    with pytest.raises(ValueError, match=r"A batch of 0 inputs is too small"):
        ablation_cam(score, images, layer="4", batch_size=0)
    with pytest.raises((ValueError, TypeError), match=r"laid over an image|parameter 'x'"):
        ablation_cam(score, images[0], layer="4")
    with pytest.raises(TypeError, match=r"ablation_cam needs the layers"):
        ablation_cam(logit(lambda x: x, 0), images, layer="4")
    with pytest.raises(ValueError, match=r"puts out shape \(3, 3\); a map needs"):
        ablation_cam(score, images, layer="7")
    rooted = type(score)(score.model, lambda output, rows: (output[:, 0] - 100).sqrt())
    with pytest.raises(ValueError, match=r"score of 3 of 3 inputs is not finite. Look"):
        ablation_cam(rooted, images, layer="4")
    least = float(score(images).detach().min())
    rooted = type(score)(score.model, lambda output, rows: (output[:, 0] - least).sqrt())
    with pytest.raises(ValueError, match=r"changed inputs is not finite: nan. Look"):
        ablation_cam(rooted, images, layer="4")


def test_real_networks(real_data):
    from unmask.zoo import cifar10, digits

    for exhibit, layer in ((digits(), "features.4"), (cifar10(), "layer3")):
        x = torch.stack(exhibit.inputs[:4])
        score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:4]))
        found = ablation_cam(score, x, layer=layer)
        alone = ablation_cam(log_odds(exhibit.model, exhibit.labels[3]), x[3:], layer=layer)
        assert torch.allclose(found.values[3:], alone.values, atol=1e-4)
        assert found.values.amax((1, 2, 3)).min() > 0
    # Of a logit of ResNet-20 the weights are known: what a channel adds to the logit.
    score = logit(exhibit.model, 3)
    found = ablation_cam(score, x, layer="layer3", signed=True, upsample=False).values
    kept = {}
    with torch.no_grad(), edit(exhibit.model, {"layer3": lambda o: kept.setdefault("a", o)}):
        score(x)
    weights = exhibit.model.linear.weight[3].detach() * kept["a"].mean((2, 3))
    expected = torch.einsum("bk,bkhw->bhw", weights, kept["a"])[:, None]
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))
    assert cam(score, x, layer="layer3", upsample=False).values.shape == found.shape
