import pytest
import torch

from strategies import relu_network
from unmask import log_odds, logit, predicted, zoo
from unmask.methods.saliency import expected_gradients, integrated_gradients, shapley_exact


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def slow(score, x, backgrounds, alpha, chosen, noise):
    """The values at given places, one after the other."""
    found = []
    for k in range(len(alpha)):
        step = x - backgrounds[chosen[k]]
        point = backgrounds[chosen[k]] + alpha[k] * step + noise[k]
        point = point.clone().requires_grad_()
        found.append(step * torch.autograd.grad(score(point).sum(), point)[0])
    return torch.stack(found)


def test_the_slow_twin_agrees():
    model, x, backgrounds = relu_network([5, 16, 3], 0), batch(3, 5), batch(4, 5, 1)
    score = log_odds(model, torch.tensor([2, 0, 1]))
    generator = torch.Generator().manual_seed(3)
    alpha = (torch.arange(10) + torch.rand(10, dtype=torch.float64, generator=generator)) / 10
    chosen = torch.cat([torch.randperm(4, generator=generator) for _ in range(3)])[:10]
    noise = [torch.randn(5, dtype=torch.float64, generator=generator) * 0.1 for _ in range(10)]
    found = expected_gradients(
        score, x, baseline=backgrounds, samples=10, noise=0.1,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    expected = slow(score, x, backgrounds, alpha, chosen, noise)
    assert torch.allclose(found.values, expected.mean(0), atol=1e-12)
    # Half the mean squared difference of neighbours is the variance of one of ten.
    variance = sum((expected[k + 1] - expected[k]) ** 2 for k in range(9)) / 9 / 2
    assert torch.allclose(found.errors, (variance / 10).sqrt(), atol=1e-12)
    ends = torch.stack([score(b.expand_as(x)).detach() for b in backgrounds]).mean(0)
    assert torch.allclose(found.gap, score(x).detach() - ends - found.values.sum(1), atol=1e-12)
    assert found.evaluations == 3 * 10 + 3 + 4


def test_a_plane_is_exact_when_every_background_comes_as_often():
    """Backgrounds 0 and 2: the mean step is (0, 1, 3), times the slopes 2, -3 and 1/2."""
    plane = logit(lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, 0)
    x = torch.tensor([[1.0, 2.0, 4.0]]).double()
    backgrounds = torch.tensor([[0.0] * 3, [2.0] * 3]).double()
    found = expected_gradients(plane, x, baseline=backgrounds, samples=20)
    assert found.values.tolist() == [pytest.approx([0, -3, 1.5], abs=1e-12)]
    assert abs(found.gap.item()) < 1e-12


def test_a_hinge():
    hinge = logit(lambda x: torch.relu(x[:, 0] + x[:, 1] - 1), 0)
    x = torch.ones(1, 2).double()
    found = expected_gradients(hinge, x, baseline=torch.zeros(2), samples=2000)
    # One place in each part: only the part that the kink lies in is left to chance.
    assert found.values.tolist() == [pytest.approx([0.5, 0.5], abs=1 / 2000)]


def test_of_a_multilinear_score_it_is_the_shapley_value():
    from unmask import features, masked

    score = logit(lambda x: x[:, 0] * x[:, 1] * x[:, 2] - 2 * x[:, 1] * x[:, 3] + x[:, 0], 0)
    x, background = batch(1, 4), batch(1, 4, 1)[0]
    found = expected_gradients(score, x, baseline=background, samples=4000)
    exact = shapley_exact(masked(score, x[0], features(4), background)).values
    assert torch.allclose(found.values, exact.double(), atol=1e-3)


def test_standard_errors_are_met():
    """The values of many generators scatter no more than their standard errors say."""
    model, x, backgrounds = relu_network([5, 16, 3], 0), batch(1, 5), batch(4, 5, 1)
    score = logit(model, 0)
    found = [
        expected_gradients(
            score, x, baseline=backgrounds, samples=40,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(60)
    ]  # fmt: skip
    scatter = torch.stack([one.values for one in found]).std(0)
    errors = torch.stack([one.errors for one in found]).mean(0)
    assert (scatter < 1.3 * errors).all()
    exact = integrated_gradients(score, x, baseline=backgrounds, steps=800).values
    mean = torch.stack([one.values for one in found]).mean(0)
    assert (((mean - exact) / errors).abs() < 4 / 60**0.5).all()


def test_even_places_are_better_than_chance():
    model, x = relu_network([5, 16, 3], 0), batch(8, 5)
    score, zero = logit(model, 0), torch.zeros(5).double()
    found = expected_gradients(score, x, baseline=zero, samples=64)
    change = (score(x) - score(zero.expand_as(x))).detach()
    assert (found.gap.abs() < 0.1 * change.abs().clamp_min(0.1)).all()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_batches_change_nothing(batch_size, noise):
    model, x, backgrounds = relu_network([5, 16, 3], 0), batch(3, 5), batch(4, 5, 1)
    score = log_odds(model, torch.tensor([2, 0, 1]))
    whole = expected_gradients(score, x, baseline=backgrounds, samples=11, noise=noise)
    parts = expected_gradients(
        score, x, baseline=backgrounds, samples=11, noise=noise, batch_size=batch_size
    )
    for name in ("values", "gap", "errors"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)


def test_an_unused_feature_gets_nothing_and_sums_add_up():
    x, background = batch(2, 3), batch(2, 3, 1)
    one, two = logit(lambda x: x[:, 0] ** 3, 0), logit(lambda x: x[:, 0] * x[:, 2], 0)
    both = logit(lambda x: 2 * one(x) - two(x), 0)
    found = [
        expected_gradients(score, x, baseline=background, samples=8).values
        for score in (one, two, both)
    ]
    assert torch.allclose(found[2], 2 * found[0] - found[1], atol=1e-12)
    assert found[2][:, 1].abs().max() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, "1 samples"),
        ({"noise": -1.0}, "size -1.0"),
        ({"batch_size": 0}, "batch of 0"),
        ({"baseline": torch.zeros(0, 2)}, "empty"),
        ({"baseline": torch.zeros(3)}, r"\(3,\)"),
    ],
)
def test_bad_wishes_are_refused(options, words):
    given = {"baseline": torch.zeros(2)} | options
    with pytest.raises(ValueError, match=words):
        expected_gradients(logit(lambda x: x.sum(1), 0), torch.ones(2, 2), **given)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x, backgrounds = torch.stack(exhibit.inputs[:3]), torch.stack(exhibit.inputs[10:14])
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = expected_gradients(score, x, baseline=backgrounds, samples=400)
    exact = integrated_gradients(score, x, baseline=backgrounds, steps=200)
    off = (found.values - exact.values).flatten(1).abs().sum(1)
    assert (off < found.errors.flatten(1).sum(1)).all()


@pytest.mark.oracle
def test_captum_and_shap_agree():
    attr, shap = pytest.importorskip("captum.attr"), pytest.importorskip("shap")
    model, x, backgrounds = relu_network([6, 12, 3], seed=1), batch(2, 6, 2), batch(5, 6, 3)
    samples = 4000
    ours = expected_gradients(logit(model, 1), x, baseline=backgrounds, samples=samples)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        captum = attr.GradientShap(model).attribute(
            x, backgrounds, n_samples=samples, stdevs=0.0, target=1
        )
    explainer = shap.GradientExplainer(model.float(), backgrounds.float())
    theirs = torch.tensor(explainer.shap_values(x.float(), nsamples=samples, rseed=0))[..., 1]
    # They draw at random, places and backgrounds alike; ours is nearly exact beside them.
    step = (x[:, None] - backgrounds).abs().amax(1)
    spread = step * model[0].weight.abs().sum() / samples**0.5
    for found in (captum, theirs.double()):
        assert ((ours.values - found).abs() < 5 * spread).all()
        off = (ours.values - found).abs().sum() / ours.values.abs().sum()
        assert off < 0.05  # of 4,000 draws
