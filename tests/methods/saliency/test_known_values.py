"""Small functions whose attributions are known by hand, in one table for all methods."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import features, logit, masked
from unmask.methods.saliency import (
    ablation,
    deeplift,
    deeplift_reveal_cancel,
    gradient,
    input_x_gradient,
    integrated_gradients,
    lrp,
    occlusion,
    permutation_shapley,
    shapley_exact,
    shapley_values,
)


def network(first, bias, second, offset=0.0):
    """Linear, ReLU, linear."""
    model = nn.Sequential(nn.Linear(len(first[0]), len(first)), nn.ReLU(), nn.Linear(len(first), 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(first))
        model[0].bias.copy_(torch.tensor(bias))
        model[2].weight.copy_(torch.tensor([second]))
        model[2].bias.fill_(offset)
    return model.double()


FUNCTIONS = {
    "linear": (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4)),
    "product": (lambda x: x[:, 0] * x[:, 1], (2, 3)),
    "cubic": (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3)),
    "hinge": (network([[1.0, 1.0]], [-1.0], [1.0]), (1, 1)),
    "minimum": (network([[1.0, -1.0], [1.0, 0.0]], [0.0, 0.0], [-1.0, 1.0]), (3, 1)),
}
KNOWN = {
    gradient: [(2, -3, 0.5), (3, 2), (12, 4), (1, 1), (0, 1)],
    input_x_gradient: [(2, -6, 2), (6, 6), (24, 12), (1, 1), (0, 1)],
    ablation: [(2, -6, 2), (6, 6), (12, 12), (1, 1), (1, 1)],
    occlusion: [(2, -6, 2), (6, 6), (12, 12), (1, 1), (1, 1)],
    shapley_exact: [(2, -6, 2), (3, 3), (6, 6), (0.5, 0.5), (0.5, 0.5)],
    shapley_values: [(2, -6, 2), (3, 3), (6, 6), (0.5, 0.5), (0.5, 0.5)],
    permutation_shapley: [(2, -6, 2), (3, 3), (6, 6), (0.5, 0.5), (0.5, 0.5)],
    integrated_gradients: [(2, -6, 2), (3, 3), (8, 4), (0.5, 0.5), (0, 1)],
    deeplift: [(2, -6, 2), (3, 3), None, (0.5, 0.5), (0, 1)],
    deeplift_reveal_cancel: [(2, -6, 2), (3, 3), None, (0.5, 0.5), (0.5, 0.5)],
}
CASES = [
    pytest.param(method, name, expected, id=f"{method.__name__}-{name}")
    for method, row in KNOWN.items()
    for name, expected in zip(FUNCTIONS, row, strict=True)
    if expected is not None
]


@pytest.mark.parametrize(("method", "name", "expected"), CASES)
def test_known_values(method, name, expected):
    function, x = FUNCTIONS[name]
    x = torch.tensor([x]).double()
    score, baseline = logit(function, 0), torch.zeros(x.shape[1]).double()
    if method in (ablation, shapley_exact, shapley_values, permutation_shapley):
        game = masked(score, x[0], features(x.shape[1]), baseline)
        found = method(game) if method in (ablation, shapley_exact) else method(game, samples=16)
    elif method in (gradient, input_x_gradient):
        found = method(score, x)
    elif method is occlusion:
        found = occlusion(score, x, baseline=baseline, window=1)
    elif method is integrated_gradients:
        found = method(score, x, baseline=baseline, error=1e-4)
    else:
        found = method(score, x, baseline=baseline)
    # The path integral of a kink is found by halving; all else is exact.
    room = 1e-3 if method is integrated_gradients else 1e-9
    assert found.values[0].tolist() == pytest.approx(expected, abs=room)


def test_a_network_without_biases():
    """W1 = [[1, 1], [1, -1]], relu, w2 = (1, 2) at (2, 1): 5; the rule epsilon gives (6, -1)."""
    model = network([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], [1.0, 2.0])
    x = torch.tensor([[2.0, 1.0]]).double()
    score = logit(model, 0)
    assert score(x).item() == 5
    assert input_x_gradient(score, x).values.tolist() == [[6, -1]]
    assert lrp(score, x).values[0].tolist() == pytest.approx([6, -1], abs=1e-4)


def test_a_saturated_unit_has_no_gradient_and_yet_an_effect():
    score = logit(lambda x: 1 - functional.relu(1 - x[:, 0]), 0)
    x, baseline = torch.tensor([[2.0]]).double(), torch.zeros(1).double()
    assert gradient(score, x).values.item() == 0
    for method in (integrated_gradients, deeplift):
        options = {"error": 1e-4} if method is integrated_gradients else {}
        found = method(score, x, baseline=baseline, **options)
        assert found.values.item() == pytest.approx(1, abs=1e-3)
