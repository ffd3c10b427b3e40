import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Score, log_odds, logit
from unmask.methods.saliency import integrated_gradients

INTEGERS = "embeddings|parameter 'x'"  # the second where types are checked at run time
RELU = torch.relu
FIXTURES = {
    "linear": (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4), (2, -6, 2)),
    "product": (lambda x: x[:, 0] * x[:, 1], (2, 3), (3, 3)),
    "cubic": (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3), (8, 4)),
    "hinge": (lambda x: RELU(x[:, 0] + x[:, 1] - 1), (1, 1), (0.5, 0.5)),
    "minimum": (lambda x: x[:, 0] - RELU(x[:, 0] - x[:, 1]), (3, 1), (0, 1)),
    "sigmoid": (
        lambda x: torch.sigmoid(5 * x[:, 0] - 2 * x[:, 1]),
        (1, 0.5),
        (0.602517242, -0.120503448),
    ),
    "saturated": (lambda x: 1 - RELU(1 - x[:, 0]), (2,), (1,)),
}


def slow_values(score, x, baseline, nodes):
    """The definition by a fine midpoint sum, one point after the other."""
    total = torch.zeros_like(x)
    for k in range(nodes):
        point = (baseline + (k + 0.5) / nodes * (x - baseline)).clone().requires_grad_()
        total += torch.autograd.grad(score(point).sum(), point)[0] / nodes
    return (x - baseline) * total


def relative(attribution, score, x, baseline):
    change = (score(x) - score(baseline.expand_as(x))).abs().clamp(min=1e-6)
    return (attribution.gap.abs() / change).detach()


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("gap", [None, 1e-4])
@pytest.mark.parametrize("name", FIXTURES)
def test_known_functions(name, gap):
    function, x, expected = FIXTURES[name]
    x = torch.tensor([x]).double()
    score, baseline = logit(function, 0), torch.zeros(x.shape[1]).double()
    found = integrated_gradients(score, x, baseline=baseline, gap=gap)
    assert found.values.tolist() == [pytest.approx(expected, abs=1e-7 if gap is None else 1e-3)]
    assert relative(found, score, x, baseline) < (gap or 1e-12)


def test_a_smooth_score_needs_few_nodes():
    function, x, _ = FIXTURES["sigmoid"]
    x, baseline = torch.tensor([x]).double(), torch.zeros(2).double()
    gaps = [
        float(integrated_gradients(logit(function, 0), x, baseline=baseline, steps=n).gap)
        for n in (4, 8, 16)
    ]
    assert abs(gaps[0]) == pytest.approx(4.5e-5, rel=0.05)
    assert abs(gaps[1]) == pytest.approx(5.4e-9, rel=0.05)
    assert abs(gaps[2]) < 1e-14


def test_polynomials_are_exact():
    function, x, expected = FIXTURES["cubic"]
    x, baseline = torch.tensor([x]).double(), torch.zeros(2).double()
    found = integrated_gradients(logit(function, 0), x, baseline=baseline, steps=2)
    assert found.values.tolist() == [pytest.approx(expected, abs=1e-13)]


@settings(max_examples=15)
@given(networks(inputs=4), tensors(2, 4), tensors(4), st.sampled_from([None, 1e-3]))
def test_values_follow_the_definition(model, x, baseline, gap):
    smooth = nn.Sequential(model, nn.Tanh())
    found = integrated_gradients(logit(smooth, 0), x, baseline=baseline, gap=gap)
    expected = slow_values(logit(smooth, 0), x, baseline.expand_as(x), 100)
    size = 1 + expected.abs().sum()
    assert torch.allclose(found.values, expected, atol=0.03 * size)


@pytest.mark.parametrize("gap", [0.05, 0.01, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_the_wanted_gap_is_met(seed, gap):
    model = relu_network([8, 32, 32, 3], seed)
    x, baseline = batch(6, 8, seed), torch.zeros(8).double()
    score = log_odds(model, torch.tensor([0, 1, 2, 0, 1, 2]))
    found = integrated_gradients(score, x, baseline=baseline, gap=gap, error=gap, steps=4096)
    change = score(x) - score(baseline.expand_as(x))
    left = change - found.values.sum(1)
    assert torch.allclose(left.detach(), found.gap, atol=1e-12)
    assert (relative(found, score, x, baseline) <= gap).all()
    fine = slow_values(score, x, baseline.expand_as(x), 1000)
    error = (found.values - fine).abs().sum(1) / fine.abs().sum(1)
    assert (error < 4 * gap).all()  # of single inputs; on average they are expected to be gap


def test_a_smaller_gap_takes_more_points_and_no_more_than_allowed():
    model, x = relu_network([8, 32, 32, 3], 0), batch(4, 8)
    score = logit(model, 0)
    points = [
        integrated_gradients(score, x, baseline=torch.zeros(8).double(), gap=gap).evaluations
        for gap in (0.3, 0.1, 0.01)
    ]
    assert 4 * 5 <= points[0] <= points[1] < points[2] <= 4 * 25
    short = integrated_gradients(score, x, baseline=torch.zeros(8).double(), gap=1e-9, steps=7)
    assert short.evaluations == 4 * 7
    off = short.errors.sum(1) / short.values.abs().sum(1)
    assert (off > 1e-9).all()


@given(networks(inputs=3), tensors(2, 3), tensors(3))
def test_completeness_against_the_score_itself(model, x, baseline):
    score = logit(nn.Sequential(model, nn.Tanh()), 1)
    found = integrated_gradients(score, x, baseline=baseline, gap=0.01)
    change = (score(x) - score(baseline.expand_as(x))).detach()
    assert torch.allclose(change - found.values.sum(1), found.gap, atol=1e-10)
    enough = found.gap.abs() <= 0.01 * change.abs() + 1e-12
    assert enough.all() or found.evaluations > 2 * 5


@given(networks(inputs=3), tensors(2, 3), tensors(3), st.sampled_from([None, 0.1]))
def test_an_unused_feature_gets_nothing(model, x, baseline, gap):
    score = logit(lambda x: model(torch.cat([x[:, :1], torch.zeros_like(x[:, 1:])], 1)), 0)
    found = integrated_gradients(score, x, baseline=baseline, gap=gap, steps=8)
    assert found.values[:, 1:].abs().max() == 0


@given(networks(inputs=2), tensors(2, 1), st.sampled_from([None, 0.1]))
def test_features_that_can_be_swapped_get_the_same(model, x, gap):
    x = x.expand(2, 2)
    score = logit(lambda x: model(x) + model(x.flip(1)), 0)
    found = integrated_gradients(score, x, baseline=torch.zeros(2).double(), gap=gap, steps=8)
    assert torch.allclose(found.values[:, 0], found.values[:, 1], atol=1e-9)


@given(networks(inputs=3), networks(inputs=3), tensors(2, 3))
def test_values_are_linear_in_the_score(one, two, x):
    baseline = torch.ones(3).double()
    found = [
        integrated_gradients(logit(f, 0), x, baseline=baseline, steps=8).values
        for f in (one, two, lambda x: 2 * one(x) - 3 * two(x))
    ]
    assert torch.allclose(found[2], 2 * found[0] - 3 * found[1], atol=1e-8)


def test_a_single_feature_that_makes_the_difference_gets_it_all():
    x, baseline = torch.tensor([[2.0, 7.0]]), torch.tensor([0.0, 7.0])
    score = logit(lambda x: (1 - RELU(1 - x[:, 0])) * x[:, 1], 0)
    found = integrated_gradients(score, x, baseline=baseline, gap=1e-4)
    assert found.values.tolist() == [pytest.approx([7, 0], rel=1e-3)]


@pytest.mark.parametrize("gap", [None, 0.01])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
def test_batching_changes_nothing(gap, batch_size):
    model, x = relu_network([8, 32, 3], 1), batch(5, 8, 1)
    score = log_odds(model, torch.tensor([2, 0, 1, 1, 0]))
    whole = integrated_gradients(score, x, baseline=torch.zeros(8), gap=gap)
    parts = integrated_gradients(score, x, baseline=torch.zeros(8), gap=gap, batch_size=batch_size)
    assert torch.allclose(whole.values, parts.values, rtol=1e-9, atol=1e-12)
    assert torch.allclose(whole.gap, parts.gap, rtol=1e-6, atol=1e-12)
    assert whole.evaluations == parts.evaluations


@pytest.mark.parametrize("gap", [None, 0.01])
def test_a_batch_is_its_inputs_one_by_one(gap):
    model, x = relu_network([8, 32, 3], 2), batch(3, 8, 2)
    target = torch.tensor([2, 0, 1])
    whole = integrated_gradients(log_odds(model, target), x, baseline=torch.zeros(8), gap=gap)
    alone = [
        integrated_gradients(
            log_odds(model, int(target[i])), x[i : i + 1], baseline=torch.zeros(8), gap=gap
        )
        for i in range(3)
    ]
    assert torch.allclose(whole.values, torch.cat([one.values for one in alone]), rtol=1e-9)
    assert whole.evaluations == sum(one.evaluations for one in alone)


@pytest.mark.parametrize("gap", [None, 1e-4])
@pytest.mark.parametrize("batch_size", [None, 2, 9])
def test_no_more_points_at_a_time_than_the_batch(gap, batch_size):
    sizes = []
    model = relu_network([8, 32, 3], 2)

    def counted(x):
        sizes.append(len(x))
        return model(x)

    found = integrated_gradients(
        logit(counted, 0), batch(4, 8), baseline=torch.zeros(8), gap=gap, batch_size=batch_size
    )
    assert max(sizes) <= (batch_size or 2048)
    assert sum(sizes) == found.evaluations


def test_the_fixed_rule_counts_its_points():
    found = integrated_gradients(
        logit(lambda x: x.sum(1), 0), batch(3, 2), baseline=torch.zeros(2), steps=10
    )
    assert found.evaluations == 3 * (10 + 2)


@pytest.mark.parametrize("gap", [None, 0.01])
def test_a_set_of_baselines_is_averaged_over(gap):
    model, x = relu_network([8, 32, 3], 3), batch(2, 8)
    backgrounds = batch(3, 8, seed=9)
    score = logit(model, 0)
    found = integrated_gradients(score, x, baseline=backgrounds, gap=gap)
    alone = [integrated_gradients(score, x, baseline=b, gap=gap) for b in backgrounds]
    assert torch.allclose(found.values, sum(one.values for one in alone) / 3, rtol=1e-9)
    assert torch.allclose(found.gap, sum(one.gap for one in alone) / 3, atol=1e-10)


@pytest.mark.parametrize("gap", [None, 0.01])
def test_an_input_that_is_the_baseline_gets_nothing(gap):
    x = torch.tensor([[1.0, 2.0], [0.0, 2.0]])
    score = logit(lambda x: x[:, 0] * x[:, 1], 0)
    found = integrated_gradients(score, x, baseline=torch.tensor([1.0, 2.0]), gap=gap)
    assert found.values[0].tolist() == [0, 0]
    assert found.gap[0] == 0
    assert found.values[1, 0] == pytest.approx(-2, rel=0.02)


@pytest.mark.parametrize("gap", [None, 0.02])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_have_the_type_of_the_input_and_are_summed_in_a_wider_one(dtype, gap):
    x = torch.tensor([[2.0, 3.0]], dtype=dtype)
    score = logit(lambda x: x[:, 0] * x[:, 1], 0)
    found = integrated_gradients(score, x, baseline=torch.zeros(2), gap=gap, steps=100)
    assert found.values.dtype == dtype
    assert found.values[0].tolist() == pytest.approx([3, 3], rel=0.01)


@pytest.mark.parametrize("gap", [None, 0.1])
def test_images_keep_their_shape(gap):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    x, black = batch(5, 48).view(5, 3, 4, 4).float(), torch.zeros(3, 4, 4)
    found = integrated_gradients(logit(model.eval(), 0), x, baseline=black, gap=gap, steps=9)
    assert found.values.shape == x.shape
    assert found.gap.shape == (5,)


@pytest.mark.parametrize("gap", [None, 0.1])
def test_nothing_is_left_behind(gap):
    model = relu_network([4, 8, 3], seed=0)
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    x, baseline = batch(2, 4).requires_grad_(), batch(1, 4, 5)[0].requires_grad_()
    before = x.detach().clone(), baseline.detach().clone()
    found = integrated_gradients(logit(model, 0), x, baseline=baseline, gap=gap)
    assert not found.values.requires_grad
    assert not found.gap.requires_grad
    assert x.grad is None
    assert baseline.grad is None
    assert torch.equal(x, before[0])
    assert torch.equal(baseline, before[1])
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("gap", [None, 0.1])
def test_nothing_is_left_behind_by_a_model_that_fails_half_way(gap):
    model = relu_network([4, 8, 3], seed=0)
    calls = []

    def read(output, rows):
        calls.append(len(output))
        if len(calls) == 2:
            raise RuntimeError("out of paper")
        return output[:, 0]

    with pytest.raises(RuntimeError, match="out of paper"):
        integrated_gradients(
            Score(model, read), batch(2, 4), baseline=torch.zeros(4), gap=gap, batch_size=2
        )
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"baseline": torch.zeros(3)}, ValueError, r"shape \(3,\).*\(2,\)"),
        ({"baseline": torch.tensor([0.0, float("nan")])}, ValueError, "baseline must be finite"),
        ({"steps": 0}, ValueError, "0 nodes"),
        ({"steps": 1, "gap": 0.1}, ValueError, "1 nodes"),
        ({"gap": 0.0}, ValueError, "gap of 0.0"),
        ({"error": -1.0}, ValueError, "error of -1.0"),
        ({"gap": float("nan")}, ValueError, "gap of nan"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"x": torch.tensor([[1, 2]])}, TypeError, INTEGERS),
        ({"x": torch.zeros(0, 2)}, ValueError, "empty"),
        ({"x": torch.tensor([[1.0, float("inf")]])}, ValueError, r"inf at index \(0, 1\)"),
    ],
)
def test_what_cannot_be_integrated_is_refused(options, error, words):
    given = {"x": torch.ones(2, 2), "baseline": torch.zeros(2)} | options
    with pytest.raises(error, match=words):
        integrated_gradients(logit(lambda x: x.sum(1), 0), given.pop("x"), **given)


def test_models_that_cannot_be_integrated_are_refused():
    x, baseline = torch.ones(2, 2), torch.zeros(2)
    with pytest.raises(ValueError, match="does not depend on x"):
        integrated_gradients(logit(lambda x: torch.ones(len(x)), 0), x, baseline=baseline)
    with pytest.raises(ValueError, match=r"batch normalisation in training.*eval"):
        integrated_gradients(
            logit(nn.Sequential(nn.BatchNorm1d(2)).train(), 0), x, baseline=baseline
        )
    with pytest.raises(ValueError, match=r"of 3 inputs.*holds 2"):
        integrated_gradients(
            logit(nn.Linear(2, 2).eval(), torch.tensor([0, 1, 1])), x, baseline=baseline
        )


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model = relu_network([6, 12, 3], seed=1)
    x, baseline = batch(4, 6, 2), batch(1, 6, 3)
    target = torch.tensor([0, 2, 1, 1])
    theirs, left = attr.IntegratedGradients(model).attribute(
        x, baseline, target=target, n_steps=64, return_convergence_delta=True
    )
    ours = integrated_gradients(logit(model, target), x, baseline=baseline[0])
    assert torch.allclose(ours.values, theirs, atol=1e-12)
    assert torch.allclose(ours.gap, -left, atol=1e-12)  # captum counts from the other end


@pytest.mark.parametrize("gap", [None, 0.01])
def test_inputs_of_a_single_number(gap):
    x = torch.tensor([1.0, 2.0, 3.0])
    found = integrated_gradients(logit(lambda x: x**2, 0), x, baseline=torch.tensor(0.0), gap=gap)
    assert found.values.tolist() == pytest.approx([1, 4, 9], rel=0.01)
    assert found.gap.shape == (3,)


@pytest.mark.parametrize("gap", [None, 0.01])
def test_tensors_from_inference_and_odd_layouts(gap):
    model = relu_network([4, 8, 3], seed=0)
    x = batch(4, 3).T.contiguous().T[:3].repeat(1, 2)[:, :4]
    expected = integrated_gradients(logit(model, 0), x.contiguous(), baseline=x[0], gap=gap).values
    with torch.inference_mode():
        found = integrated_gradients(logit(model, 0), x.clone(), baseline=x[0].clone(), gap=gap)
    assert torch.allclose(found.values, expected, rtol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("gap", [None, 0.01])
def test_values_stay_on_their_device(gap):
    model, x = relu_network([8, 32, 3], 0), batch(5, 8)
    score, target = log_odds, torch.tensor([0, 1, 2, 0, 1])
    expected = integrated_gradients(score(model, target), x, baseline=torch.zeros(8), gap=gap)
    model, x = model.cuda(), x.cuda()
    found = integrated_gradients(score(model, target), x, baseline=torch.zeros(8).cuda(), gap=gap)
    assert found.values.is_cuda
    assert torch.allclose(found.values.cpu(), expected.values, rtol=1e-6, atol=1e-9)
    assert found.evaluations == expected.evaluations
