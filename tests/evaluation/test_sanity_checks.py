import math

import pytest
import torch
from torch import nn

from exhibits import exhibit
from randomized import mlp, seed
from unmask import logit, predicted
from unmask.evaluation import (
    absolute_rank_similarity,
    data_randomization,
    efficient_mprt,
    parameter_randomization,
    random_logit,
    sanity_checks,
    structural_similarity,
)
from unmask.methods.saliency import gradient
from unmask.results import Attribution


def size(_, x):
    return Attribution(x.abs())


class Nearest(nn.Module):
    """Knows rows by heart: the class of the nearest one."""

    def __init__(self, data, labels):
        super().__init__()
        self.data = data
        self.head = nn.Linear(len(data), 2, bias=False)
        self.head.weight.data = nn.functional.one_hot(labels, 2).to(data).T

    def forward(self, x):
        return self.head((-2 * ((x[:, None] - self.data) ** 2).sum(-1)).softmax(1))


def remember(data, labels, generator):
    return Nearest(data, labels).eval()


def test_what_ignores_the_model_fails():
    x = torch.randn(6, 8, generator=seed())
    found = sanity_checks(logit(mlp(8, 6, 3), 0), x, explain=size).numbers
    for name in ("signed", "absolute"):
        assert found[f"{name}_similarity"] == pytest.approx(1)
        assert found[f"{name}_floor"] == pytest.approx(1)
        assert abs(found[f"{name}_null"]) < 0.1
    assert found["logit_similarity"] == pytest.approx(1)
    assert found["entropy_rise"] == pytest.approx(0, abs=1e-12)
    assert found["weights_passed"] == 0


def test_the_gradient_of_a_network_passes():
    model = mlp(300, 64, 32, 10, bend=nn.ReLU)
    x = torch.randn(16, 300, generator=seed())
    found = sanity_checks(logit(model, predicted(model, x)), x, explain=gradient)
    assert found.numbers["weights_passed"] == 1
    assert abs(found.numbers["signed_similarity"]) < 0.1
    assert found.numbers["inputs"] == 16
    assert found.numbers["random_models"] == 5
    assert found.curves["signed"].shape == (4,)
    assert found.curves["random_layers"].tolist() == [0, 1, 2, 3]


def test_it_puts_the_metrics_together():
    model, x = mlp(20, 9, 4), torch.randn(7, 20, generator=seed())
    score = logit(model, predicted(model, x))
    found = sanity_checks(score, x, explain=gradient, repeats=2)
    assert found.numbers["signed_similarity"] == pytest.approx(float(found.curves["signed"][-1]))
    same = parameter_randomization(score, x, explain=gradient, repeats=2)
    assert found.numbers["signed_similarity"] == pytest.approx(same.mean, abs=1e-9)
    assert torch.allclose(found.curves["signed"], same.curve.mean(0))
    absolute = absolute_rank_similarity
    same = parameter_randomization(score, x, explain=gradient, repeats=2, similarity=absolute)
    assert found.numbers["absolute_similarity"] == pytest.approx(same.mean, abs=1e-9)
    # What does not hang on chance: all other classes.
    every = random_logit(score, x, explain=gradient, samples=3).mean
    assert found.numbers["logit_similarity"] == pytest.approx(every, abs=1e-9)
    assert found.numbers["logit_similarity_low"] < every < found.numbers["logit_similarity_high"]
    risen = efficient_mprt(score, x, explain=gradient, draw=drawn_alike, repeats=1).mean
    other = sanity_checks(score, x, explain=gradient, draw=drawn_alike, repeats=2)
    assert other.numbers["entropy_rise"] == pytest.approx(risen, abs=1e-9)
    alone = parameter_randomization(score, x, explain=gradient, draw=drawn_alike, repeats=1)
    assert other.numbers["signed_similarity"] == pytest.approx(alone.mean, abs=1e-9)
    assert torch.allclose(other.curves["signed"], alone.curve.mean(0))


def drawn_alike(layer, generator):
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            weight.copy_(torch.cos(2 * torch.arange(weight.numel())).view_as(weight))


def test_images_are_compared_by_looks_too():
    shown = exhibit("digits")
    x = torch.stack(shown.inputs[:8])
    score = logit(shown.model, predicted(shown.model, x))
    given = {"explain": gradient, "draw": drawn_alike}
    found = sanity_checks(score, x, repeats=2, **given)
    alone = parameter_randomization(score, x, similarity=structural_similarity, repeats=1, **given)
    assert found.numbers["structural_similarity"] == pytest.approx(alone.mean, abs=1e-9)
    assert set(found.panels) == {
        "signed similarity", "absolute similarity", "structural similarity",
    }  # fmt: skip


def test_labels_are_permuted_where_there_are_some():
    data = torch.randn(24, 5, generator=seed())
    labels = (data[:, 0] > 0).long()
    score, x = logit(remember(data, labels, None), 1), data[:6]
    options = {"train": remember, "repeats": 2, "generator": seed(2)}
    found = sanity_checks(
        score, x, explain=gradient, data=data, labels=labels, **options, order=lambda n: [n]
    ).numbers
    assert found["labels_ceiling"] == pytest.approx(1)  # what is remembered knows no seeds
    assert found["labels_similarity"] < 0.9
    assert found["labels_drop"] == pytest.approx(
        found["labels_ceiling"] - found["labels_similarity"]
    )
    assert found["labels_passed"] == (found["labels_drop_low"] > 0) == 1
    blind = sanity_checks(score, x, explain=size, data=data, labels=labels, **options).numbers
    assert blind["labels_drop"] == pytest.approx(0)
    assert blind["labels_passed"] == 0
    alone = data_randomization(data, labels, explain=size, train=remember, x=x, repeats=2)
    assert blind["labels_similarity"] == pytest.approx(alone.mean)


def test_a_model_of_one_output_has_no_other_class():
    score, x = logit(mlp(6, 4, 1), 0), torch.randn(3, 6, generator=seed())
    assert "logit_similarity" not in sanity_checks(score, x, explain=gradient).numbers


def test_one_input_has_no_interval():
    score, x = logit(mlp(6, 4, 2), 0), torch.randn(1, 6, generator=seed())
    found = sanity_checks(score, x, explain=gradient).numbers
    assert math.isfinite(found["signed_similarity"])
    assert math.isnan(found["signed_similarity_low"])


def test_what_cannot_be_is_refused():
    score, x = logit(mlp(6, 4, 2), 0), torch.randn(3, 6, generator=seed())
    with pytest.raises(ValueError, match=r"repeats is 1\. Give at least 2"):
        sanity_checks(score, x, explain=gradient, repeats=1)
    with pytest.raises(ValueError, match=r"only 1 of them are\. Give all three"):
        sanity_checks(score, x, explain=gradient, data=x)
