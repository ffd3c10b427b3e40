import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import logit
from unmask.methods.saliency import deeplift


def test_modes_end_with_the_call_also_after_an_error():
    class Short(nn.Module):
        def forward(self, x):
            return x if (x > 0).all() else x.relu()

    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), pytest.raises(ValueError, match="Its course depends on the values") as error:
            deeplift(logit(Short(), 0), torch.ones(2, 4), baseline=torch.zeros(4))
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        del error  # what the error still held on to is let go
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_steep_near_zero_are_complete_in_small_steps(dtype):
    """The root mean square of small embeddings, as in Llama: 1/sqrt from 1e-6 to 4e-4."""

    class Normalised(nn.Module):
        def forward(self, x):
            x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
            return x @ torch.arange(8.0, dtype=x.dtype)[:, None]

    x = 0.02 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    score = logit(Normalised(), 0)
    found = deeplift(score, x, baseline=torch.zeros(8, dtype=dtype))
    # The chord of the normalisation is 2e6 steep at its start, and rounding is multiplied by that.
    loose = 1e-4 if dtype == torch.float32 else 1e-9
    assert torch.allclose(found.values.sum(1), score(x), rtol=loose, atol=loose)
    assert found.gap.abs().max() < loose


@pytest.mark.parametrize("bend", [torch.exp, torch.sigmoid, functional.softplus])
@pytest.mark.parametrize("step", [1e-7, 1e-5, 1e-3, 1e-1])
def test_the_chord_of_a_small_step_is_not_lost_in_rounding(bend, step):
    x = torch.tensor([[0.3 + step]])
    start = torch.tensor([0.3])
    found = deeplift(logit(bend, 0), x, baseline=start)
    change = x.double() - start.double()
    truth = bend(x.double()) - bend(start.double())
    slope = found.values.double() / change
    # eps^(2/3) is what difference and derivative leave over where neither is better.
    assert slope.item() == pytest.approx((truth / change).item(), rel=1e-4)
