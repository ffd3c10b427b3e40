import pytest
import torch
from torch import Tensor, nn

from unmask.evaluation.randomization.weights import (
    as_new,
    bottom_up,
    copied,
    layers,
    like_moments,
    one_by_one,
    redrawn,
    top_down,
    walk,
)


def seed(number=0):
    return torch.Generator().manual_seed(number)


class Backwards(nn.Module):
    """Calls its layers in another order than that in which they were made."""

    def __init__(self):
        super().__init__()
        self.c, self.b, self.a = nn.Linear(3, 2), nn.Linear(3, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


class Tied(nn.Module):
    """Two layers with the same weights."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(4, 4), nn.Linear(4, 4)
        self.up.weight = self.down.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.tanh(self.down(x)))


class Positions(nn.Module):
    """Holds a weight of its own beside a layer."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.arange(4.0))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.place)


def test_layers_come_in_the_order_of_their_first_call():
    parts = layers(Backwards(), torch.randn(2, 4, generator=seed()))
    assert tuple(parts) == ("a", "b", "c")
    assert parts["a"] == ("a",)


def test_orders():
    names = ("L1", "L2", "L3")
    assert top_down(names) == [("L3",), ("L2", "L3"), ("L1", "L2", "L3")]
    assert bottom_up(names) == [("L1",), ("L1", "L2"), ("L1", "L2", "L3")]
    assert one_by_one(names) == [("L3",), ("L2",), ("L1",), names]
    assert top_down(("L1",)) == bottom_up(("L1",)) == one_by_one(("L1",)) == [("L1",)]


def test_step_by_step_the_layers_become_the_others():
    model = Backwards()
    parts = layers(model, torch.zeros(1, 4))
    other = redrawn(model, parts, as_new, seed())
    changed = [
        {
            name
            for name, module in mixed.named_children()
            if not torch.equal(module.weight, getattr(model, name).weight)
        }
        for mixed in walk(model, other, parts, one_by_one(tuple(parts)))
    ]
    assert changed == [{"c"}, {"b"}, {"a"}, {"a", "b", "c"}]
    for mixed in walk(model, other, parts, [tuple(parts)]):
        for weight, drawn in zip(mixed.parameters(), other.parameters(), strict=True):
            assert torch.equal(weight, drawn)


def test_the_draw_is_that_of_torch():
    model = nn.Linear(3000, 20)
    other = redrawn(model, layers(model, torch.zeros(1, 3000)), as_new, seed())
    bound = 1 / 3000**0.5  # of torch's own law for a linear layer
    for weight in (other.weight, other.bias):
        assert float(weight.detach().abs().max()) <= bound
    # A uniform law has a spread of bound / sqrt 3; 60,000 draws tell it to half a percent.
    assert float(other.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.01)


def test_drawn_like_moments():
    model = nn.Sequential(nn.Linear(200, 300), nn.BatchNorm1d(300)).eval()
    with torch.no_grad():
        model[0].weight.copy_(5 + 3 * torch.randn(300, 200, generator=seed(1)))
        model[1].running_mean.fill_(7)
        model[1].running_var.fill_(9)
    other = redrawn(model, layers(model, torch.zeros(1, 200)), like_moments, seed())
    # 60,000 draws: 3 / sqrt(60000) = 0.012 is one standard error of the mean.
    assert float(other[0].weight.detach().mean()) == pytest.approx(5, abs=0.06)
    assert float(other[0].weight.detach().std()) == pytest.approx(3, rel=0.02)
    assert torch.equal(other[1].weight, torch.ones(300))  # all were 1: no spread
    assert float(other[1].running_mean.abs().max()) == 0
    assert float(model[1].running_mean.min()) == 7


def test_batch_normalisation_forgets_what_it_has_seen():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False)).eval()
    model[1].running_mean.fill_(7)
    parts = layers(model, torch.zeros(1, 3))
    assert tuple(parts) == ("0", "1")
    other = redrawn(model, parts, as_new, seed())
    assert float(other[1].running_mean.abs().max()) == 0
    (mixed,) = walk(model, other, parts, [("1",)])
    assert float(mixed[1].running_mean.abs().max()) == 0
    assert torch.equal(mixed[0].weight, model[0].weight)


def test_what_is_shared_is_drawn_once_and_stays_shared():
    model = Tied()
    parts = layers(model, torch.zeros(1, 4))
    drawn = []

    def draw(layer, generator):
        drawn.append(layer)
        with torch.no_grad():
            for weight in layer.parameters(recurse=False):
                weight.fill_(len(drawn))

    other = redrawn(model, parts, draw, seed())
    assert other.up.weight is other.down.weight
    assert float(other.up.weight.detach().mean()) == 1
    assert float(other.up.bias.detach().mean()) == 2
    (mixed,) = walk(model, other, parts, [("up",)])
    assert torch.equal(mixed.down.weight, other.up.weight)
    assert torch.equal(mixed.down.bias, model.down.bias)


def test_weights_that_the_module_around_reads_belong_to_it():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attend(x, x, x)[0][:, 0])

    model = Attending().eval()
    parts = layers(model, torch.zeros(1, 3, 4))
    assert dict(parts) == {"attend": ("attend", "attend.out_proj"), "head": ("head",)}
    other = redrawn(model, parts, as_new, seed())
    for name, weight in other.named_parameters():
        if "bias" not in name or name.startswith("head"):  # attention's biases begin at zero
            assert not torch.equal(weight, dict(model.named_parameters())[name]), name


def test_what_nobody_can_draw_is_named():
    model = Positions()
    parts = layers(model, torch.zeros(1, 4))
    assert tuple(parts) == ("", "head")
    with pytest.raises(ValueError, match=r"how these layers are drawn: ''.*like_moments"):
        redrawn(model, parts, as_new, seed())
    with pytest.raises(ValueError, match="'Positions' have no reset_parameters"):
        as_new(model, seed())
    other = redrawn(model, parts, like_moments, seed())
    assert not torch.equal(other.place, model.place)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ValueError, match="holds no parameters"):
        layers(nn.Sequential(nn.ReLU(), nn.Flatten()), torch.zeros(1, 4))


def test_a_model_that_cannot_be_copied_is_refused():
    model = nn.Linear(2, 2)
    model.kept = model.weight * 2  # a part of a graph
    with pytest.raises(ValueError, match="cannot be copied"):
        copied(model)


def test_the_same_generator_gives_the_same_weights_and_the_model_stays():
    model = Backwards()
    before = [weight.clone() for weight in model.parameters()]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = redrawn(model, layers(model, torch.zeros(1, 4)), as_new, seed(1))
        torch.manual_seed(2)
        two = redrawn(model, layers(model, torch.zeros(1, 4)), as_new, seed(1))
    for weight, same in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(weight, same)
    for weight, same in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, same)
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_the_global_generator_is_not_moved_on():
    before = torch.get_rng_state()
    model = nn.Sequential(nn.Linear(3, 3))
    torch.set_rng_state(before)
    redrawn(model, layers(model, torch.zeros(1, 3)), as_new, seed())
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="no"):
        redrawn(model, {"0": ("0",)}, _fails, seed())
    assert torch.equal(torch.get_rng_state(), before)


def _fails(layer, generator):
    raise RuntimeError("no")


@pytest.mark.gpu
def test_every_device_draws_alike():
    model = Backwards()
    here = redrawn(model, layers(model, torch.zeros(1, 4)), as_new, seed())
    model = model.cuda()
    there = redrawn(model, layers(model, torch.zeros(1, 4).cuda()), as_new, seed())
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert other.is_cuda
        assert torch.equal(one, other.cpu())


def test_the_spread_that_is_drawn_is_that_of_the_weights_themselves():
    # Of 1 and 3 the spread is 1, as numbers that are all there are, and not the square root of 2.
    layer = nn.Linear(2, 1, bias=False)
    drawn = []
    for seed in range(400):
        layer.weight.data = torch.tensor([[1.0, 3.0]])
        with torch.no_grad():
            like_moments(layer, torch.Generator().manual_seed(seed))
        drawn.append(layer.weight.data.flatten())
    values = torch.cat(drawn)
    assert float(values.mean()) == pytest.approx(2.0, abs=0.14)  # four standard errors
    assert float(values.std()) == pytest.approx(1.0, abs=0.1)  # four standard errors
