import math

import pytest
import torch
from torch import nn

from unmask.evaluation import focus
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

CLASSES = 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Channels(nn.Module):
    """The evidence for class c is the sum over channel c, and nothing else."""

    def forward(self, x):
        return x.sum((2, 3))


def pictures(side=4, each=3):
    """Class c has ones in channel c alone."""
    labels = torch.arange(CLASSES).repeat(each)
    data = torch.zeros(len(labels), CLASSES, side, side)
    data[torch.arange(len(labels)), labels] = 1
    return data, labels


def recorded(made):
    """An explanation that keeps what it was asked to explain."""

    def explain(score, x):
        made.append((x, score(x)))
        return Attribution(torch.ones_like(x))

    return explain


def test_evidence_that_stays_in_its_pictures_is_all_in_focus():
    data, labels = pictures()
    found = focus(Channels(), data, labels=labels, explain=input_x_gradient, samples=12)
    assert found.values.tolist() == [1.0] * 12
    assert found.higher_is_better


def test_evidence_against_the_truth_is_out_of_focus():
    data, labels = pictures()

    def elsewhere(score, x):
        return Attribution(x.sum(1, keepdim=True) - input_x_gradient(score, x).values)

    found = focus(Channels(), data, labels=labels, explain=elsewhere, samples=12)
    # Of what is not the class's own, all three channels of the other pictures count, and the two
    # other channels of its own: (3 * 2 pictures) against (2 * 2).
    assert found.values.tolist() == pytest.approx([2 * 2 / (2 * 2 + 2 * 3)] * 12)


def test_a_mosaic_has_two_pictures_of_its_class_and_two_of_others():
    data, labels = pictures()
    made = []
    focus(Channels(), data, labels=labels, explain=recorded(made), samples=20, batch_size=7)
    assert [len(x) for x, _ in made] == [7, 7, 6]
    for x, scores in made:
        assert x.shape[1:] == (CLASSES, 8, 8)
        assert scores.tolist() == [2 * 16] * len(x)  # the class's own two pictures
        quarters = [x[:, :, r : r + 4, c : c + 4] for r in (0, 4) for c in (0, 4)]
        classes = torch.stack([q.sum((2, 3)).argmax(1) for q in quarters], 1)
        for row in classes.tolist():
            assert sorted(row.count(c) for c in range(CLASSES)) == [1, 1, 2]


def test_a_flat_explanation_is_half_in_focus_and_shrunk_mosaics_are_as_large_as_pictures():
    data, labels = pictures()
    made = []
    found = focus(Channels(), data, labels=labels, explain=recorded(made), samples=5, shrunk=True)
    assert found.values.tolist() == [0.5] * 5
    assert made[0][0].shape[1:] == data.shape[1:]


def test_chance_is_the_callers():
    data, labels = pictures()
    data = data + torch.rand(data.shape, generator=seeded())

    def drawn(seed):
        given = {"explain": input_x_gradient, "samples": 6, "generator": seeded(seed)}
        return focus(Channels(), data, labels=labels, **given).values

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_no_positive_evidence_is_undefined():
    data, labels = pictures()
    found = focus(
        Channels(),
        data,
        labels=labels,
        explain=lambda score, x: Attribution(-torch.ones_like(x)),
        samples=3,
    )
    assert all(math.isnan(one) for one in found.values.tolist())


@pytest.mark.parametrize(
    ("labels", "samples", "message"),
    [
        (torch.zeros(9).long(), 4, "the labels hold 1 classes"),
        (torch.arange(9), 4, "9 classes, 0 of them twice"),
        (torch.arange(8) % 3, 4, "9 pictures, but 8 labels|Type-check"),
        (torch.arange(9) % 3, 0, "0 mosaics were asked for"),
    ],
)
def test_what_makes_no_mosaic_is_refused(labels, samples, message):
    data, _ = pictures()
    with pytest.raises((TypeError, ValueError), match=message):
        focus(Channels(), data, labels=labels, explain=input_x_gradient, samples=samples)


def test_a_model_whose_answers_hang_on_the_batch_is_refused():
    data, labels = pictures()
    model = nn.Sequential(nn.BatchNorm2d(CLASSES), Channels()).train()
    with pytest.raises(ValueError, match="in training mode"):
        focus(model, data, labels=labels, explain=lambda score, x: Attribution(x), samples=2)


@pytest.mark.parametrize("side", [3, 4, 7])
def test_half_of_a_flat_explanation_lies_right_whatever_the_size(side):
    data, labels = pictures(side)
    found = focus(
        Channels(), data, labels=labels, samples=12, shrunk=True,
        explain=lambda score, x: Attribution(torch.ones_like(x)),
    )  # fmt: skip
    assert found.values.tolist() == [0.5] * 12
