"""Relevance propagation on real architectures, and beside independent packages."""

import copy
import os
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional

from convolutional import unet, vgg
from propagated import COMPOSITES, holds, numbers
from unmask import logit, zoo
from unmask.methods.saliency import lrp
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.rules import Rules
from zennit_alone import zennit

each_composite = pytest.mark.parametrize("chosen", COMPOSITES.values(), ids=COMPOSITES)
needs_data = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
needs_zennit = pytest.mark.skipif(find_spec("zennit") is None, reason="needs zennit")


# Real networks


@each_composite
@pytest.mark.parametrize("build", [lambda: vgg(normalised=True, inplace=True), unet])
def test_convolutional_networks(build, chosen):
    holds(build(), numbers(2, 3, 32, 32).float(), chosen)


def test_the_digits_are_explained_by_their_ink():
    exhibit = zoo.digits()
    x = torch.stack(exhibit.inputs[:20])
    labels = torch.tensor(exhibit.labels[:20])
    low, high = float(x.min()), float(x.max())
    for chosen in (rules.EPSILON, rules.EPSILON_PLUS, rules.epsilon_gamma_box(low, high)):
        found = holds(exhibit.model, x, chosen, labels)
        flat, score = found.values.flatten(1), logit(exhibit.model, labels)
        order = flat.argsort(1, descending=True)
        first, last = order[:, :6], order[:, -6:]
        less = [
            score(x.flatten(1).scatter(1, places, low).view_as(x)).detach().mean()
            for places in (first, last)
        ]
        assert less[0] < less[1] - 2  # what counts most, taken away, costs most


@needs_data
@each_composite
@pytest.mark.parametrize("name", ["mnist", "cifar10", "squeezenet"])
def test_networks_of_the_zoo(name, chosen):
    exhibit = getattr(zoo, name)()
    x = torch.stack(exhibit.inputs[:1])
    if name == "squeezenet" and chosen is COMPOSITES["alpha2-beta1"]:
        x = x.double()  # relevance grows by a factor in each of its layers
        exhibit = type("", (), {"model": copy.deepcopy(exhibit.model).double()})
    holds(exhibit.model, x, chosen)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["bert", "llama", "vit"])
def test_transformers(name, attention):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "attn_implementation": attention,
    }
    x = numbers(2, 5, 16).float()
    if name == "bert":
        config = transformers.BertConfig(vocab_size=50, **size)
        network = transformers.BertForSequenceClassification(config).eval()
        model = lambda x: network(inputs_embeds=x).logits  # noqa: E731 - one line says it
    elif name == "llama":
        config = transformers.LlamaConfig(vocab_size=50, num_key_value_heads=1, **size)
        network = transformers.LlamaForCausalLM(config).eval()
        model = lambda x: network(inputs_embeds=x, use_cache=False).logits[:, -1]  # noqa: E731
    else:
        config = transformers.ViTConfig(image_size=16, patch_size=4, **size)
        network = transformers.ViTForImageClassification(config).eval()
        model, x = lambda x: network(pixel_values=x).logits, numbers(2, 3, 16, 16).float()
    for chosen in (rules.EPSILON, Rules(rules.gamma(), rules.gamma())):
        found = holds(model, x, chosen)
        assert found.values.abs().max() > 0


# Independent packages


def by_zennit(model, x, target, composite):
    one_hot = torch.eye(model(x).shape[1]).to(x)[target]
    with zennit().attribution.Gradient(model, composite) as attribute:
        return attribute(x, lambda output: one_hot * output.detach())[1]


def far(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.oracle
@needs_zennit
def test_zennit_agrees_on_vgg():
    theirs = zennit().composites
    model, x, target = vgg(dtype=torch.float64), numbers(3, 3, 32, 32), torch.tensor([1, 4, 8])
    ends = {"low": torch.full((1, 3, 32, 32), -5.0), "high": torch.full((1, 3, 32, 32), 5.0)}
    for composite, chosen in (
        (theirs.EpsilonPlus(), rules.EPSILON_PLUS),
        (theirs.EpsilonPlusFlat(), rules.EPSILON_PLUS_FLAT),
        (theirs.EpsilonAlpha2Beta1(), rules.ALPHA2_BETA1),
        (theirs.EpsilonAlpha2Beta1Flat(), rules.ALPHA2_BETA1_FLAT),
        (theirs.EpsilonGammaBox(**ends), rules.epsilon_gamma_box(-5.0, 5.0)),
    ):
        found = lrp(logit(model, target), x, rules=chosen).values
        assert far(found, by_zennit(model, x, target, composite)) < 1e-12


class Merged(nn.Module):
    """ResNet-20 without batch normalisation, its sums as zennit wants them."""

    def __init__(self, net, added):
        super().__init__()
        self.conv1, self.linear, self.pool = (
            _merged(net.conv1, net.bn1),
            net.linear,
            nn.AvgPool2d(8),
        )
        self.relu, self.blocks = nn.ReLU(), nn.ModuleList()
        for block in (*net.layer1, *net.layer2, *net.layer3):
            inner = nn.Module()
            inner.conv1 = _merged(block.conv1, block.bn1)
            inner.conv2 = _merged(block.conv2, block.bn2)
            inner.relu1, inner.relu2, inner.sum, inner.more = (
                nn.ReLU(),
                nn.ReLU(),
                added(),
                block.more,
            )
            self.blocks.append(inner)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        for block in self.blocks:
            out = block.conv2(block.relu1(block.conv1(x)))
            if block.more:
                half = block.more // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, block.more - half))
            x = block.relu2(block.sum(torch.stack([out, x], -1)))
        return self.linear(self.pool(x).flatten(1))


def _merged(layer, norm):
    merged = nn.utils.fusion.fuse_conv_bn_eval(layer, norm)
    assert merged.bias is not None
    return merged


@pytest.mark.oracle
@needs_zennit
@needs_data
def test_zennit_agrees_on_a_residual_network():
    package, exhibit = zennit(), zoo.cifar10()
    model = copy.deepcopy(exhibit.model).double()
    x, target = torch.stack(exhibit.inputs[:3]).double(), torch.tensor([3, 5, 1])
    merged = Merged(model, package.layer.Sum).eval()
    prepared = ((x - model.mean) / model.deviation).detach()
    assert torch.allclose(merged(prepared), model(x), atol=1e-12)
    ends = {
        name: ((value - model.mean) / model.deviation).expand(1, 3, 32, 32)
        for name, value in (("low", 0.0), ("high", 1.0))
    }
    theirs = package.composites
    tiny = {"stabilizer": 1e-12}  # or theirs is put on sums and averages too, where ours has none
    gamma, box = rules.gamma(epsilon=1e-12), rules.box(0.0, 1.0, epsilon=1e-12)
    plus, flat = rules.z_plus(epsilon=1e-12), rules.flat(epsilon=1e-12)
    for composite, chosen in (
        (theirs.EpsilonGammaBox(**ends, **tiny), Rules(gamma, rules.epsilon(), box)),
        (theirs.EpsilonPlusFlat(**tiny), Rules(plus, rules.epsilon(), flat)),
    ):
        found = lrp(logit(model, target), x, rules=chosen).values
        assert far(found, by_zennit(merged, prepared, target, composite)) < 1e-8


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    ).double()
    x = numbers(3, 2, 8, 8)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.last = model, nn.Linear(6, 3).double()

        def forward(self, x):
            return self.last(self.features(x).flatten(1))

    whole = Whole().eval()
    found = lrp(logit(whole, 1), x, rules=Rules(rules.epsilon(1e-9), rules.epsilon(1e-9)))
    with pytest.warns(UserWarning, match="gradients"):  # captum speaks of what it sets on x
        theirs, left = attr.LRP(whole).attribute(x, target=1, return_convergence_delta=True)
    assert far(found.values, theirs.detach()) < 1e-6
    assert torch.allclose(found.gap, left.double(), atol=1e-6)
