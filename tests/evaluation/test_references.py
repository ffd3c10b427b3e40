import pytest
import torch
from scipy.ndimage import sobel

from unmask.evaluation import reference_attributions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_edges_are_those_of_scipy():
    x = torch.randn(2, 3, 7, 6, generator=seeded()).double()
    found = reference_attributions(x, torch.zeros(3, 7, 6).double())["edges"].values
    for i in range(2):
        for c in range(3):
            plane = x[i, c].numpy()
            across, down = (torch.tensor(sobel(plane, k, mode="nearest")) for k in (0, 1))
            assert torch.allclose(found[i, c], (across**2 + down**2).sqrt(), atol=1e-12)


def test_a_flat_image_has_no_edges_and_a_ramp_the_same_everywhere_inside():
    flat = torch.full((1, 1, 5, 5), 3.0)
    assert reference_attributions(flat, flat[0])["edges"].values.abs().max() == 0
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    inside = reference_attributions(ramp, flat[0])["edges"].values[..., 1:-1, 1:-1]
    assert inside.unique().tolist() == [8.0]


def test_the_difference_from_the_baseline():
    x = torch.tensor([[1.0, -2.0, 3.0]])
    one = reference_attributions(x, torch.tensor([1.0, 0.0, 0.0]))
    assert one["difference"].values.tolist() == [[0, 2, 3]]
    several = reference_attributions(x, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 4.0]]))
    assert several["difference"].values.tolist() == [[0.5, 2, 2]]
    assert set(one) == {"random", "difference"}


def test_random_values_are_even_between_minus_one_and_one():
    x = torch.zeros(100, 400)
    found = reference_attributions(x, x[0])["random"].values
    assert found.abs().max() < 1
    # 40000 draws: the mean is known to 0.003, the variance to 0.0015.
    assert found.mean().item() == pytest.approx(0, abs=0.012)
    assert found.var().item() == pytest.approx(1 / 3, abs=0.006)
    assert torch.equal(found, reference_attributions(x, x[0])["random"].values)
    other = reference_attributions(x, x[0], generator=seeded(5))["random"].values
    assert not torch.equal(found, other)


def test_each_input_has_draws_of_its_own_whatever_the_batch():
    x = torch.zeros(3, 20)
    found = reference_attributions(x, x[0])["random"].values
    assert torch.equal(reference_attributions(x[:1], x[0])["random"].values, found[:1])
    assert not torch.equal(found[0], found[1])


def test_half_precision_and_token_ids():
    half = torch.ones(1, 1, 4, 4).bfloat16()
    for one in reference_attributions(half, half[0] * 0).values():
        assert one.values.dtype == torch.bfloat16
    ids = torch.tensor([[5, 7, 0]])
    found = reference_attributions(ids, torch.zeros(3, dtype=torch.long))
    assert found["difference"].values.tolist() == [[1, 1, 0]]
    assert found["random"].values.unique().numel() == 3


def test_broken_inputs_are_refused():
    x = torch.ones(1, 3)
    with pytest.raises(ValueError, match="The input must be finite"):
        reference_attributions(x * torch.nan, x[0])
    with pytest.raises(ValueError, match="The batch is empty"):
        reference_attributions(x[:0], x[0])
    with pytest.raises(ValueError, match="baseline has shape"):
        reference_attributions(x, torch.zeros(4))
