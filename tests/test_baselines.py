import math

import pytest
import torch
from hypothesis import given

from strategies import tensors
from unmask import background, blur, constant, mean, token


def test_constants_keep_shape_and_type():
    x = torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(constant(x), torch.zeros(2, 3, dtype=torch.float64))
    assert constant(x, 0.5).unique().tolist() == [0.5]
    assert token(torch.tensor([5, 6]), 103).tolist() == [103, 103]


@given(tensors(5, 2, 2))
def test_the_mean_is_taken_position_by_position(data):
    expected = [[sum(float(x[i, j]) for x in data) / 5 for j in range(2)] for i in range(2)]
    assert torch.allclose(mean(data), torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def slow_blur(picture, radius):
    """Each pixel as a weighted mean over both axes; beyond the border stands the edge."""
    reach = max(1, round(3 * radius))
    weights = [math.exp(-0.5 * (d / radius) ** 2) for d in range(-reach, reach + 1)]
    weights = [w / sum(weights) for w in weights]
    height, width = len(picture), len(picture[0])
    blurred = [[0.0] * width for _ in range(height)]
    for i in range(height):
        for j in range(width):
            for a, down in enumerate(weights):
                for b, across in enumerate(weights):
                    row = min(max(i + a - reach, 0), height - 1)
                    column = min(max(j + b - reach, 0), width - 1)
                    blurred[i][j] += down * across * picture[row][column]
    return blurred


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5])
def test_blur_is_a_gaussian_mean(radius):
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([slow_blur(channel, radius) for channel in x.tolist()])
    assert torch.allclose(blur(x, radius), expected.double(), atol=1e-6)


def test_blur_takes_any_layout_and_type():
    x = torch.randn(4, 6, 3).permute(2, 0, 1)
    assert torch.allclose(blur(x, 1.0), blur(x.contiguous(), 1.0))
    assert blur(x.half(), 1.0).dtype == torch.float16
    assert torch.allclose(blur(torch.full((1, 3, 3), 2.0), 40.0), torch.full((1, 3, 3), 2.0))


def test_backgrounds_are_drawn_without_replacement():
    data = torch.arange(10)[:, None]
    drawn = background(data, 6, generator=torch.Generator().manual_seed(3))
    assert len(set(drawn.flatten().tolist())) == 6
    again = background(data, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, again)
    assert background(data, 2).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("samples", [0, 11])
def test_backgrounds_that_are_not_there_are_refused(samples):
    with pytest.raises(ValueError, match=f"{samples} backgrounds cannot be drawn from 10"):
        background(torch.zeros(10, 1), samples)


def test_blurs_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="positive radius, but got 0"):
        blur(torch.zeros(1, 2, 2), 0.0)
    with pytest.raises(TypeError):
        blur(torch.zeros(1, 2, 2, dtype=torch.uint8), 1.0)
