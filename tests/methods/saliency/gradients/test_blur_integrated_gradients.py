import pytest
import torch
from torch import nn

from unmask import log_odds, logit, predicted, zoo
from unmask.methods.saliency import blur_integrated_gradients


def images(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 2, 6, 6, generator=generator).double()


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
    return model.double().eval()


def blurred(image, sigma):
    """Every pixel a weighted mean of all, where beyond the border the edge goes on."""
    if sigma == 0:
        return image
    reach = max(1, round(3 * sigma))
    weights = [2.718281828459045 ** (-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    height, width = image.shape[1:]
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            for a, v in zip(range(-reach, reach + 1), weights, strict=True):
                for b, w in zip(range(-reach, reach + 1), weights, strict=True):
                    row, column = min(max(i + a, 0), height - 1), min(max(j + b, 0), width - 1)
                    out[:, i, j] += v * w * image[:, row, column]
    return out / sum(weights) ** 2


def slow(score, image, steps, radius):
    points = [blurred(image, radius * (1 - k / steps) ** 2) for k in range(steps + 1)]
    values, before = torch.zeros_like(image), None
    for k, point in enumerate(points):
        point = point[None].clone().requires_grad_()
        after = torch.autograd.grad(score(point).sum(), point)[0][0]
        if before is not None:
            values += (points[k] - points[k - 1]) * (before + after) / 2
        before = after
    return values


def test_the_slow_twin_agrees():
    model, x = network(), images(2)
    found = blur_integrated_gradients(log_odds(model, torch.tensor([2, 0])), x, steps=4, radius=2.0)
    for i, target in enumerate((2, 0)):
        alone = slow(log_odds(model, target), x[i], 4, 2.0)
        assert torch.allclose(found.values[i], alone, atol=1e-10)
    assert found.evaluations == 2 * 5


def test_of_a_plane_every_pixel_gets_its_change():
    """The gradient is the same all along, so that one step is enough."""
    weights = images(1, 1)[0]
    plane = logit(lambda x: (x * weights).flatten(1).sum(1), 0)
    x = images(2)
    found = blur_integrated_gradients(plane, x, steps=1, radius=3.0)
    for i in range(2):
        assert torch.allclose(found.values[i], weights * (x[i] - blurred(x[i], 3.0)), atol=1e-12)
    assert found.gap.abs().max() < 1e-12


def test_the_gap_closes_with_more_steps():
    score, x = logit(network(), 1), images(3)
    gaps = []
    for steps in (4, 16, 64):
        found = blur_integrated_gradients(score, x, steps=steps, radius=4.0)
        start = torch.stack([blurred(one, 4.0) for one in x])
        change = (score(x) - score(start)).detach()
        assert torch.allclose(found.gap, change - found.values.flatten(1).sum(1), atol=1e-10)
        gaps.append(float(found.gap.abs().sum()))
    assert gaps[2] < gaps[1] / 4 < gaps[0] / 16


def test_an_even_image_gets_nothing_and_sums_add_up():
    model, x = network(), images(2)
    flat = torch.ones(1, 2, 6, 6).double() / 3
    assert blur_integrated_gradients(logit(model, 0), flat).values.abs().max() < 1e-12
    one, two = logit(model, 0), logit(model, 1)
    both = logit(lambda x: one(x) - 2 * two(x), 0)
    found = [blur_integrated_gradients(s, x, steps=5).values for s in (one, two, both)]
    assert torch.allclose(found[2], found[0] - 2 * found[1], atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 1000])
def test_batches_change_nothing(batch_size):
    score, x = log_odds(network(), torch.tensor([2, 0, 1])), images(3)
    whole = blur_integrated_gradients(score, x, steps=7)
    parts = blur_integrated_gradients(score, x, steps=7, batch_size=batch_size)
    assert torch.allclose(parts.values, whole.values, atol=1e-12)
    assert torch.allclose(parts.gap, whole.gap, atol=1e-12)


def test_bad_wishes_are_refused():
    score, x = logit(network(), 0), images(2)
    for options, words in (
        ({"steps": 0}, "0 steps"),
        ({"radius": 0.0}, "positive radius"),
        ({"batch_size": 0}, "batch of 0"),
    ):
        with pytest.raises(ValueError, match=words):
            blur_integrated_gradients(score, x, **options)


def test_of_a_real_network():
    exhibit = zoo.digits()
    x = torch.stack(exhibit.inputs[:3])
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = blur_integrated_gradients(score, x, steps=300, radius=8.0)
    size = found.values.flatten(1).abs().sum(1)
    assert (found.gap.abs() < 0.02 * size).all()
