import math
import os

import pytest
import torch
from torch import nn

from unmask import Score, log_odds, logit, predicted, probability
from unmask.methods.saliency import rise
from unmask.zoo import cifar10, digits, mnist, squeezenet

INTEGERS = "real numbers|parameter 'x'"  # the second where types are checked at run time
FLAT = "laid over images|parameter 'x'"


def images(count, height=6, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, height, width, generator=generator, dtype=torch.float64)


def network(seed=0, pixels=42):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * pixels, 3)
        return nn.Sequential(*layers).double().eval()


def hat(position, cells, cell):
    """How much each cell counts at a position of the enlarged grid: between centres, linearly."""
    place = (position + 0.5) * cells / ((cells + 1) * cell) - 0.5
    place = min(max(place, 0.0), cells - 1.0)
    return [max(0.0, 1 - abs(place - i)) for i in range(cells)]


def slow_values(score, x, baseline, samples, cells, keep, centred, generator):
    """Mask by mask and pixel by pixel."""
    height, width = x.shape[-2:]
    seen = torch.rand(1024, cells, cells, generator=generator) < keep
    place = torch.rand(1024, 2, generator=generator)
    down, across = math.ceil(height / cells), math.ceil(width / cells)
    middle = (score(x[None])[0] + score(baseline[None])[0]) / 2
    terms = []
    for n in range(samples):
        top, left = int(place[n, 0] * down), int(place[n, 1] * across)
        mask = torch.zeros(height, width, dtype=x.dtype)
        for r in range(height):
            for c in range(width):
                for i, a in enumerate(hat(r + top, cells, down)):
                    for j, b in enumerate(hat(c + left, cells, across)):
                        mask[r, c] += a * b * seen[n, i, j]
        value = score((mask * x + (1 - mask) * baseline)[None])[0]
        terms.append((value - middle) * (mask / keep - (1 if centred else 0)))
    terms = torch.stack(terms)
    mean = terms.mean(0) if centred else middle + terms.mean(0)
    return mean.detach(), (terms.std(0) / samples**0.5).detach()


def linear_truth(x, baseline, weights, cells, keep):
    """The mean of two pixels' product is known, and with it the values of a weighted sum."""
    kernels = []
    for side in x.shape[-2:]:
        cell = math.ceil(side / cells)
        kernel = torch.zeros(side, side, dtype=torch.float64)
        for shift in range(cell):
            rows = torch.tensor([hat(t + shift, cells, cell) for t in range(side)]).double()
            kernel += rows @ rows.T / cell
        kernels.append(kernel)
    worth = (weights * (x - baseline)).sum(0)
    near = keep * (1 - keep) * kernels[0] @ worth @ kernels[1].T
    mean = (weights * baseline).sum() + keep * worth.sum()
    return near / keep, mean + near / keep


@pytest.mark.parametrize("centred", [True, False])
def test_values_follow_the_definition(centred):
    x, baseline = images(2), images(1, seed=4)[0]
    found = rise(
        log_odds(network(), torch.tensor([0, 2])), x, baseline=baseline, samples=20, cells=3,
        keep=0.3, centred=centred, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert found.values.shape == found.errors.shape == (2, 1, 6, 7)
    assert found.evaluations == 2 * 22
    for i, target in enumerate((0, 2)):
        values, errors = slow_values(
            log_odds(network(), target), x[i], baseline, 20, 3, 0.3, centred,
            torch.Generator().manual_seed(3),
        )  # fmt: skip
        # The masks are enlarged in float32.
        assert torch.allclose(found.values[i, 0], values, atol=1e-5)
        assert torch.allclose(found.errors[i, 0], errors, atol=1e-5)


@pytest.mark.parametrize(("cells", "keep"), [(3, 0.5), (2, 0.2), (6, 0.8)])
def test_of_a_weighted_sum_the_mean_is_known(cells, keep):
    x, weights = images(1), images(1, seed=1)[0]
    baseline = images(1, seed=2)[0]
    score = logit(lambda x: (x * weights).sum((1, 2, 3)), 0)
    truth = linear_truth(x[0], baseline, weights, cells, keep)
    for centred, expected in zip((True, False), truth, strict=True):
        found = rise(
            score, x, baseline=baseline, samples=20_000, cells=cells, keep=keep, centred=centred
        )
        away = (found.values[0, 0] - expected) / found.errors[0, 0]
        assert away.abs().max() < 4  # standard errors
        assert found.errors.max() < 0.2 * expected.std()
    _, wrong = linear_truth(x[0], baseline, weights, cells, 0.5 * keep)
    assert ((found.values[0, 0] - wrong) / found.errors[0, 0]).abs().max() > 4


def test_errors_are_what_they_say():
    x, score = images(1), log_odds(network(), 1)
    runs = [
        rise(
            score, x, baseline=torch.zeros(2, 6, 7), samples=100, cells=3,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(200)
    ]  # fmt: skip
    spread = torch.stack([run.values for run in runs]).std(0)
    said = torch.stack([run.errors for run in runs]).square().mean(0).sqrt()
    # The deviation of 200 values is known to a twentieth.
    assert torch.allclose(said / spread, torch.ones_like(said), atol=0.2)
    assert abs(float((said / spread).mean()) - 1) < 0.1


def test_more_masks_are_surer():
    x, score = images(1), log_odds(network(), 1)
    few, many = (rise(score, x, baseline=x[0] * 0, samples=n, cells=3).errors for n in (500, 8000))
    assert torch.allclose(few / many, torch.full_like(few, 4.0), rtol=0.2)


def test_a_constant_model_is_the_same_everywhere_and_sure():
    score = logit(lambda x: torch.full((len(x),), 2.5), 0)
    for centred, value in ((True, 0.0), (False, 2.5)):
        found = rise(
            score, images(2), baseline=torch.zeros(2, 6, 7), samples=10, cells=3, centred=centred
        )
        assert torch.equal(found.values, torch.full_like(found.values, value))
        assert found.errors.max() == 0


def test_all_that_is_always_seen_is_the_image_itself():
    x, score = images(2), log_odds(network(), torch.tensor([2, 1]))
    found = rise(score, x, baseline=x[0] * 0, keep=1.0, samples=5, cells=3, centred=False)
    whole = score(x).detach()[:, None, None, None].expand_as(found.values)
    assert torch.allclose(found.values, whole, atol=1e-6)


def test_values_are_linear_in_the_score():
    one, other = network(0), network(1)
    options = {"baseline": torch.zeros(2, 6, 7), "samples": 50, "cells": 3}
    values = [
        rise(logit(model, 0), images(1), **options).values
        for model in (one, other, lambda x: 2 * one(x) - 3 * other(x))
    ]
    assert torch.allclose(values[2], 2 * values[0] - 3 * values[1], atol=1e-9)


def test_backgrounds_are_averaged_over_or_belong_to_images():
    x, score = images(2), log_odds(network(), torch.tensor([2, 1]))
    one, other = images(2, seed=8)
    options = {"samples": 60, "cells": 3}
    alone = [rise(score, x, baseline=b, **options).values for b in (one, other)]
    both = rise(score, x, baseline=torch.stack([one, other]), **options)
    assert torch.allclose(both.values, (alone[0] + alone[1]) / 2, atol=1e-9)
    assert both.evaluations == 2 * 2 * 62
    each = rise(score, x, baseline=torch.stack([one, other])[:, None], **options).values
    assert torch.allclose(each[0], alone[0][0], atol=1e-9)
    assert torch.allclose(each[1], alone[1][1], atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_batches_never_exceed_their_size_and_change_nothing(batch_size):
    sizes, model = [], network()

    def counted(x):
        sizes.append(len(x))
        return model(x)

    options = {"baseline": torch.zeros(2, 6, 7), "samples": 100, "cells": 3}
    found = rise(logit(counted, 0), images(3), batch_size=batch_size, **options)
    assert max(sizes) <= batch_size
    assert sum(sizes) == found.evaluations == 3 * 102
    expected = rise(logit(model, 0), images(3), **options)
    assert torch.allclose(found.values, expected.values, atol=1e-6)
    assert torch.allclose(found.errors, expected.errors, atol=1e-6)


def test_fewer_masks_are_the_first_ones():
    seen = {}
    for samples in (3, 5):
        rows = []

        def kept(x, rows=rows):
            rows.append(x.clone())
            return x.sum((1, 2, 3))

        rise(logit(kept, 0), torch.ones(1, 1, 8, 8), baseline=torch.zeros(1, 8, 8), samples=samples)
        seen[samples] = torch.cat(rows)
    assert torch.equal(seen[3], seen[5][: len(seen[3])])


def test_chance_comes_from_the_generator():
    x, score = images(1), log_odds(network(), 0)
    default, same, other = (
        rise(
            score, x, baseline=x[0] * 0, samples=10,
            generator=None if seed is None else torch.Generator().manual_seed(seed), cells=3,
        ).values
        for seed in (None, 0, 1)
    )  # fmt: skip
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x": torch.zeros(2, 6, 7)}, (ValueError, TypeError), FLAT),
        ({"x": torch.zeros(2, 2, 6, 7).long()}, TypeError, INTEGERS),
        ({"x": torch.zeros(0, 2, 6, 7)}, ValueError, "empty"),
        ({"cells": 7}, ValueError, "7 x 7 cells"),
        ({"cells": 0}, ValueError, "0 x 0 cells"),
        ({"samples": 1}, ValueError, "1 masks"),
        ({"keep": 0.0}, ValueError, "chance 0.0"),
        ({"keep": 1.5}, ValueError, "chance 1.5"),
        ({"batch_size": 0}, ValueError, "batch of 0 inputs"),
        ({"baseline": torch.zeros(2, 6, 6)}, ValueError, r"\(2, 6, 6\)"),
        ({"score": logit(lambda x: x.sum((1, 2, 3)) / 0, 0)}, ValueError, "image 0 is not finite"),
        ({"score": logit(network(), torch.tensor([0, 1, 1]))}, ValueError, "of 3 inputs.*holds 2"),
        ({"score": logit(nn.BatchNorm2d(2), 0)}, ValueError, "batch normalisation in training"),
    ],
)
def test_what_cannot_be_masked_is_refused(options, error, words):
    given = {"score": logit(network(), 0), "x": images(2).double(), "cells": 3} | options
    given.setdefault("baseline", torch.zeros(2, 6, 7))
    with pytest.raises(error, match=words):
        rise(given.pop("score"), given.pop("x"), **given)


def test_models_that_write_on_their_input_and_fail_leave_nothing():
    x = images(1)
    before = x.clone()
    options = {"baseline": torch.zeros(2, 6, 7), "samples": 20, "cells": 3}
    writes = rise(logit(lambda x: x.mul_(2).sum((1, 2, 3)), 0), x, **options).values
    clean = rise(logit(lambda x: (2 * x).sum((1, 2, 3)), 0), x, **options).values
    assert torch.equal(writes, clean)
    assert torch.equal(x, before)
    model = network()

    def read(output, rows):
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        rise(Score(model, read), x, **options)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("exhibit", [digits, mnist, cifar10])
def test_what_is_worth_most_is_enough_for_a_real_network(exhibit):
    if exhibit is not digits and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    shown = exhibit()
    x, baseline = torch.stack(shown.inputs[:4]), shown.baseline(0)
    score = probability(shown.model, predicted(shown.model, x))
    found = rise(score, x, baseline=baseline, samples=400)
    assert (found.errors < 0.1).all()
    order = found.values.flatten(1).argsort(1, descending=True).argsort(1).view_as(found.values)
    half = order[0].numel() // 2
    with torch.no_grad():
        best, worst = (
            score(torch.where(part, x, baseline)) for part in (order < half, order >= half)
        )
    assert best.mean() > worst.mean() + 0.2


@pytest.mark.slow
def test_a_photo():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    shown = squeezenet()
    x = shown.inputs[3][None]
    score = probability(shown.model, predicted(shown.model, x))
    found = rise(score, x, baseline=shown.baseline(3), samples=300)
    assert found.values.argmax() // 227 < 150  # the bittern's head and neck, in the upper half
    assert found.errors.max() < 0.1
