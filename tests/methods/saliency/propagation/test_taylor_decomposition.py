import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from propagated import numbers
from strategies import relu_network
from unmask import log_odds, logit, margin, zoo
from unmask.methods.saliency import deep_taylor, lrp, taylor_decomposition
from unmask.methods.saliency.propagation import rules
from unmask.methods.saliency.propagation.rules import Rules

ADDED = (1.0, -2.0, 0.5)


def neuron(bias=0.0):
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -1.0]]))
        model.bias.fill_(bias)
    return model


def linear(x):
    return x @ torch.tensor(ADDED).to(x)[:, None] + 0.25


def test_one_neuron():
    x = torch.tensor([[1.0, 2.0]]).double()
    found = taylor_decomposition(logit(neuron(), 0), x)
    assert found.values[0].tolist() == pytest.approx((0.9, 0.1), abs=1e-12)
    assert float(found.gap) == pytest.approx(0, abs=1e-12)


def test_simple_and_deep_agree_on_a_neuron():
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.2, 0.1]]).double()
    score = logit(neuron(), 0)
    simple = taylor_decomposition(score, x).values
    deep = deep_taylor(score, x).values
    assert torch.allclose(simple, deep, rtol=1e-5)  # the deep one keeps an epsilon of 1e-6


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_a_linear_score_is_shared_by_the_squares_of_its_weights(x):
    x = torch.tensor([x]).double()
    found = taylor_decomposition(logit(linear, 0), x)
    w = torch.tensor(ADDED).double()
    expected = w**2 / w.square().sum() * linear(x)
    assert torch.allclose(found.values, expected, atol=1e-10)
    assert (found.gap.abs() < 1e-10).all()


def test_the_root_is_the_nearest_in_a_direction_that_curves():
    score = logit(lambda x: x.square().sum(1, keepdim=True) - 1, 0)
    x = torch.tensor([[2.0, 0.0], [0.0, -3.0], [3.0, 4.0]]).double()
    found = taylor_decomposition(score, x)
    root = x / x.norm(dim=1, keepdim=True)  # the nearest of the circle
    assert torch.allclose(found.values, 2 * root * (x - root), rtol=1e-8)
    left = x.square().sum(1) - 1 - (2 * root * (x - root)).sum(1)
    assert torch.allclose(found.gap, left, rtol=1e-8)


def test_a_step_over_the_root_is_taken_back():
    score = logit(lambda x: torch.tanh(3 * x) + 0.5, 0)
    x = torch.tensor([[1.0]]).double()  # Newton's first step leads far below
    found = taylor_decomposition(score, x)
    root = torch.atanh(torch.tensor(-0.5, dtype=torch.float64)) / 3
    assert float(found.values) == pytest.approx(float(3 * 0.75 * (1 - root)), rel=1e-9)


def test_a_kink_at_the_root_has_the_slope_on_the_side_of_the_input():
    score = logit(lambda x: torch.relu(x.sum(1, keepdim=True) - 1), 0)
    found = taylor_decomposition(score, torch.tensor([[1.0, 1.0]]).double())
    assert found.values[0].tolist() == pytest.approx((0.5, 0.5))
    assert float(found.gap) == pytest.approx(0, abs=1e-9)


def test_near_a_root_it_is_the_gradient_times_the_input():
    model = relu_network([4, 6, 3], 0)
    for layer in model[::2]:
        nn.init.zeros_(layer.bias)
    x = numbers(3, 4)
    root = 1e-9 * x  # of a homogeneous score
    found = taylor_decomposition(logit(model, 0), x, root=root)
    point = x.clone().requires_grad_()
    gradient = torch.autograd.grad(model(point)[:, 0].sum(), point)[0]
    assert torch.allclose(found.values, x * gradient, rtol=1e-6, atol=1e-9)


def test_a_given_root_is_used_as_it_is():
    x = torch.tensor([[2.0, 3.0], [1.0, 1.0]]).double()
    score = logit(lambda x: x[:, :1] * x[:, 1:], 0)
    one = taylor_decomposition(score, x, root=torch.tensor([0.0, 1.0]).double())
    assert one.values.tolist() == [[2.0, 0.0], [1.0, 0.0]]
    assert one.gap.tolist() == [4.0, 0.0]
    each = taylor_decomposition(score, x, root=torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double())
    assert each.values.tolist() == [[2.0, 0.0], [0.0, 1.0]]


def test_bounds_hold_the_root():
    x = torch.tensor([[1.0, 2.0]]).double()
    score = logit(neuron(), 0)
    found = taylor_decomposition(score, x, low=0.0, high=torch.tensor([1.0, 2.5]).double())
    # From (1, 2) along (-3, 1): the bounds let it go to (2.1, 0.7)/3, which is a root.
    assert found.values[0].tolist() == pytest.approx((0.9, 0.1), abs=1e-9)
    found = taylor_decomposition(score, x, low=torch.tensor([0.8, 0.0]).double(), high=9.0)
    root = (x - found.values / torch.tensor([3.0, -1.0])).squeeze(0)
    assert root[0] >= 0.8 - 1e-9
    assert float(3 * root[0] - root[1]) == pytest.approx(0, abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 500))
def test_the_point_that_is_found_is_a_root(seed):
    model = relu_network([4, 8, 3], seed)
    score, x = margin(model, 0, 1), 3 * numbers(5, 4, seed=seed)
    try:
        found = taylor_decomposition(score, x)
    except ValueError as refused:
        assert "No root" in str(refused)  # noqa: PT017 - some networks prefer a class everywhere
        return
    nudged = taylor_decomposition(score, x, batch_size=2)
    assert torch.allclose(found.values, nudged.values, atol=1e-9)
    assert found.evaluations == nudged.evaluations
    total = score(x).detach() - found.values.sum(1)
    assert torch.allclose(total, found.gap, atol=1e-10)


@pytest.mark.parametrize(
    ("score", "options", "words"),
    [
        (logit(lambda x: x.square().sum(1, keepdim=True) + 1, 0), {}, r"No root.*input 0.*sign"),
        (logit(neuron(), 0), {"low": 2.0, "high": 3.0}, "No root"),
        (logit(neuron(), 0), {"low": 3.0, "high": 1.0}, "lowest value first"),
        (logit(neuron(), 0), {"steps": 0}, "Give at least 1"),
        (logit(neuron(), 0), {"batch_size": 0}, "Give at least 1"),
        (logit(neuron(), 0), {"root": torch.zeros(3).double()}, "shaped like one input"),
        (logit(neuron(), 0), {"root": torch.full((2,), torch.nan).double()}, "must be finite"),
        (logit(lambda x: torch.relu(x.sum(1, keepdim=True) - 9) + 1, 0), {}, "slope vanished"),
        (logit(neuron(), torch.tensor([0, 0])), {}, "one class per input"),
    ],
)
def test_wrong_calls_are_refused(score, options, words):
    with pytest.raises(ValueError, match=words):
        taylor_decomposition(score, torch.tensor([[2.0, 0.5]]).double(), **options)


def test_deep_taylor_is_a_choice_of_rules():
    model, x = relu_network([4, 6, 5, 3], 0), numbers(3, 4).sigmoid()
    score = logit(model, torch.tensor([0, 1, 2]))
    plus = rules.z_plus()
    boxed = Rules(plus, plus, first=rules.box(0.0, 1.0))
    squared = Rules(plus, plus, first=rules.w_square())
    for found, chosen in (
        (deep_taylor(score, x, low=0.0, high=1.0, batch_size=2), boxed),
        (deep_taylor(score, x), squared),
    ):
        assert torch.equal(found.values, lrp(score, x, rules=chosen).values)
    for given_ in ({"low": 0.0}, {"high": 1.0}):
        with pytest.raises(ValueError, match="both low and high"):
            deep_taylor(score, x, **given_)
    with pytest.raises(ValueError, match="box reaches"):
        deep_taylor(score, x, low=0.0, high=0.1)


def test_deep_taylor_hands_on_everything_and_nothing_below_zero():
    """As in the paper: no bias above zero, and a score above zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU())
    model = model.append(nn.Linear(20, 1)).double()
    for layer in model[::2]:
        nn.init.constant_(layer.bias, -0.01)
    nn.init.uniform_(model[4].weight)
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0)).double()
    score = logit(model, 0)
    assert (score(x) > 0).all()
    for options in ({}, {"low": 0.0, "high": 1.0}):
        found = deep_taylor(score, x, **options)
        assert (found.values >= 0).all()
        assert (found.gap.abs() < 1e-3 * score(x)).all()  # an epsilon of 1e-6 in each layer


def test_digits():
    exhibit = zoo.digits()
    x = torch.stack(exhibit.inputs[:5])
    score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:5]))
    found = taylor_decomposition(score, x)
    assert found.values.shape == x.shape
    deep = deep_taylor(
        logit(exhibit.model, torch.tensor(exhibit.labels[:5])),
        x,
        low=float(x.min()),
        high=float(x.max()),
    )
    assert (deep.values >= 0).all()
    assert deep.values.isfinite().all()
