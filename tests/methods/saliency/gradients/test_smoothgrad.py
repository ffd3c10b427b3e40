import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Attribution, log_odds, logit, predicted, zoo
from unmask.methods.saliency import (
    gradient,
    integrated_gradients,
    smoothgrad,
    smoothgrad_squared,
    vargrad,
)

SQUARE = logit(lambda x: x[:, 0] ** 2, 0)
CUBE = logit(lambda x: x[:, 0] ** 3, 0)
ONE = torch.ones(1, 1).double()
METHODS = [smoothgrad, smoothgrad_squared, vargrad]
each = pytest.mark.parametrize("method", METHODS)


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def slow(score, x, sigma, samples, pairs):
    """Mean, mean square and variance of the gradient, a draw and an input at a time."""
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(samples):
        noise = torch.randn(x.shape[1:], generator=generator, dtype=x.dtype)
        here = []
        for i in range(len(x)):
            signs = (1, -1) if pairs else (1,)
            found = []
            for sign in signs:
                point = (x[i] + sign * sigma[i] * noise).clone().requires_grad_()
                rows = torch.tensor([i])
                found.append(torch.autograd.grad(score(point[None], rows).sum(), point)[0])
            here.append(sum(found) / len(found))
        seen.append(torch.stack(here))
    seen = torch.stack(seen)
    return seen.mean(0), seen.square().mean(0), seen.var(0)


@pytest.mark.parametrize("antithetic", [True, False])
def test_the_slow_twins_agree(antithetic):
    model, x = relu_network([5, 16, 3], 0), batch(3, 5)
    score = log_odds(model, torch.tensor([2, 0, 1]))
    sigma = 0.2 * (x.amax(1) - x.amin(1))
    mean, _, variance = slow(score, x, sigma, 12, antithetic)
    found = smoothgrad(score, x, noise=0.2, samples=12 * (1 + antithetic), antithetic=antithetic)
    assert torch.allclose(found.values, mean, atol=1e-12)
    assert torch.allclose(found.errors, (variance / 12).sqrt(), atol=1e-12)
    assert found.evaluations == 3 * 12 * (1 + antithetic)
    _, square, variance = slow(score, x, sigma, 12, False)
    assert torch.allclose(
        smoothgrad_squared(score, x, noise=0.2, samples=12).values, square, atol=1e-12
    )
    assert torch.allclose(vargrad(score, x, noise=0.2, samples=12).values, variance, atol=1e-12)


def test_a_parabola():
    """The gradient 2 x has mean 2, mean square 4 + 4 / 4 and variance 1 at x = 1, sigma = 1/2."""
    options = {"sigma": 0.5, "samples": 40000}
    plain = smoothgrad(SQUARE, ONE, antithetic=False, **options)
    assert abs(plain.values.item() - 2) < 4 * plain.errors.item()
    assert plain.errors.item() == pytest.approx(1 / 200, rel=0.02)
    assert smoothgrad(SQUARE, ONE, **options).values.item() == pytest.approx(2, abs=1e-12)
    squared = smoothgrad_squared(SQUARE, ONE, **options)
    assert abs(squared.values.item() - 5) < 4 * squared.errors.item()
    # Of a normal number the variance of the sample variance is 2 / (n - 1).
    assert abs(vargrad(SQUARE, ONE, **options).values.item() - 1) < 4 * (2 / 40000) ** 0.5


def test_a_cube_is_blurred():
    """The mean of 3 (x + noise)^2 is 3 x^2 + 3 sigma^2."""
    found = smoothgrad(CUBE, ONE, sigma=0.3, samples=20000)
    assert abs(found.values.item() - 3.27) < 4 * found.errors.item()


def test_a_linear_score_has_no_spread():
    linear = logit(nn.Linear(3, 2).double(), 1)
    x = batch(2, 3)
    exact = gradient(linear, x).values
    assert torch.allclose(smoothgrad(linear, x).values, exact, atol=1e-12)
    assert torch.allclose(smoothgrad_squared(linear, x).values, exact**2, atol=1e-12)
    assert vargrad(linear, x).values.abs().max() < 1e-20


def test_an_unused_feature_gets_nothing_and_sums_add_up():
    x = batch(2, 3)
    one, two = logit(lambda x: x[:, 0] ** 3, 0), logit(lambda x: x[:, 0] * x[:, 2], 0)
    both = logit(lambda x: 2 * one(x) - two(x), 0)
    found = [smoothgrad(score, x, samples=8).values for score in (one, two, both)]
    assert torch.allclose(found[2], 2 * found[0] - found[1], atol=1e-12)
    for method in METHODS:
        assert method(both, x).values[:, 1].abs().max() == 0


@each
@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_batches_change_nothing(method, batch_size):
    model, x = relu_network([5, 16, 3], 0), batch(3, 5)
    score = log_odds(model, torch.tensor([2, 0, 1]))
    whole = method(score, x, samples=9)
    parts = method(score, x, samples=9, batch_size=batch_size)
    assert torch.allclose(parts.values, whole.values, atol=1e-12)
    assert parts.evaluations == whole.evaluations


def test_no_more_copies_at_a_time_than_the_batch():
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return x**2

    found = smoothgrad(logit(counted, 0), batch(5, 2), samples=10, batch_size=4)
    assert max(sizes) <= 4
    assert sum(sizes) == found.evaluations == 50


@each
def test_other_methods_can_be_averaged(method):
    model, x = relu_network([5, 16, 3], 0), batch(3, 5)
    score = log_odds(model, torch.tensor([2, 0, 1]))
    plain = method(score, x, samples=6)
    same = method(score, x, samples=6, attribute=gradient, batch_size=4)
    assert torch.allclose(same.values, plain.values, atol=1e-12)
    assert same.evaluations == plain.evaluations

    def integrated(score, x):
        return integrated_gradients(score, x, baseline=torch.zeros(5).double(), steps=4)

    found = method(score, x, samples=6, attribute=integrated)
    alone = method(log_odds(model, 0), x[1:2], samples=6, attribute=integrated)
    assert torch.allclose(found.values[1:2], alone.values, atol=1e-12)
    assert found.evaluations == 3 * 6 * (4 + 2)


def test_an_attribute_without_a_count_counts_its_inputs():
    found = smoothgrad(SQUARE, ONE, sigma=1.0, samples=4, attribute=lambda s, x: Attribution(x))
    assert found.evaluations == 4


def test_draws_end_when_the_errors_are_small():
    model, x = relu_network([5, 16, 3], 0), batch(4, 5)
    score = log_odds(model, torch.tensor([2, 0, 1, 1]))
    spent = []
    for error in (0.5, 0.05, 0.01):
        found = smoothgrad(score, x, error=error, samples=20000)
        assert (found.errors.sum(1) <= error * found.values.abs().sum(1)).all()
        spent.append(found.evaluations)
        alone = smoothgrad(log_odds(model, 1), x[2:3], error=error, samples=20000)
        assert torch.allclose(alone.values, found.values[2:3], atol=1e-12)
    assert 4 * 16 <= spent[0] < spent[1] < spent[2]
    short = smoothgrad(score, x, error=1e-9, samples=20)
    assert short.evaluations == 4 * 20


def test_noise_is_a_share_of_each_inputs_range():
    x = torch.tensor([[0.0, 1.0], [0.0, 10.0]]).double()
    cube = logit(lambda x: (x**3).sum(1), 0)
    both = vargrad(cube, x, noise=0.1, samples=64).values
    for i, sigma in enumerate((0.1, 1.0)):
        assert torch.allclose(
            both[i : i + 1], vargrad(cube, x[i : i + 1], sigma=sigma, samples=64).values
        )


@each
def test_a_generator_decides_and_nothing_else(method):
    model, x = relu_network([5, 16, 3], 0), batch(2, 5)
    score, made = logit(model, 0), lambda seed: torch.Generator().manual_seed(seed)
    first = method(score, x, samples=4, generator=made(1)).values
    assert torch.equal(first, method(score, x, samples=4, generator=made(1)).values)
    assert not torch.equal(first, method(score, x, samples=4, generator=made(2)).values)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(method, dtype):
    model = relu_network([4, 8, 3], seed=0, dtype=dtype)
    x = batch(2, 4).to(dtype)
    found = method(log_odds(model, 1), x).values
    wide = method(log_odds(model.double(), 1), x.double()).values
    assert found.dtype == dtype
    # Eight bits, and noise that is rounded to them before the model sees it.
    assert torch.allclose(found.double(), wide, rtol=0.05, atol=0.05 * float(wide.abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "0 samples"),
        ({"sigma": -1.0}, "size -1.0"),
        ({"noise": -0.1}, "size -0.1"),
        ({"noise": float("nan")}, "size nan"),
        ({"error": 0.0}, "error of 0.0"),
        ({"batch_size": 0}, "batch of 0"),
        ({"x": torch.tensor([[1.0, 2.0], [3.0, 3.0]])}, "Input 1 holds one number"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(options, words):
    given = {"x": batch(2, 2)} | options
    with pytest.raises(ValueError, match=words):
        smoothgrad(logit(lambda x: x.sum(1), 0), given.pop("x"), **given)


def test_a_variance_needs_two_samples():
    with pytest.raises(ValueError, match="1 samples"):
        vargrad(SQUARE, ONE, sigma=1.0, samples=1)
    assert smoothgrad(SQUARE, ONE, sigma=1.0, samples=1, antithetic=False).errors is None


@each
@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(method, name):
    exhibit = getattr(zoo, name)()
    x = torch.stack(exhibit.inputs[:2])
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    flat = x.flatten(1)
    found = method(score, x, samples=8)
    expected = slow(score, x, 0.15 * (flat.amax(1) - flat.amin(1)), 8, False)
    if method is smoothgrad:
        expected = slow(score, x, 0.15 * (flat.amax(1) - flat.amin(1)), 4, True)
    place = [smoothgrad, smoothgrad_squared, vargrad].index(method)
    # In float32, and where a copy is next to a kink rounding may take it to the other side.
    off = (found.values - expected[place]).abs().sum() / expected[place].abs().sum()
    assert off < 1e-3


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("method", "kind"),
    [(smoothgrad, "smoothgrad"), (smoothgrad_squared, "smoothgrad_sq"), (vargrad, "vargrad")],
)
def test_captum_agrees(method, kind):
    attr = pytest.importorskip("captum.attr")
    model, x = relu_network([6, 12, 3], seed=1), batch(2, 6)
    tunnel = attr.NoiseTunnel(attr.Saliency(model))
    samples = 4000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = tunnel.attribute(
            x, nt_type=kind, nt_samples=samples, stdevs=0.3, target=1, abs=False
        )
    score = logit(model, 1)
    ours = method(score, x, sigma=0.3, samples=samples).values
    # Both are sampled: a mean of such draws is off by their spread over the root of their number.
    draws = smoothgrad_squared(score, x, sigma=0.3, samples=samples)
    spread = draws.errors.max() + (vargrad(score, x, sigma=0.3).values / samples).sqrt().max()
    assert torch.allclose(ours, theirs, atol=6 * float(spread))
