import linecache
import threading
import time

import pytest
import torch
from torch import nn
from torch.fx import graph_module
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from unmask.internals import record
from unmask.sharing.chain import chain
from unmask.zoo.lenet import LeNet
from unmask.zoo.resnet import ResNet20
from unmask.zoo.squeezenet import SqueezeNet
from unmask.zoo.transformer import TransformerClassifier
from unmask.zoo.vgg import VGG11

NETWORKS = [
    (LeNet, (1, 28, 28)),
    (lambda: VGG11(width=0.125), (3, 32, 32)),
    (ResNet20, (3, 32, 32)),
    (SqueezeNet, (3, 227, 227)),
]


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten()).eval()


@torch.no_grad()
@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_pieces_after_one_another_are_the_model(make, shape):
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(1, *shape)
    found = chain(model)
    assert found is not None
    end = len(found.nodes) - 1
    expected = model(x)
    assert torch.equal(found.piece(None, end)(x.clone()), expected)
    for cut in found.cuts[:-1]:
        inside = found.piece(None, cut)(x.clone())
        assert torch.equal(found.piece(cut, end)(inside), expected), found.name(cut)
    middle = found.cuts[:: max(1, len(found.cuts) // 3)]
    for start, stop in zip((None, *middle), (*middle, end), strict=True):
        x = found.piece(start, stop)(x)
    assert torch.equal(x, expected)


def test_cuts_go_by_the_names_of_layers():
    found = chain(ResNet20().eval())
    assert found is not None
    names = [found.name(place) for place in found.cuts]
    # Within a block two tensors live on, until the shortcut has been added.
    assert "layer1.0.conv1" not in names
    assert [name for name in names if name.startswith("layer1")] == [
        "layer1.0.relu", "layer1.1.relu", "layer1.2.relu"
    ]  # fmt: skip
    assert "conv1" in names


class Twice(nn.Module):
    """Needs its input again at the end."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return (self.conv(self.conv(x)) + x).flatten(1)


def test_a_tensor_that_is_needed_again_forbids_a_cut():
    found = chain(Twice().eval())
    assert found is not None
    assert [found.name(place) for place in found.cuts] == ["add", "flatten"]


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class TwoInputs(nn.Module):
    def forward(self, x, y=None):
        return x.flatten(1)


class TwoOutputs(nn.Module):
    def forward(self, x):
        return {"logits": x.flatten(1)}


class Called(nn.Sequential):
    def __call__(self, x):
        return super().__call__(x) + 1


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x,
        Branching().eval(),
        TwoInputs().eval(),
        TwoOutputs().eval(),
        Called(nn.Flatten()).eval(),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()),  # in training mode
        TransformerClassifier(9, 2).eval(),
    ],
)
def test_what_cannot_be_split_safely_is_not(model):
    assert chain(model) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_compiled_is_not_split():
    assert chain(torch.jit.script(plain())) is None
    assert chain(torch.compile(plain())) is None


def test_hooks_of_users_are_not_bypassed():
    model = plain()
    assert chain(model) is not None
    for layer in (model, model[1]):
        for register in (
            lambda layer: layer.register_forward_hook(lambda *_: None),
            lambda layer: layer.register_forward_pre_hook(lambda *_: None),
            lambda layer: layer.register_full_backward_hook(lambda *_: None),
        ):
            handle = register(layer)
            assert chain(model) is None
            handle.remove()
    with record(model, ["0"]):
        assert chain(model) is None
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert chain(model) is None
    handle.remove()
    model[0].forward = lambda x: x
    assert chain(model) is None
    del model[0].forward
    assert chain(model) is not None


def test_modes_of_users_are_not_bypassed():
    model = plain()
    with TorchFunctionMode():
        assert chain(model) is None
    with FlopCounterMode(display=False):
        assert chain(model) is None


class Noting(nn.Module):
    """Writes on itself, and draws."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x):
        self.calls += 1
        self.last = self.conv(x + torch.rand(1) * 0 + torch.tensor([2.0]))
        self.conv.note = self.last
        return functional.relu(self.last, inplace=True).flatten(1)


def test_tracing_leaves_nothing_behind():
    model = Noting().eval()
    before = [(set(vars(module)), *map(set, (module._parameters,))) for module in model.modules()]
    state = torch.get_rng_state()
    found = chain(model)
    assert found is not None
    assert model.calls == 0
    after = [(set(vars(module)), *map(set, (module._parameters,))) for module in model.modules()]
    assert before == after
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.rand(2, 1, 5, 5)
    with torch.no_grad():
        assert torch.equal(found.piece(None, len(found.nodes) - 1)(x), model(x))


class Cached(nn.Module):
    """Keeps things in lists and dictionaries."""

    def __init__(self):
        super().__init__()
        self.scales, self.seen, self.body = {"by width": {}}, [], plain()

    def forward(self, x):
        if x.shape[-1] not in self.scales["by width"]:
            self.scales["by width"][x.shape[-1]] = torch.ones(1)
        self.seen.append(x)
        return self.body(x)


def test_tracing_leaves_nothing_in_what_a_model_keeps():
    model = Cached().eval()
    assert chain(model) is not None
    assert model.scales == {"by width": {}}
    assert model.seen == []


def test_what_is_run_leaves_no_text_behind():
    found = chain(plain())
    assert found is not None
    before = len(graph_module._loader.eval_cache), len(linecache.cache)
    piece = found.piece(None, found.cuts[-1])
    assert piece(torch.rand(1, 1, 8, 8)).isfinite().all()
    assert (len(graph_module._loader.eval_cache), len(linecache.cache)) == before


class Waiting(nn.Module):
    """While it is traced, another thread does something."""

    def __init__(self, meanwhile, most=0.5):
        super().__init__()
        self.body, self.meanwhile, self.most = plain(), [meanwhile], most

    def forward(self, x):
        other = threading.Thread(target=self.meanwhile[0])
        other.start()
        other.join(self.most)
        return self.body(x)


def test_models_of_other_threads_answer_while_one_is_traced():
    other, x, said = plain(), torch.rand(2, 1, 8, 8), []
    true = other(x)
    model = Waiting(lambda: said.append(other(x)))
    assert chain(model.eval()) is not None
    assert torch.equal(said[0], true)
    model.meanwhile[0] = lambda: said.append(model.body(x))
    found = chain(model)
    assert found is not None
    assert torch.equal(said[1], model.body(x))
    alone = chain(model.body)
    assert alone is not None
    assert len(found.nodes) == len(alone.nodes)


def test_two_threads_trace_one_after_the_other():
    before, found = (nn.Module.__call__, nn.Module.__getattr__), []
    other = Waiting(lambda: time.sleep(1), most=5)  # the first to begin would be the first to end
    model = Waiting(lambda: found.append(chain(other.eval())))
    assert chain(model.eval()) is not None
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(5)
    assert len(found) == 1
    assert found[0] is not None
    assert (nn.Module.__call__, nn.Module.__getattr__) == before
