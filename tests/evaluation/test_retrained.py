import math

import pytest
import torch
from torch import nn

from shortcuts import Largest, linear
from unmask.evaluation.retrained import (
    accuracy,
    admit_training,
    over_repeats,
    parted,
    retrained,
    seed_from,
)


def test_the_interval_is_students():
    found = over_repeats([{"gain": value} for value in (1.0, 2.0, 3.0)])
    point = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))  # of t with two degrees of freedom
    half = point / math.sqrt(3)
    assert found["gain"] == 2
    assert found["gain_low"] == pytest.approx(2 - half, abs=1e-12)
    assert found["gain_high"] == pytest.approx(2 + half, abs=1e-12)


def test_the_interval_of_a_share_ends_at_0_and_1():
    found = over_repeats([{"share": 0.0}, {"share": 1.0}], shares=("share",))
    assert (found["share_low"], found["share_high"]) == (0, 1)
    wide = over_repeats([{"share": 0.0}, {"share": 1.0}])
    assert wide["share_low"] < 0


def test_rows_are_parted():
    train, test = parted(100, torch.Generator().manual_seed(0))
    assert (len(train), len(test)) == (70, 30)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(100))
    assert test.tolist() != list(range(30))
    assert [len(part) for part in parted(4, torch.Generator())] == [3, 1]


def test_accuracy_is_a_share_and_comes_in_batches():
    model = Largest(nn.Linear(1, 1))
    with torch.no_grad():
        model.model.weight.fill_(1.0)
        model.model.bias.zero_()
    x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0], [3.0]])
    assert accuracy(model, x, torch.tensor([1, 1, 0, 1, 0]), 2) == pytest.approx(0.6)
    assert model.seen == [2, 2, 1]


def drawn(data, labels, generator):
    data.zero_()
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model[0].bias.requires_grad_(False).copy_(torch.randn(2, generator=generator))
    return model.eval()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_a_training_gives_the_same_network_and_moves_no_global_chance(mode):
    data, labels = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    before = torch.get_rng_state()
    with mode():
        one, other, third = (retrained(drawn, data, labels, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(data, torch.ones(4, 2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
        assert not torch.equal(value, third.state_dict()[name])
        assert not value.is_inference()


def test_seeds_come_from_the_generator():
    generator = torch.Generator().manual_seed(0)
    first, second = seed_from(generator), seed_from(generator)
    assert first != second
    assert seed_from(torch.Generator().manual_seed(0)) == first


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"train returned a str.* Give a function"):
        retrained(lambda *_: "model", torch.ones(4, 2), torch.arange(4) % 2, 0)
    with pytest.raises(ValueError, match=r"in training mode.* Call model.eval"):
        retrained(lambda *_: nn.BatchNorm1d(2), torch.ones(4, 2), torch.arange(4) % 2, 0)


@pytest.mark.parametrize(
    ("data", "labels", "repeats", "said"),
    [
        (torch.ones(4, 2), torch.ones(3).long(), 3, r"shape \(3,\).* Give one class"),
        (torch.ones(4, 2), torch.zeros(4).long(), 3, "from 0 to 0 teach nothing.* Give at least"),
        (torch.ones(4, 2), torch.arange(4) - 1, 3, "from -1 to 2 teach nothing.* Give at least"),
        (torch.ones(2, 2), torch.arange(2), 3, "2 inputs with classes.* Give at least 4"),
        (torch.ones(4, 2), torch.arange(4) % 2, 1, "1 trainings.* Give repeats of at least 2"),
        (torch.ones(4, 2) / 0, torch.arange(4) % 2, 3, "must be finite"),
    ],
)
def test_bad_data_are_refused(data, labels, repeats, said):
    with pytest.raises(ValueError, match=said):
        admit_training(data, labels, repeats)


def test_the_linear_network_of_these_tests_learns():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    model = retrained(linear, x, (x[:, 0] > 0).long(), 0)
    assert accuracy(model, x, (x[:, 0] > 0).long()) > 0.9
