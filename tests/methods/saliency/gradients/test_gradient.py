import pytest
import torch
from hypothesis import given
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Score, log_odds, logit, predicted, zoo
from unmask.methods.saliency import gradient, input_x_gradient

INTEGERS = "embeddings|parameter 'x'"  # the second where types are checked at run time
FIXTURES = {
    "linear": (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4), (2, -3, 0.5)),
    "product": (lambda x: x[:, 0] * x[:, 1], (2, 3), (3, 2)),
    "cubic": (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3), (12, 4)),
    "hinge": (lambda x: torch.relu(x[:, 0] + x[:, 1] - 1), (1, 1), (1, 1)),
    "minimum": (lambda x: x[:, 0] - torch.relu(x[:, 0] - x[:, 1]), (3, 1), (0, 1)),
    "saturated": (lambda x: 1 - torch.relu(1 - x[:, 0]), (2,), (0,)),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_known_functions(name):
    function, x, expected = FIXTURES[name]
    found = gradient(logit(function, 0), torch.tensor([x]).double())
    assert found.values.tolist() == [pytest.approx(expected)]
    assert found.gap is None
    assert found.evaluations == 1


@given(networks(inputs=4), tensors(3, 4))
def test_values_are_small_changes_divided_by_their_size(model, x):
    score = logit(nn.Sequential(model, nn.Tanh()), 1)
    found = gradient(score, x).values
    for i in range(4):
        nudge = torch.zeros(4).double()
        nudge[i] = 1e-6
        slope = (score(x + nudge) - score(x - nudge)) / 2e-6
        smooth = (
            gradient(score, x + 2 * nudge).values - gradient(score, x - 2 * nudge).values
        ).abs()
        near_a_kink = smooth.sum(1) > 1e-3
        assert torch.allclose(found[~near_a_kink, i], slope[~near_a_kink], atol=1e-5)


def test_each_input_has_its_own_class():
    model = relu_network([4, 8, 3], seed=0)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    found = gradient(log_odds(model, torch.tensor([2, 0, 1])), x).values
    for i, target in enumerate((2, 0, 1)):
        alone = gradient(log_odds(model, target), x[i : i + 1]).values
        assert torch.allclose(found[i : i + 1], alone, rtol=1e-12)


def test_an_unused_feature_has_none_and_sums_add_up():
    def one(x):
        return x[:, 0] ** 2

    def two(x):
        return x[:, 0] * x[:, 2]

    x = torch.tensor([[3.0, 5.0, 7.0]])
    both = gradient(logit(lambda x: 2 * one(x) - two(x), 0), x).values
    parts = 2 * gradient(logit(one, 0), x).values - gradient(logit(two, 0), x).values
    assert torch.equal(both, parts)
    assert both[0, 1] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_have_the_type_of_the_input(dtype):
    model = relu_network([4, 8, 3], seed=0, dtype=dtype)
    assert gradient(log_odds(model, 1), torch.ones(2, 4, dtype=dtype)).values.dtype == dtype


def test_images_keep_their_shape():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))
    assert gradient(logit(model.eval(), 0), torch.ones(5, 3, 4, 4)).values.shape == (5, 3, 4, 4)


def test_nothing_is_left_behind():
    model = relu_network([4, 8, 3], seed=0)
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    before = x.detach().clone()
    values = gradient(logit(model, 0), x).values
    assert not values.requires_grad
    assert x.grad is None
    assert torch.equal(x, before)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_left_behind_by_a_model_that_fails():
    model = relu_network([4, 8, 3], seed=0)

    def read(output, rows):
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        gradient(Score(model, read), torch.ones(2, 4).double())
    assert all(p.requires_grad for p in model.parameters())


def test_gradients_under_no_grad():
    with torch.no_grad():
        found = gradient(logit(lambda x: x[:, 0] ** 2, 0), torch.tensor([[3.0]]))
    assert found.values.item() == 6


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (torch.tensor([[1, 2]]), TypeError, INTEGERS),
        (torch.zeros(0, 2), ValueError, "empty"),
        (torch.tensor([[1.0, float("nan")]]), ValueError, r"nan at index \(0, 1\)"),
    ],
)
def test_inputs_without_a_gradient_are_refused(x, error, words):
    with pytest.raises(error, match=words):
        gradient(logit(lambda x: x.sum(1), 0), x)


def test_models_without_a_gradient_are_refused():
    x = torch.ones(2, 2)
    with pytest.raises(ValueError, match="does not depend on x"):
        gradient(logit(lambda x: torch.ones(len(x)), 0), x)
    with pytest.raises(ValueError, match="does not depend on x"):
        gradient(logit(lambda x: x.detach().sum(1), 0), x)
    with pytest.raises(ValueError, match="not finite"):
        gradient(logit(lambda x: (x - 1).sqrt().sum(1), 0), x)
    with pytest.raises(ValueError, match=r"batch normalisation in training.*eval"):
        gradient(logit(nn.Sequential(nn.BatchNorm1d(2)).train(), 0), x)


def test_a_random_model_is_warned_of():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    with pytest.warns(UserWarning, match=r"random.*eval"):
        gradient(logit(model, 0), torch.ones(2, 2))


def test_a_class_per_input_needs_as_many_inputs():
    model = relu_network([4, 8, 3], seed=0)
    with pytest.raises(ValueError, match="one class per input"):
        gradient(log_odds(model, torch.tensor([2, 0, 1])), torch.ones(2, 4).double())


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model = relu_network([6, 12, 3], seed=1)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).double()
    target = torch.tensor([0, 2, 1, 1])
    with pytest.warns(UserWarning, match="gradients"):  # captum speaks of what it sets on x
        theirs = attr.Saliency(model).attribute(x, target=target, abs=False)
    assert torch.allclose(gradient(logit(model, target), x).values, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", (2, -6, 2)),
        ("product", (6, 6)),
        ("cubic", (24, 12)),
        ("hinge", (1, 1)),
        ("minimum", (0, 1)),
        ("saturated", (0,)),
    ],
)
def test_known_functions_times_the_input(name, expected):
    function, x, _ = FIXTURES[name]
    found = input_x_gradient(logit(function, 0), torch.tensor([x]).double())
    assert found.values.tolist() == [pytest.approx(expected)]
    assert found.evaluations == 1


def test_without_biases_input_times_gradient_sums_to_the_score():
    model = relu_network([6, 12, 12, 3], seed=1)
    with torch.no_grad():
        for layer in model[::2]:
            layer.bias.zero_()
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).double()
    found = input_x_gradient(logit(model, 1), x)
    assert torch.allclose(found.values.sum(1), model(x)[:, 1].detach(), atol=1e-12)


@pytest.mark.parametrize("method", [gradient, input_x_gradient])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batching_changes_nothing(method, batch_size):
    model = relu_network([4, 8, 3], seed=0)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    score = log_odds(model, torch.tensor([2, 0, 1, 1, 2]))
    parts = method(score, x, batch_size=batch_size)
    assert torch.allclose(parts.values, method(score, x).values, atol=1e-14)
    with pytest.raises(ValueError, match="batch of 0"):
        method(score, x, batch_size=0)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x = torch.stack(exhibit.inputs[:3])
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = gradient(score, x).values
    step = 1e-3 * found / found.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    rise = (score(x + step) - score(x - step)).detach() / 2e-3
    # The slope along the gradient is its length, less what kinks within the step bend it.
    assert torch.allclose(rise, found.flatten(1).norm(dim=1), rtol=0.05)
    assert torch.allclose(input_x_gradient(score, x).values, x * found)


@pytest.mark.oracle
def test_captum_agrees_on_input_times_gradient():
    attr = pytest.importorskip("captum.attr")
    model = relu_network([6, 12, 3], seed=1)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).double()
    target = torch.tensor([0, 2, 1, 1])
    with pytest.warns(UserWarning, match="gradients"):  # captum speaks of what it sets on x
        theirs = attr.InputXGradient(model).attribute(x, target=target)
    assert torch.allclose(input_x_gradient(logit(model, target), x).values, theirs, atol=1e-12)
