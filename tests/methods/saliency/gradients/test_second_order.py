import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import log_odds, logit, loss, predicted, zoo
from unmask.methods.saliency import first_order, gradient, second_order

W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]).double()
PLANE = loss(lambda x: x @ W.T, 0)
X = torch.tensor([[1.0, 0.5]]).double()


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def derivatives(score, x):
    """Gradient and second derivative of one input, row by row."""
    point = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(score(point[None])[0], point, create_graph=True)
    h = torch.stack([torch.autograd.grad(one, point, retain_graph=True)[0] for one in g])
    return g.detach(), h


def slow(g, h, lambda1, lambda2, second=True):
    """Coordinate by coordinate, over and over."""
    h = h if second else torch.zeros_like(h)
    top = float(torch.linalg.eigvalsh(h)[-1]) + lambda2 if second else lambda2
    m = top * torch.eye(len(g)).double() - h
    d = torch.zeros_like(g)
    for _ in range(3000):
        for i in range(len(g)):
            rest = float(g[i] - m[i] @ d + m[i, i] * d[i])
            d[i] = max(abs(rest) - lambda1, 0) * (1 if rest > 0 else -1) / float(m[i, i])
    return d


def tanh_network(seed=0):
    return relu_network([6, 12, 3], seed, kink=nn.Tanh)


def test_the_worked_example():
    found = second_order(PLANE, X, lambda2=1.0)
    assert found.values.tolist() == [pytest.approx([-0.448104, 0.320139], abs=1e-6)]
    found = first_order(PLANE, X, lambda1=0.1, lambda2=1.0)
    assert found.values.tolist() == [pytest.approx([-0.356410, 0.210577], abs=1e-6)]
    g = gradient(PLANE, X).values
    assert g.tolist() == [pytest.approx([-0.456410, 0.310577], abs=1e-6)]


@pytest.mark.parametrize("lambda1", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("make", [tanh_network, lambda: relu_network([6, 12, 3], 0)])
def test_the_slow_twin_agrees(make, lambda1):
    model, x = make(), batch(3, 6)
    target = torch.tensor([2, 0, 1])
    found = second_order(loss(model, target), x, lambda1=lambda1, lambda2=0.5)
    cheap = first_order(loss(model, target), x, lambda1=lambda1, lambda2=0.5)
    for i in range(3):
        g, h = derivatives(loss(model, int(target[i])), x[i])
        assert torch.allclose(found.values[i], slow(g, h, lambda1, 0.5), atol=1e-7)
        assert torch.allclose(cheap.values[i], slow(g, h, lambda1, 0.5, second=False), atol=1e-12)
    assert cheap.evaluations == 3


def test_both_ways_to_know_the_curvature_agree():
    """A network of three outputs is written out, the same with a thousand more is not."""
    model, x = relu_network([6, 12, 3], 0), batch(3, 6)
    target = torch.tensor([2, 0, 1])
    padded = nn.Sequential(model, nn.ConstantPad1d((0, 200), -1e3))
    for options in ({}, {"lambda1": 0.02}, {"nonzero": 0.5}, {"samples": 4}):
        few = second_order(loss(model, target), x, lambda2=0.5, **options)
        many = second_order(loss(padded, target), x, lambda2=0.5, **options)
        assert torch.allclose(few.values, many.values, atol=1e-8)
        assert few.evaluations != many.evaluations


def test_where_the_class_is_certain_both_orders_point_the_same_way():
    model, x = relu_network([6, 12, 3], 0), batch(8, 6)
    sure = nn.Sequential(model, nn.Linear(3, 3, bias=False).double())
    with torch.no_grad():
        sure[1].weight.copy_(30 * torch.eye(3))
    score = loss(sure, predicted(sure, x))
    certain = score(x) < 1e-3
    assert certain.sum() >= 3
    one, two = first_order(score, x).values, second_order(score, x).values
    assert (torch.cosine_similarity(one, two, dim=1)[certain] > 0.99).all()


@pytest.mark.parametrize("method", [first_order, second_order])
@pytest.mark.parametrize("nonzero", [0.2, 0.5, 1.0])
def test_as_many_parts_have_a_value_as_are_wished(method, nonzero):
    model, x = relu_network([20, 16, 3], 0), batch(4, 20)
    score = loss(model, predicted(model, x))
    found = method(score, x, nonzero=nonzero, lambda2=0.5)
    assert (found.values != 0).sum(1).tolist() == [20 * nonzero] * 4


def test_the_first_order_keeps_the_largest_gradients():
    model, x = relu_network([20, 16, 3], 0), batch(4, 20)
    score = loss(model, predicted(model, x))
    g = gradient(score, x).values
    kept = first_order(score, x, nonzero=0.25).values != 0
    for i in range(4):
        assert set(kept[i].nonzero()[:, 0].tolist()) == set(g[i].abs().topk(5).indices.tolist())


def test_noisy_copies_are_averaged_over():
    model, x = tanh_network(), batch(2, 6)
    target = torch.tensor([2, 0])
    found = second_order(loss(model, target), x, samples=3, noise=0.2, lambda2=0.5)
    noise = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(2):
        sigma = 0.2 * (x[i].max() - x[i].min())
        pairs = [derivatives(loss(model, int(target[i])), x[i] + sigma * n) for n in noise]
        g, h = sum(p[0] for p in pairs) / 3, sum(p[1] for p in pairs) / 3
        assert torch.allclose(found.values[i], slow(g, h, 0, 0.5), atol=1e-7)
    cheap = first_order(loss(model, target), x, samples=3, noise=0.2)
    assert cheap.evaluations == 6


@pytest.mark.parametrize("method", [first_order, second_order])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_change_nothing(method, batch_size):
    for model in (tanh_network(), relu_network([6, 12, 3], 0)):
        x = batch(5, 6)
        score = loss(model, torch.tensor([2, 0, 1, 1, 0]))
        whole = method(score, x, lambda1=0.01)
        parts = method(score, x, lambda1=0.01, batch_size=batch_size)
        assert torch.allclose(parts.values, whole.values, atol=1e-10)


def test_an_unused_feature_gets_nothing():
    model = tanh_network()
    with torch.no_grad():
        model[0].weight[:, 2] = 0
    found = second_order(loss(model, 1), batch(3, 6), lambda1=0.01)
    assert found.values[:, 2].abs().max() == 0


def test_a_score_without_curvature_gives_its_gradient():
    linear = logit(nn.Linear(4, 2).double(), 1)
    x = batch(2, 4)
    found = second_order(linear, x, lambda2=2.0).values
    assert torch.allclose(found, gradient(linear, x).values / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lambda2": 0.0}, "lambda2 is 0.0"),
        ({"lambda1": -1.0}, "lambda1 is -1.0"),
        ({"nonzero": 0.0}, "share of 0.0"),
        ({"nonzero": 1.5}, "share of 1.5"),
        ({"samples": 0}, "0 samples"),
        ({"noise": -1.0}, "size -1.0"),
        ({"batch_size": 0}, "batch of 0"),
    ],
)
@pytest.mark.parametrize("method", [first_order, second_order])
def test_bad_wishes_are_refused(method, options, words):
    with pytest.raises(ValueError, match=words):
        method(PLANE, X, **options)


class Attention(nn.Module):
    """The fused kernel of the processor, whose gradient has no gradient."""

    def forward(self, x):
        tokens = x.view(len(x), 1, -1, 1)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


class Once(torch.autograd.Function):
    """A layer whose gradient has no gradient, by its own word."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * slope


class OnceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rest = relu_network([2, 4, 3], 0)

    def forward(self, x):
        return self.rest(Once.apply(x))


def test_models_that_cannot_be_explained_are_refused():
    with pytest.raises(ValueError, match="0 steps"):
        second_order(PLANE, X, steps=0)
    with pytest.raises(ValueError, match="does not depend on x"):
        second_order(logit(lambda x: x.detach(), 0), X)
    for model in (Attention(), OnceFirst()):
        with pytest.raises(ValueError, match=r"differentiated twice.*first_order"):
            second_order(loss(model, 0), X)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x = torch.stack(exhibit.inputs[:4])
    score = loss(exhibit.model, predicted(exhibit.model, x))
    found = second_order(score, x, nonzero=0.2)
    count = x[0].numel()
    assert (found.values != 0).flatten(1).sum(1).tolist() == [round(0.2 * count)] * 4
    # The change that is found raises the loss more than any other of its size that was tried.
    rise = score(x + found.values) - score(x)
    size = found.values.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = torch.randn(x.shape, generator=generator)
        other = size * other / other.flatten(1).norm(dim=1).view(size.shape)
        assert (score(x + other) - score(x) < rise).all()


def test_log_odds_have_a_curvature_too():
    model, x = tanh_network(), batch(2, 6)
    found = second_order(log_odds(model, 1), x, lambda2=0.5)
    for i in range(2):
        g, h = derivatives(log_odds(model, 1), x[i])
        assert torch.allclose(found.values[i], slow(g, h, 0, 0.5), atol=1e-7)
