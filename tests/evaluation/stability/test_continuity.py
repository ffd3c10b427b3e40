import os

import pytest
import torch
from torch import nn

from unmask import Attribution, logit, predicted, zoo
from unmask.evaluation import continuity
from unmask.methods.saliency import gradient, input_x_gradient

SELF = logit(lambda x: x.flatten(1), 0)


def itself(score, x):
    return Attribution(x)


def pictures(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, 5, 8, generator=generator).double()


def slid(x, by, fill):
    """One picture, a column at a time."""
    out = fill.clone()
    for column in range(x.shape[-1]):
        if 0 <= column + by < x.shape[-1]:
            out[..., column + by] = x[..., column]
    return out


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_it_is_what_a_loop_finds(filled, batch_size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(54, 3))
    network = network.double()
    x = pictures(4)
    fill = pictures(1, 9)[0] if filled else torch.zeros_like(x[0])
    score = logit(network, predicted(network, x))
    expected, table = [], []
    for i in range(len(x)):
        one, own = score.at(torch.tensor([i])), x[i : i + 1]
        here = input_x_gradient(one, own).values
        ratios = []
        for by in (-3, -2, -1, 1, 2, 3):
            point = slid(x[i], by, fill)[None]
            moved = (input_x_gradient(one, point).values - here).abs().sum()
            kept = predicted(network, point) == predicted(network, own)
            ratios.append(float(moved / (point - own).norm()) if kept else float("nan"))
        table.append(ratios)
        known = [ratio for ratio in ratios if ratio == ratio]
        expected.append(max(known) if known else float("nan"))
    given = {"fill": fill} if filled else {}
    rating = continuity(score, x, explain=input_x_gradient, steps=3, batch_size=batch_size, **given)
    expected, table = torch.tensor(expected).double(), torch.tensor(table).double()
    assert torch.allclose(rating.values, expected, rtol=1e-9, equal_nan=True)
    assert torch.allclose(rating.curve, table, rtol=1e-9, equal_nan=True)
    assert rating.at.tolist() == [-3, -2, -1, 1, 2, 3]


def test_a_dot_that_moves():
    """By hand: a dot of 2 at x and at x_k is 4 in sum, and the root of 8 in length."""
    x = torch.zeros(1, 1, 3, 8)
    x[0, 0, 1, 4] = 2.0
    rating = continuity(SELF, x, explain=itself, same_class=False)
    assert rating.at.tolist() == [-2, -1, 1, 2]  # a quarter of the width
    assert torch.allclose(rating.curve, torch.full((1, 4), 2**0.5))
    still = continuity(
        SELF, x, explain=lambda score, x: Attribution(torch.ones_like(x)), same_class=False
    )
    assert still.mean == 0


def test_a_picture_of_one_colour_stays_what_it_is():
    x = torch.full((1, 1, 4, 4), 0.5)
    rating = continuity(SELF, x, explain=itself, fill=x[0], same_class=False)
    assert rating.undefined == 1


def test_broken_questions_are_refused():
    x = pictures(1).float()
    for steps in (0, -1, 1.5):
        with pytest.raises((ValueError, TypeError), match=r"`steps`|steps"):
            continuity(SELF, x, explain=itself, steps=steps)
    with pytest.raises(ValueError, match="is gone"):
        continuity(SELF, x, explain=itself, steps=8)
    with pytest.raises((ValueError, TypeError), match=r"The baseline has shape|Type-check"):
        continuity(SELF, x, explain=itself, fill=torch.zeros(3, 5, 8))


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_smoothed_gradient_jumps_less(name):
    if name == "mnist" and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    found = getattr(zoo, name)()
    x = torch.stack(found.inputs[:8])
    score = logit(found.model, predicted(found.model, x))
    noise = 0.3 * torch.randn(20, 1, *x.shape[1:], generator=torch.Generator().manual_seed(1))

    def smooth(score, x):
        return Attribution(torch.stack([gradient(score, x + n).values for n in noise]).mean(0))

    asked = {"steps": 2, "same_class": False}
    plain = continuity(score, x, explain=gradient, **asked)
    assert continuity(score, x, explain=smooth, **asked).mean < plain.mean
