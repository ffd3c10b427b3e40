import pytest
import torch
from torch import nn

from exhibits import exhibit
from randomized import count, mlp, seed
from unmask import logit, predicted
from unmask.evaluation import input_invariance
from unmask.methods.saliency import gradient, input_x_gradient, integrated_gradients
from unmask.results import Attribution


def test_a_slow_twin():
    """Of a network whose first bias undoes the shift, as in the paper."""
    model, x = mlp(4, 5, 3), torch.randn(3, 4, generator=seed())
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0])
    found = input_invariance(logit(model, 1), x, explain=input_x_gradient, shift=shift)
    own = input_x_gradient(logit(model, 1), x).values
    with torch.no_grad():
        model[0].bias -= model[0].weight @ shift
    moved = input_x_gradient(logit(model, 1), x + shift).values
    for i in range(3):
        expected = sum(abs(a - b) for a, b in zip(own[i], moved[i], strict=True))
        expected = expected / sum(abs(a) for a in own[i])
        assert float(found.values[i]) == pytest.approx(float(expected), rel=1e-5)
    assert not found.higher_is_better


def test_a_gradient_does_not_move_and_what_multiplies_by_the_input_does():
    model, x = mlp(4, 6, 3).double(), torch.randn(5, 4, generator=seed(), dtype=torch.float64)
    score, zero = logit(model, 0), torch.zeros(4, dtype=torch.float64)
    assert input_invariance(score, x, explain=gradient).values.tolist() == pytest.approx([0] * 5)

    def from_zero(score, x):
        return integrated_gradients(score, x, baseline=zero)

    def from_one(score, x):
        return integrated_gradients(score, x, baseline=zero + 1)

    for explain in (input_x_gradient, from_zero):
        assert (input_invariance(score, x, explain=explain).values > 0.1).all()
    moved = input_invariance(score, x, explain=from_zero, explain_shifted=from_one)
    assert moved.values.tolist() == pytest.approx([0] * 5, abs=1e-9)


def test_a_model_that_is_no_module():
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[2.0, -1.0]]))
    found = input_invariance(
        logit(lambda x: linear(x), 0), torch.tensor([[1.0, 3.0]]), explain=input_x_gradient
    )
    assert found.values.tolist() == pytest.approx([3 / 5])  # (2, -3) becomes (4, -4)


def test_the_layers_keep_their_names_and_the_model_its_hooks():
    shown = exhibit("digits")
    x = torch.stack(shown.inputs[:3])
    names = []

    def explain(score, x):
        names.append([name for name, _ in score.model.named_modules()])
        return gradient(score, x)

    score = logit(shown.model, predicted(shown.model, x))
    found = input_invariance(score, x, explain=explain, shift=0.5)
    assert names[0] == names[1]
    # 0.1 + 0.5 - 0.5 is not 0.1 to the last bit, which a ReLU at zero may show.
    assert float(found.values.max()) < 1e-3
    assert all(not module._forward_pre_hooks for module in shown.model.modules())


def test_no_size_no_rating():
    model, x = mlp(4, 3, 2), torch.randn(2, 4, generator=seed())
    found = input_invariance(logit(model, 0), x, explain=lambda _, x: Attribution(x * 0))
    assert found.undefined == 2


def test_evaluations_are_counted():
    model, x = mlp(4, 3, 2), torch.randn(2, 4, generator=seed())
    assert input_invariance(logit(model, 0), x, explain=count).evaluations == 4
    assert input_invariance(
        logit(model, 0), x, explain=lambda _, x: Attribution(x)
    ).evaluations is None  # fmt: skip


def test_what_cannot_be_is_refused():
    score, x = logit(mlp(4, 3, 2), 0), torch.randn(2, 4, generator=seed())
    with pytest.raises(ValueError, match=r"shape \(3,\), but one input \(4,\)"):
        input_invariance(score, x, explain=gradient, shift=torch.ones(3))
    with pytest.raises(ValueError, match="shift of zero"):
        input_invariance(score, x, explain=gradient, shift=0.0)
    with pytest.raises(ValueError, match="The shift must be finite"):
        input_invariance(score, x, explain=gradient, shift=float("nan"))
    with pytest.raises(ValueError, match="Explain both in the same way"):
        input_invariance(
            score, x, explain=gradient, explain_shifted=lambda _, x: Attribution(x[:, :2])
        )
