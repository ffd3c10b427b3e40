import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from decoys import accuracy, decoys, perceptron
from strategies import relu_network
from unmask import zoo
from unmask.methods.saliency import right_reasons, right_reasons_loss
from unmask.zoo.training import fresh

FIRST = torch.tensor([True, False, False, False])
INTEGERS = "embeddings|parameter|type"  # the others where types are checked at run time


def steepness(model, x):
    """How much the margin of the second class over the first changes with each column."""
    point = x.clone().requires_grad_()
    margin = (model(point)[:, 1] - model(point)[:, 0]).sum()
    return torch.autograd.grad(margin, point)[0].abs().mean(0)


def slow_parts(model, x, labels, annotation):
    """Cross-entropy and penalty one input and one column after the other, by differences."""

    def told(row):
        z = model(row[None])[0].tolist()
        total = math.log(sum(math.exp(value) for value in z))
        return [value - total for value in z]

    answers = reasons = 0.0
    with torch.no_grad():
        for row, label, forbidden in zip(x, labels.tolist(), annotation.tolist(), strict=True):
            answers -= told(row)[label] / len(x)
            for d, counts in enumerate(forbidden):
                nudge = torch.zeros_like(row)
                nudge[d] = 1e-6
                slope = (sum(told(row + nudge)) - sum(told(row - nudge))) / 2e-6
                reasons += (counts * slope) ** 2 / len(x)
    return answers, reasons


# The loss


def test_the_loss_is_that_of_the_paper():
    model = relu_network([4, 6, 3], seed=0, kink=nn.Tanh)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=generator).double()
    labels = torch.tensor([0, 2, 1, 1, 0])
    annotation = torch.rand(5, 4, generator=generator) < 0.5
    found = right_reasons_loss(
        model, x, labels=labels, annotation=annotation, weight=7.0, decay=0.01
    )
    answers, reasons = slow_parts(model, x, labels, annotation)
    size = sum(float(value**2) for p in model.parameters() for value in p.detach().flatten())
    assert float(found.answers.detach()) == pytest.approx(answers, rel=1e-9)
    assert float(found.reasons.detach()) == pytest.approx(reasons, rel=1e-7)  # by differences
    assert float(found.size.detach()) == pytest.approx(size, rel=1e-9)
    assert float(found.loss.detach()) == pytest.approx(
        answers + 7 * reasons + 0.01 * size, rel=1e-7
    )


def test_the_loss_has_the_gradient_of_the_penalty():
    model = relu_network([3, 5, 2], seed=1, kink=nn.Tanh)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()
    given = {"labels": torch.tensor([0, 1, 1, 0]), "annotation": torch.ones(4, 3).bool()}
    weights = model[0].weight

    def loss():
        return right_reasons_loss(model, x, weight=3.0, **given).loss

    (slope,) = torch.autograd.grad(loss(), weights)
    for place in ((0, 0), (2, 1), (4, 2)):
        ends = []
        for nudge in (1e-5, -2e-5):
            with torch.no_grad():
                weights[place] += nudge
            ends.append(float(loss().detach()))
        with torch.no_grad():
            weights[place] += 1e-5
        assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize(("annotation", "reasons"), [((1, 0), 1.0), ((0, 1), 0.0)])
def test_two_classes_by_hand(annotation, reasons):
    """p is (3/4, 1/4), so that the slope of log p_1 + log p_2 along the first column is
    2 (1/4) - 2 (3/4)."""
    model = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    x = torch.tensor([[math.log(3) / 2, 7.0]], dtype=torch.float64)
    found = right_reasons_loss(
        model, x, labels=torch.tensor([0]), annotation=torch.tensor(annotation).bool(), weight=1.0
    )
    assert float(found.reasons.detach()) == pytest.approx(reasons, abs=1e-12)
    assert float(found.answers.detach()) == pytest.approx(math.log(4 / 3))


def test_of_the_label_alone():
    """As above: log p of the first class has the slope 2 (1 - 3/4)."""
    x = torch.tensor([[math.log(3) / 2, 7.0]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()
    found = right_reasons_loss(
        lambda x: x @ weights.T, x, labels=torch.tensor([0]),
        annotation=torch.tensor([True, True]), weight=1.0, of_label=True,
    )  # fmt: skip
    assert float(found.reasons.detach()) == pytest.approx(0.25)


def test_without_annotation_it_is_the_cross_entropy_exactly():
    model, (x, labels) = perceptron(), decoys(32, 0)
    found = right_reasons_loss(
        model, x, labels=labels, annotation=torch.zeros(32, 4).bool(), weight=1000.0
    )
    expected = -model(x).log_softmax(1)[torch.arange(32), labels].mean()
    assert float(found.loss.detach()) == float(found.answers.detach())
    assert float(found.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_one_logit_stands_for_two_classes():
    weights = torch.tensor([1.0, -2.0]).double()
    x = torch.tensor([[0.5, 1.0], [2.0, 0.3]]).double()
    given = {"labels": torch.tensor([1, 0]), "annotation": torch.tensor([True, True])}
    one = right_reasons_loss(lambda x: x @ weights, x, weight=2.0, **given)
    two = right_reasons_loss(
        lambda x: torch.stack([torch.zeros(2).double(), x @ weights], 1), x, weight=2.0, **given
    )
    assert float(one.loss.detach()) == pytest.approx(float(two.loss.detach()), rel=1e-12)


def test_a_regression_by_hand():
    """f = x_1 x_2 at (2, 3): squared error (6 - 5)^2, slopes (3, 2)."""
    found = right_reasons_loss(
        lambda x: x[:, :1] * x[:, 1:], torch.tensor([[2.0, 3.0]]), labels=torch.tensor([5.0]),
        annotation=torch.tensor([False, True]), weight=10.0,
    )  # fmt: skip
    assert (
        float(found.answers.detach()),
        float(found.reasons.detach()),
        float(found.loss.detach()),
    ) == (1, 4, 41)


# Training


@pytest.fixture(scope="module")
def trained():
    x, labels = decoys(512, 0)
    return {
        weight: right_reasons(
            perceptron(), x, labels=labels, annotation=FIRST, steps=400, weight=weight
        )
        for weight in (0.0, 1.0, 30.0, 1000.0, None)
    }


def test_a_decoy_misleads(trained):
    x, labels = decoys(512, 1, sign=-1)
    model = trained[0.0].model
    slope = steepness(model, x)
    assert accuracy(model, x, labels) < 0.6
    assert slope[0] / slope[1] > 0.2


@pytest.mark.parametrize("weight", [1.0, 30.0, 1000.0, None])
def test_an_annotated_decoy_does_not(trained, weight):
    x, labels = decoys(512, 1, sign=-1)
    model = trained[weight].model
    slope = steepness(model, x)
    assert accuracy(model, x, labels) > 0.95
    assert slope[0] / slope[1] < 0.02


def test_a_network_that_was_wrong_for_its_reasons_learns_better(trained):
    x, labels = decoys(512, 0)
    found = right_reasons(trained[0.0].model, x, labels=labels, annotation=FIRST, steps=400)
    same = found.model(x).argmax(1) == trained[0.0].model(x).argmax(1)
    assert found.fidelity == pytest.approx(float(same.double().mean()))
    assert accuracy(found.model, *decoys(512, 1, sign=-1)) > 0.9


@pytest.mark.parametrize(("loudness", "capped"), [(1, True), (10, False)])
def test_the_automatic_weight_makes_both_terms_alike(loudness, capped):
    x, labels = decoys(64, 0)
    model = perceptron()
    with torch.no_grad():
        model[2].weight *= loudness
    found = right_reasons(model, x, labels=labels, annotation=FIRST, steps=1)
    answers, reasons = slow_parts(model.double(), x.double(), labels, FIRST.expand(64, 4))
    assert answers > math.log(2)  # worse than chance
    assert (answers / reasons > 1000) == capped
    said = float(found.text.splitlines()[0].rpartition(" ")[2])
    assert said == pytest.approx(min(1000, answers / reasons), rel=1e-3)


def test_it_is_plain_training_with_adam_where_nothing_is_forbidden():
    x, labels = decoys(64, 0)
    ours = right_reasons(
        perceptron(), x, labels=labels, annotation=torch.zeros(4).bool(), steps=20, decay=0.01
    ).model
    model = perceptron()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x), labels)
        loss = loss + 0.01 * sum(p.square().sum() for p in model.parameters())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for one, other in zip(ours.parameters(), model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_minibatches_learn_too():
    x, labels = decoys(512, 0)
    found = right_reasons(
        perceptron(), x, labels=labels, annotation=FIRST.expand(512, 4), steps=300, minibatch=100,
        weight=10.0, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert accuracy(found.model, *decoys(512, 1, sign=-1)) > 0.95


def test_a_regression_learns_from_what_it_may():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator)
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    found = right_reasons(
        fresh(lambda: nn.Linear(2, 1), 0), x, labels=3 * x[:, 0],
        annotation=torch.tensor([True, False]), steps=400, rate=0.05,
    )  # fmt: skip
    assert found.model.weight[0].tolist() == pytest.approx([0, 3], abs=0.1)


def test_layers_that_want_no_gradient_do_not_learn():
    x, labels = decoys(64, 0)
    model = perceptron()
    model[0].weight.requires_grad_(False)
    found = right_reasons(model, x, labels=labels, annotation=FIRST, steps=5).model
    assert torch.equal(found[0].weight, model[0].weight)
    assert not torch.equal(found[0].bias, model[0].bias)
    assert not found[0].weight.requires_grad


def test_dropout_acts_in_training_mode_and_draws_from_the_generator():
    x, labels = decoys(64, 0)
    model = nn.Sequential(perceptron(4, 32, 32), nn.Dropout(0.5), nn.Linear(32, 2))
    given = {"labels": labels, "annotation": FIRST, "steps": 5, "weight": 1.0}
    before = torch.get_rng_state()
    still = right_reasons(model.eval(), x, **given).model[2].weight
    one, again, other = (
        right_reasons(model.train(), x, generator=torch.Generator().manual_seed(seed), **given)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.model[2].weight, again.model[2].weight)
    assert not torch.equal(one.model[2].weight, other.model[2].weight)
    assert not torch.equal(one.model[2].weight, still)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not one.model.training


def test_under_inference_mode():
    x, labels = decoys(64, 0)
    model = perceptron()
    expected = right_reasons(model, x, labels=labels, annotation=FIRST, steps=5).model
    with torch.inference_mode():
        found = right_reasons(
            model, x.clone(), labels=labels.clone(), annotation=FIRST.clone(), steps=5
        ).model
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-6)


# Real networks


def test_tumours_without_the_worst_nuclei():
    """A trained network gives up a third of its columns and hardly errs more."""
    exhibit = zoo.breast_cancer()
    x, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    worst = torch.arange(30) >= 20
    found = right_reasons(
        exhibit.model, x[:100], labels=labels[:100], annotation=worst, steps=100, weight=1.0
    )
    before, after = steepness(exhibit.model, x), steepness(found.model, x)
    assert after[worst].sum() / after.sum() < 0.05 < before[worst].sum() / before.sum()
    assert accuracy(found.model, x[100:], labels[100:]) > 0.9


def test_digits_without_a_mark_in_the_corner():
    """Every training image bears its class in the corner; on the test images the mark lies."""
    digits = load_digits()
    x, labels = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    lies = torch.randint(10, (797,), generator=torch.Generator().manual_seed(0))
    x[:, 0] = torch.cat([labels[:1000], lies]) / 2
    wrong, right = (
        right_reasons(
            perceptron(64, 32, 10), x[:1000], labels=labels[:1000],
            annotation=torch.arange(64) == 0, steps=150, weight=weight,
        ).model
        for weight in (0.0, 10.0)
    )  # fmt: skip
    assert accuracy(wrong, x[1000:], labels[1000:]) < 0.8
    assert accuracy(right, x[1000:], labels[1000:]) > 0.92


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": torch.ones(8, 4).long()}, TypeError, INTEGERS),
        ({"data": torch.ones(8, 4) / 0}, ValueError, "finite"),
        ({"data": torch.ones(0, 4)}, ValueError, "empty"),
        ({"labels": torch.zeros(7).long()}, ValueError, r"8 inputs.*shape \(7,\)"),
        ({"labels": torch.full((8,), 2)}, ValueError, "2 outputs. Number them"),
        ({"labels": torch.full((8,), -1)}, ValueError, "from -1 to -1"),
        ({"labels": torch.full((8, 3), 0.5)}, ValueError, "shaped like the output"),
        ({"labels": torch.full((8, 2), torch.nan)}, ValueError, "labels must be finite"),
        ({"annotation": torch.ones(3).bool()}, ValueError, r"annotation has shape \(3,\)"),
        ({"annotation": torch.ones(7, 4).bool()}, ValueError, "one axis more for each"),
        ({"weight": -1.0}, ValueError, "reward what they should punish"),
        ({"decay": -1.0}, ValueError, "reward what they should punish"),
        ({"steps": 0}, ValueError, "training of 0 steps"),
        ({"rate": 0.0}, ValueError, "rate above 0"),
        ({"minibatch": 0}, ValueError, "minibatch|0 rows|on all rows"),
        ({"rate": 1e30, "steps": 9}, ValueError, "training cost became"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, error, words):
    given = {
        "data": torch.ones(8, 4), "labels": torch.zeros(8).long(), "annotation": FIRST, "steps": 2,
    }  # fmt: skip
    given |= change
    with pytest.raises(error, match=words):
        right_reasons(perceptron(), given.pop("data"), **given)


def test_models_that_cannot_learn_are_refused():
    x, labels = decoys(8, 0)
    given = {"labels": labels, "annotation": FIRST, "steps": 2}
    with pytest.raises(ValueError, match="no parameter that wants a gradient"):
        right_reasons(perceptron().requires_grad_(False), x, **given)

    class Stubborn(nn.Linear):
        def forward(self, x):
            return super().forward(x.detach())

    with pytest.raises(ValueError, match="does not depend on x"):
        right_reasons(Stubborn(4, 2), x, **given)
    with pytest.raises(ValueError, match=r"returned shape \(8, 2, 1\)"):
        right_reasons(nn.Sequential(perceptron(), nn.Unflatten(1, (2, 1))), x, **given)


def test_a_model_that_fails_leaves_chance_as_it_was():
    x, labels = decoys(8, 0)

    class Failing(nn.Linear):
        def forward(self, x):
            raise RuntimeError("out of paper")

    model, before = Failing(4, 2), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of paper"):
        right_reasons(model, x, labels=labels, annotation=FIRST, steps=1)
    assert torch.equal(torch.get_rng_state(), before)
