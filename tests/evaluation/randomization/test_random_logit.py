import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from exhibits import exhibit
from quantus_alone import quantus
from randomized import count, explain_for_it, mlp, seed
from unmask import log_odds, logit, loss, margin, predicted, probability
from unmask.evaluation import random_logit
from unmask.evaluation.randomization.random_logit import classes_read, exchanged
from unmask.methods.saliency import gradient
from unmask.results import Attribution
from unmask.score import correct


@pytest.mark.parametrize("reading", [logit, log_odds, probability, loss])
def test_the_class_that_a_score_reads_is_found(reading):
    model, x = mlp(5, 6, 4), torch.randn(7, 5, generator=seed())
    classes = torch.tensor([0, 1, 2, 3, 3, 2, 1])
    for target in (classes, 2):
        found, count = classes_read(reading(model, target), x, 3)
        expected = classes if isinstance(target, torch.Tensor) else torch.full((7,), 2)
        assert torch.equal(found, expected)
        assert count == 4


def test_of_two_that_matter_alike_the_one_with_which_it_rises():
    model, x = mlp(5, 6, 4), torch.randn(2, 5, generator=seed())
    assert classes_read(margin(model, 3, 1), x)[0].tolist() == [3, 3]
    two = mlp(5, 6, 2)
    assert classes_read(log_odds(two, 1), x)[0].tolist() == [1, 1]


@pytest.mark.parametrize("reading", [logit, log_odds, probability, loss])
def test_exchanged_it_reads_the_other_class(reading):
    model, x = mlp(5, 6, 4), torch.randn(3, 5, generator=seed())
    one, other = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 1])
    found = exchanged(reading(model, one), one, other)
    assert torch.allclose(found(x), reading(model, other)(x))
    rows = torch.tensor([2, 0, 0, 1])
    assert torch.allclose(found(x[rows], rows), reading(model, other[rows])(x[rows]))
    assert torch.allclose(
        found.at(rows[:2])(x[rows[:2]]), reading(model, other[rows[:2]])(x[rows[:2]])
    )


def test_a_slow_twin():
    model, x = mlp(9, 6, 4), torch.randn(5, 9, generator=seed())
    classes = torch.tensor([0, 3, 1, 2, 2])
    found = random_logit(logit(model, classes), x, explain=gradient, samples=9)
    for i in range(5):
        own = logits_slope(model, x[i], int(classes[i]))
        others = [c for c in range(4) if c != classes[i]]
        each = [spearmanr(own, logits_slope(model, x[i], c)).statistic for c in others]
        assert float(found.values[i]) == pytest.approx(sum(each) / 3, abs=1e-9)
    assert not found.higher_is_better


def logits_slope(model, x, target):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x[None])[0, target], x)[0].numpy()


def test_one_offset_is_the_same_for_all_inputs():
    model, x = mlp(9, 6, 4), torch.randn(5, 9, generator=seed())
    found = random_logit(logit(model, 1), x, explain=gradient, generator=seed(3))
    own = gradient(logit(model, 1), x).values
    each = [
        torch.tensor(
            [
                spearmanr(a, b).statistic
                for a, b in zip(own, gradient(logit(model, c), x).values, strict=True)
            ]
        )
        for c in (0, 2, 3)
    ]
    assert any(torch.allclose(found.values, one.double(), atol=1e-6) for one in each)


def test_of_two_classes_the_log_odds_mirror_each_other():
    model, x = mlp(9, 6, 2), torch.randn(3, 9, generator=seed())
    for reading in (log_odds, probability):
        found = random_logit(reading(model, 0), x, explain=gradient)
        assert found.values.tolist() == pytest.approx([-1] * 3)
    assert (random_logit(logit(model, 0), x, explain=gradient).values > -1).all()


def test_what_ignores_the_class_never_changes():
    model, x = mlp(9, 6, 3), torch.randn(3, 9, generator=seed())
    found = random_logit(logit(model, 0), x, explain=lambda _, x: Attribution(x), samples=2)
    assert found.values.tolist() == pytest.approx([1] * 3)


def test_where_the_class_cannot_be_seen_there_is_no_rating():
    """A probability that is 1 to the last digit reacts to nothing."""
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    x = torch.tensor([[5000.0, -5000.0], [0.1, 0.2]])
    found = random_logit(probability(model, 0), x, explain=lambda _, x: Attribution(x.abs()))
    assert found.values.isnan().tolist() == [True, False]


def test_evaluations_are_counted():
    model, x = mlp(9, 6, 4), torch.randn(5, 9, generator=seed())
    found = random_logit(logit(model, 1), x, explain=count, samples=2)
    assert found.evaluations == 5 + 5 * 3


def test_what_cannot_be_is_refused():
    x = torch.randn(2, 5, generator=seed())
    with pytest.raises(ValueError, match=r"two at least.*\(2, 1\)"):
        random_logit(logit(mlp(5, 3, 1), 0), x, explain=gradient)
    with pytest.raises(ValueError, match="its class cannot be told"):
        random_logit(correct(mlp(5, 3, 3), 0), x, explain=gradient)
    with pytest.raises(ValueError, match="0 other classes are too few"):
        random_logit(logit(mlp(5, 3, 3), 0), x, explain=gradient, samples=0)


def test_on_real_digits():
    shown = exhibit("digits")
    x = torch.stack(shown.inputs[:32])
    score = logit(shown.model, predicted(shown.model, x))
    found = random_logit(score, x, explain=gradient, samples=9)
    assert found.mean < 0.2  # ten digits exclude each other


@pytest.mark.oracle
def test_quantus_agrees():
    """Of two classes, where there is one other: it draws another for each input by itself."""
    package = quantus()
    shown = exhibit("mnist")

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = shown.model

        def forward(self, x):
            return self.model(x)[:, [3, 8]]

    model = Two().eval()
    x = torch.stack(shown.inputs[:64])
    classes = predicted(model, x)
    theirs = package.RandomLogit(
        num_classes=2, abs=False, normalise=False, disable_warnings=True,
        similarity_func=package.similarity_func.correlation_spearman,
    )(
        model=model, x_batch=x.numpy(), y_batch=classes.numpy(), explain_func=explain_for_it
    )  # fmt: skip
    ours = random_logit(logit(model, classes), x, explain=gradient)
    assert torch.allclose(ours.values, torch.tensor(theirs).double(), atol=1e-5)
