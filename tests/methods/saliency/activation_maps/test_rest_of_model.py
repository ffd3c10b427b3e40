import pytest
import torch
from torch import nn

from unmask import Score, log_odds, logit
from unmask.internals import edit
from unmask.methods.saliency.activation_maps.rest_of_model import rest_of_model


class Counted(nn.Module):
    """Counts the rows that it sees."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.rows = inner, []

    def forward(self, x):
        self.rows.append(len(x))
        return self.inner(x)


class Residual(nn.Module):
    """A shortcut around the layer `inner`; the ways to write it differ."""

    def __init__(self, write):
        super().__init__()
        self.first = Counted(nn.Conv2d(2, 3, 3, padding=1))
        self.inner, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.last, self.top, self.write = nn.Conv2d(3, 2, 3), nn.Linear(2, 3), write

    def forward(self, x):
        short = self.relu(self.first(x))
        out = self.inner(short)
        if self.write == "in place on the layer":
            out += short
        elif self.write == "in place on the shortcut":
            out = short.add_(out)
        elif self.write == "twice what was kept":
            short *= 2
            out = out + short
        elif self.write == "by the batch":
            out = out + short.view(len(x), 3, *short.shape[2:])
        else:
            out = out + short
        return self.top(self.last(self.relu(out)).mean((2, 3)))


def whole(score, layer, z, x, rows):
    with torch.no_grad(), edit(score.model, {layer: lambda _: z.clone()}):
        return score(x[rows], rows)


def noisy(rest, copies):
    which = torch.arange(copies * len(rest.x)) % len(rest.x)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(which), *rest.output.shape[1:], generator=generator)
    return rest.output[which] + noise.to(rest.output), which


def hooks(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in vars(m))
        for m in model.modules()
    )


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", "7"])
@pytest.mark.parametrize("copies", [1, 3])
def test_the_rest_of_a_chain(convnet, images, layer, copies):
    score = log_odds(convnet(0), torch.tensor([0, 1, 2]))
    rest = rest_of_model(score, images, layer)
    assert rest.before is not None
    assert not rest.reaches
    assert all(made.isnan().all() for _, made in rest.before)
    z, which = noisy(rest, copies)
    with torch.no_grad():
        assert torch.equal(rest(rest.output, torch.arange(3)), rest.values)
        assert torch.allclose(rest(z, which), whole(score, layer, z, images, which), atol=1e-12)
    assert rest.values.tolist() == score(images).tolist()
    assert hooks(score.model) == 0


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("write", "reaches"),
    [
        ("plainly", True),
        ("in place on the layer", True),
        ("in place on the shortcut", None),
        ("twice what was kept", None),
        ("by the batch", True),
    ],
)
def test_shortcuts_past_the_layer(images, number, write, reaches):
    torch.manual_seed(0)
    model = Residual(write).double()
    score, x = logit(model, 1), images[:number]
    rest = rest_of_model(score, x, "inner")
    z, which = noisy(rest, 4)
    expected = whole(score, "inner", z, x, which)
    model.first.rows.clear()
    for _ in range(3):
        with torch.no_grad():
            assert torch.allclose(rest(z, which), expected, atol=1e-12)
    assert (None if rest.before is None else rest.reaches) == reaches
    assert model.first.rows == ([] if rest.before else [4 * number] * 3)
    assert hooks(model) == 0


def test_what_comes_before_runs_once(images):
    first = Counted(nn.Conv2d(2, 3, 3))
    model = nn.Sequential(
        first, nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(96, 2)
    ).double()
    rest = rest_of_model(logit(model, 0), images, "1")
    assert rest.evaluations == 3 + 2 * 3  # once as a whole, and two trials
    z, which = noisy(rest, 5)
    for _ in range(4):
        rest(z, which)
    assert first.rows == [3]


def test_the_gradient_of_the_rest(convnet, images):
    network = convnet(0, hidden=True)
    rest = rest_of_model(logit(network, 0), images, "4")
    z, which = noisy(rest, 2)
    z.requires_grad_()
    found = torch.autograd.grad(rest(z, which).sum(), z)[0]
    expected = torch.autograd.grad(network[5:](z)[:, 0].sum(), z)[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_last_call_of_a_layer_is_replaced(images):
    class Twice(nn.Module):
        def __init__(self, tuples):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True)
            self.pool = nn.MaxPool2d(3, return_indices=tuples)

        def forward(self, x):
            x = self.pool(x)[0] if self.pool.return_indices else self.pool(x)
            x = self.relu(self.conv(self.relu(self.conv(x))))
            return 3 * x.mean((2, 3))

    for tuples in (False, True):  # outputs that are no tensors: the whole model is run
        torch.manual_seed(0)
        rest = rest_of_model(logit(Twice(tuples).double(), 1), images, "relu")
        assert (rest.before is None) == tuples
        z, which = noisy(rest, 2)
        with torch.no_grad():
            assert torch.allclose(rest(z, which), 3 * z[:, 1].mean((1, 2)), atol=1e-12)
        assert hooks(rest.score.model) == 0


def test_a_module_that_acts_inside_another_and_again_after_the_layer(images):
    relu = nn.ReLU()
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(2, 2, 1), relu)
    model = nn.Sequential(block, nn.Conv2d(2, 2, 1), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rest = rest_of_model(logit(model.double(), 0), images, "1")
    assert rest.before is not None
    assert [module for module, _ in rest.before] == [block, model[1]]
    z, which = noisy(rest, 2)
    with torch.no_grad():
        assert torch.allclose(rest(z, which), z[:, 0].clamp_min(0).mean((1, 2)), atol=1e-12)


def test_a_block_that_a_fused_kernel_would_skip():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.Sequential(block, nn.Flatten(), nn.Linear(24, 2)).eval()
    x = torch.randn(2, 3, 8)
    rest = rest_of_model(logit(model, 0), x, "0.linear1")
    z, which = noisy(rest, 3)
    expected = whole(rest.score, "0.linear1", z, x, which)
    with torch.no_grad():
        assert torch.allclose(rest(z, which), expected, atol=1e-6)
        assert not torch.allclose(expected, rest.values[which], atol=1e-2)


def test_failures_leave_the_model_as_it_was(images):
    class Fragile(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.layer = nn.Conv2d(2, 2, 1).double(), nn.ReLU()

        def forward(self, x):
            x = self.layer(self.first(x))
            if x.max() > 1e6:
                raise RuntimeError("too large")
            return x.mean((2, 3))

    model = Fragile()
    model.first.forward = model.first.forward  # one's own, to be put back
    own = model.first.forward
    rest = rest_of_model(logit(model, 0), images, "layer")
    with pytest.raises(RuntimeError, match="too large"):
        rest(1e9 * torch.ones_like(rest.output), torch.arange(3))
    assert model.first.forward is own
    del model.first.forward
    assert hooks(model) == 0
    with pytest.raises(ValueError, match="not in the model"):
        rest_of_model(logit(model, 0), images, "nowhere")
    model.add_module("spare", nn.ReLU())
    with pytest.raises(ValueError, match=r"Layer 'spare' is never called on these inputs. Name"):
        rest_of_model(logit(model, 0), images, "spare")
    score = Score(model, lambda output, rows: output[:, 0] / 0 if rows is None else output[:, 0])
    assert hooks(score.model) == 0


def test_rows_choose_the_class(convnet, images):
    network = convnet(0)
    score = logit(network, torch.tensor([2, 0, 1]))
    rest = rest_of_model(score, images[1:], "4", torch.tensor([1, 2]))
    which = torch.tensor([1, 0, 1])
    with torch.no_grad():
        found = rest(rest.output[which], which)
    assert torch.allclose(found, network(images)[[2, 1, 2], [1, 0, 1]])
