import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from unmask import admission
from unmask.admission import (
    backgrounds_for,
    baseline_for,
    batched,
    differentiable,
    filled,
    finite,
    one_baseline_for,
    settled,
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_first_broken_number_is_pointed_at(dtype):
    x = torch.zeros(2, 3, dtype=dtype)
    finite("The input", x)
    x[1, 0], x[1, 2] = torch.inf, torch.nan
    with pytest.raises(ValueError, match=r"The input .* holds inf at index \(1, 0\) \(2 such"):
        finite("The input", x)
    with pytest.raises(ValueError, match=r"nan at index \(\)"):
        finite("The input", torch.tensor(torch.nan, dtype=dtype))
    finite("Token ids", torch.tensor([1, 2]))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.SyncBatchNorm(3), nn.LazyBatchNorm1d()]
)
def test_batch_normalisation_in_training_mode_is_refused(layer):
    model = nn.Sequential(nn.Identity(), layer)
    with pytest.raises(ValueError, match=r"The layer '1' .* Call model.eval\(\) first"):
        settled(model)
    settled(model.eval())


def test_batch_normalisation_without_memory_depends_on_the_batch_in_any_mode():
    with pytest.raises(ValueError, match="BatchNorm1d"):
        settled(nn.BatchNorm1d(3, track_running_stats=False).eval())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.5),
        nn.Dropout2d(0.1),
        nn.AlphaDropout(0.1),
        nn.RReLU(),
        nn.LSTM(2, 2, num_layers=2, dropout=0.5),
        nn.MultiheadAttention(2, 1, dropout=0.5),
        nn.TransformerEncoderLayer(4, 2, 8),
    ],
)
def test_random_layers_in_training_mode_are_warned_of(layer):
    with pytest.warns(UserWarning, match=r"draws at random .* Call model.eval\(\) first"):
        settled(nn.Sequential(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settled(nn.Sequential(layer).eval())


@pytest.mark.parametrize(
    "model", [nn.Dropout(0.0), nn.LSTM(2, 2), nn.LayerNorm(3), nn.InstanceNorm1d(3), len]
)
def test_layers_that_answer_alike_pass(model):
    settled(model)


def test_baselines_take_the_shape_and_type_of_the_input():
    x = torch.ones(3, 2, 2, dtype=torch.float64)
    assert baseline_for(x, torch.tensor(0.5)).shape == x.shape
    assert baseline_for(x, torch.arange(3.0).view(3, 1, 1))[2, 1, 1] == 2
    assert baseline_for(x, torch.zeros(5, 3, 1, 1)).shape == (5, 3, 2, 2)
    assert baseline_for(x, torch.zeros(3, 2, 2, dtype=torch.float16)).dtype == x.dtype
    assert not baseline_for(x, torch.zeros(3, 2, 2, requires_grad=True)).requires_grad


@pytest.mark.parametrize("shape", [(2,), (5, 3, 2), (1, 1, 3, 2, 2), (2, 2, 2)])
def test_baselines_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="Give a baseline shaped like one input"):
        baseline_for(torch.ones(3, 2, 4), torch.zeros(shape))


def test_gradients_ask_for_real_inputs():
    differentiable(torch.ones(1, 2))
    with pytest.raises(TypeError, match="explain the embeddings"):
        differentiable(torch.ones(1, 2, dtype=torch.long))
    for empty in (torch.ones(0, 2), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="The batch is empty"):
            differentiable(empty)
    with pytest.raises(ValueError, match="nan at index"):
        differentiable(torch.tensor([[torch.nan]]))


@pytest.mark.parametrize("baseline", [None, 0.0, np.zeros(3, dtype=np.float32), [0.0, 0.0, 0.0]])
def test_a_baseline_is_a_tensor(baseline):
    with pytest.raises(TypeError, match=r"The baseline must be a tensor, but|Type-check error"):
        baseline_for(torch.ones(3), baseline)


def test_an_array_is_no_tensor():
    """Under test the type checker may come first; it says the same in its own words."""
    with pytest.raises(TypeError, match=r"must be a tensor, but is a ndarray|Type-check error"):
        finite("The input", np.zeros((2, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_a_baseline_is_a_set_or_a_single_one_as_is_wanted():
    x, one = torch.zeros(2, 3), torch.ones(3)
    assert backgrounds_for(x, one).tolist() == [[[1, 1, 1], [1, 1, 1]]]
    both = torch.stack([x, x + 1])
    assert torch.equal(backgrounds_for(x, both), both)
    assert torch.equal(one_baseline_for(x, one), one.expand(2, 3))
    with pytest.raises(ValueError, match=r"one baseline here, but it is a set of 2\. Give one"):
        one_baseline_for(x, both)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_a_batch_of_nothing_is_refused(shape):
    with pytest.raises(ValueError, match=r"The batch is empty: x has shape \("):
        filled(torch.zeros(shape))
    filled(torch.zeros(1))


def test_a_batch_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"A batch of 0 inputs is too small\. Give at least 1"):
        batched(0)
    batched(None)
    batched(1)


def test_chance_comes_from_a_generator():
    mine = torch.Generator().manual_seed(3)
    assert admission.drawing(mine) is mine
    one, other = (torch.rand(3, generator=admission.drawing(None)) for _ in range(2))
    assert torch.equal(one, other)
    if "beartype" not in sys.modules:  # which refuses it first
        with pytest.raises(TypeError, match=r"generator is 0\. Give torch\.Generator"):
            admission.drawing(0)
