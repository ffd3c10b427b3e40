import warnings

import numpy as np
import pytest
import torch

from quantus_alone import quantus
from strategies import relu_network
from unmask import Score, blur, logit, patches
from unmask.evaluation import blurred, linear_imputation, on_trial

GRID = torch.arange(1.0, 10).view(1, 1, 3, 3)
FIRST = torch.tensor([0])
WEIGHTS = {(i, j): (1 / 6 if i == 0 or j == 0 else 1 / 12) for i in (-1, 0, 1) for j in (-1, 0, 1)}
del WEIGHTS[0, 0]


def holes(shape, *places):
    visible = torch.ones(shape, dtype=torch.bool)
    for place in places:
        visible[(0, 0, *place)] = False
    return visible


def slow_imputed(image, visible):
    """The equations written out, and solved as one dense system."""
    height, width = image.shape
    gone = [(i, j) for i in range(height) for j in range(width) if not visible[i, j]]
    number = {place: k for k, place in enumerate(gone)}
    left, right = np.zeros((len(gone), len(gone))), np.zeros(len(gone))
    for (i, j), k in number.items():
        for (down, across), weight in WEIGHTS.items():
            place = (i + down, j + across)
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            left[k, k] += weight
            if place in number:
                left[k, number[place]] -= weight
            else:
                right[k] += weight * float(image[place])
    filled = image.clone()
    for place, value in zip(gone, np.linalg.solve(left, right), strict=True):
        filled[place] = value
    return filled


def test_the_middle_of_nine():
    filled = linear_imputation(GRID, noise=0.0)(FIRST, holes((1, 1, 3, 3), (1, 1)))
    assert torch.allclose(filled, GRID, atol=1e-6)


def test_two_at_the_border():
    filled = linear_imputation(GRID, noise=0.0)(FIRST, holes((1, 1, 3, 3), (0, 0), (0, 1)))
    assert filled[0, 0, 0].tolist() == pytest.approx([13 / 3, 13 / 3, 3], abs=1e-6)
    assert torch.equal(filled[0, 0, 1:], GRID[0, 0, 1:])


def test_a_ramp_is_continued_across_a_hole():
    down, across = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij")
    ramp = (3 * down - 2 * across + 1).double()[None, None]
    visible = torch.ones(1, 1, 12, 9, dtype=torch.bool)
    visible[..., 2:10, 1:8] = False
    filled = linear_imputation(ramp, noise=0.0)(FIRST, visible)
    assert torch.allclose(filled, ramp, atol=1e-8)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9, 0.99])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_it_follows_the_definition(share, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 9, 13, generator=generator).to(dtype)
    visible = torch.rand(6, 2, 9, 13, generator=generator) >= share
    visible[:, :, 4, 4] = True
    rows = torch.tensor([0, 2, 1, 1, 0, 2])
    filled = linear_imputation(x, noise=0.0)(rows, visible)
    assert filled.dtype == dtype
    # Ten digits in float64; six in float32, of which the last is of the size of the holes; float16
    # holds three.
    close = {torch.float64: 1e-8, torch.float32: 2e-5, torch.float16: 2e-3}[dtype]
    for k, row in enumerate(rows.tolist()):
        for channel in range(2):
            expected = slow_imputed(x[row, channel].double(), visible[k, channel])
            assert torch.allclose(filled[k, channel].double(), expected, atol=close)


def test_what_is_seen_stays_and_what_is_filled_lies_between():
    generator = torch.Generator().manual_seed(1)
    x = 40 + torch.rand(4, 1, 10, 10, generator=generator)
    visible = torch.rand(4, 1, 10, 10, generator=generator) < 0.3
    filled = linear_imputation(x, noise=0.0)(torch.arange(4), visible)
    assert torch.equal(filled[visible], x[visible])
    for k in range(4):
        assert filled[k].min() >= x[k][visible[k]].min() - 1e-4
        assert filled[k].max() <= x[k][visible[k]].max() + 1e-4


def test_a_single_pixel_that_is_left_spreads_everywhere():
    visible = torch.zeros(1, 1, 5, 7, dtype=torch.bool)
    visible[0, 0, 2, 3] = True
    x = torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    filled = linear_imputation(x, noise=0.0)(FIRST, visible)
    assert torch.allclose(filled, x[0, 0, 2, 3].expand_as(filled), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_does_not_matter(scale):
    visible = holes((1, 1, 3, 3), (0, 0), (0, 1))
    filled = linear_imputation(GRID * scale, noise=0.0)(FIRST, visible) / scale
    assert filled[0, 0, 0].tolist() == pytest.approx([13 / 3, 13 / 3, 3], rel=1e-5)


def test_the_company_of_an_image_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 1, 16, 16, generator=generator, dtype=torch.float64)
    visible = torch.rand(5, 1, 16, 16, generator=generator) < torch.linspace(0.02, 0.98, 5).view(
        5, 1, 1, 1
    )
    fill = linear_imputation(x)
    together = fill(torch.arange(5), visible)
    for k in range(5):
        alone = fill(torch.tensor([k]), visible[k : k + 1])
        assert torch.allclose(alone[0], together[k], rtol=0, atol=1e-12)


def test_noise_is_of_its_size_and_shared():
    x = torch.zeros(2, 1, 40, 40)
    visible = torch.zeros(2, 1, 40, 40, dtype=torch.bool)
    visible[:, :, 0] = True
    generator = torch.Generator().manual_seed(0)
    filled = linear_imputation(x, noise=0.1, generator=generator)(torch.arange(2), visible)
    assert torch.equal(filled[0], filled[1])
    drawn = filled[0, 0, 1:]
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.06)  # 1560 draws: 3 standard errors
    assert abs(float(drawn.mean())) < 3 * 0.1 / 1560**0.5
    again = linear_imputation(x, noise=0.1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(torch.arange(2), visible), filled)


def test_with_nothing_left_there_is_nothing_to_fill_from():
    visible = torch.ones(2, 2, 3, 3, dtype=torch.bool)
    visible[1, 0] = False
    fill = linear_imputation(GRID.expand(2, 2, 3, 3))
    with pytest.raises(ValueError, match="of an image all are removed"):
        fill(torch.arange(2), visible)
    trial = on_trial(
        Score(lambda x: x, lambda output, rows: output.flatten(1).sum(1)),
        *(GRID, patches((1, 3, 3), (3, 3)), linear_imputation(GRID)),
    )
    with pytest.raises(ValueError, match="Leave one at least"):
        trial.ends()


def test_broken_images_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        linear_imputation(GRID / 0)
    with pytest.raises(ValueError, match="Noise has a size, but it is -1"):
        linear_imputation(GRID, noise=-1.0)
    with pytest.raises(ValueError, match="The batch is empty"):
        blurred(GRID[:0])
    with pytest.raises(ValueError, match="positive radius"):
        blurred(GRID, 0.0)


def test_a_blur_of_each_image_of_its_own():
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(3, 2, 8, 8, dtype=torch.bool)
    filled = blurred(x, 2.0)(torch.tensor([2, 0, 1]), nothing)
    for k, row in enumerate((2, 0, 1)):
        assert torch.allclose(filled[k], blur(x[row], 2.0), atol=1e-6)
    whole = blurred(x, 2.0)(torch.arange(3), ~nothing)
    assert torch.equal(whole, x)


def test_a_trial_takes_both_whatever_the_batch():
    x = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = torch.nn.Sequential(torch.nn.Flatten(), relu_network([36, 8, 3], 0))
    masks = torch.rand(7, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    masks[:, 0] = True
    players = patches((1, 6, 6), (3, 3))
    for fill in (blurred(x, 1.0), linear_imputation(x)):
        one, other = (
            on_trial(logit(network, 1), x, players, fill, batch_size=size).under(masks)
            for size in (1, 1000)
        )
        assert torch.allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fill", [blurred, linear_imputation])
def test_only_images_have_pixels_side_by_side(fill):
    with pytest.raises((ValueError, TypeError)):  # by the checker of types first, where it is on
        fill(torch.ones(2, 4))


@pytest.mark.oracle
@pytest.mark.parametrize("count", [1, 40, 150, 195])
def test_quantus(count):
    q = quantus()
    impute = q.perturb_func.noisy_linear_imputation
    generator = torch.Generator().manual_seed(count)
    x = torch.rand(1, 3, 14, 14, generator=generator, dtype=torch.float64)
    gone = torch.randperm(196, generator=generator)[:count]
    visible = torch.ones(196, dtype=torch.bool)
    visible[gone] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = impute(x[0].numpy(), gone.numpy(), noise=0.0)
    filled = linear_imputation(x, noise=0.0)(FIRST, visible.view(1, 1, 14, 14).expand_as(x))
    assert np.allclose(filled[0].numpy(), expected, atol=1e-8)
