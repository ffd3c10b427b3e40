import os

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask import Score, log_odds, logit, predicted, probability
from unmask.baselines import blur
from unmask.methods.saliency import meaningful_perturbation
from unmask.zoo import cifar10, digits, mnist, squeezenet

PLAIN = {"cells": (4, 4), "softness": 0.0, "jitter": 0.0, "roughness": 0.0}
BLACK = torch.zeros(1, 4, 4, dtype=torch.float64)


def images(count, side=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, side, side, generator=generator, dtype=torch.float64)


def network(seed=0, side=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * side**2, 3)
        return nn.Sequential(*layers).double().eval()


def slow_mask(score, x, baseline, cells, steps, preserve, shifts, softness):
    """One image: the objective of the paper, term by term, and Adam as it is printed."""
    m = torch.ones(cells, dtype=x.dtype)
    first, second = torch.zeros_like(m), torch.zeros_like(m)
    for t in range(1, steps + 1):
        m = m.detach().requires_grad_()
        large = functional.interpolate(m[None, None], size=x.shape[-2:], mode="bilinear")[0]
        large = blur(large, softness * x.shape[-1] / cells[1]) if softness else large
        dy, dx = shifts[t - 1]
        mixed = []
        for row in range(x.shape[-2]):
            for column in range(x.shape[-1]):
                r = min(max(row + dy, 0), x.shape[-2] - 1)
                c = min(max(column + dx, 0), x.shape[-1] - 1)
                share = large[0, row, column]
                mixed.append(share * x[:, r, c] + (1 - share) * baseline[:, r, c])
        point = torch.stack(mixed, 1).view(x.shape)
        price = 0
        for row in range(cells[0]):
            for column in range(cells[1]):
                price = price + 0.01 * (m[row, column] if preserve else 1 - m[row, column])
                if row + 1 < cells[0]:
                    price = price + 0.2 * (m[row, column] - m[row + 1, column]).abs() ** 3
                if column + 1 < cells[1]:
                    price = price + 0.2 * (m[row, column] - m[row, column + 1]).abs() ** 3
        value = score(point[None])[0]
        (price - value if preserve else price + value).backward()
        first = 0.9 * first + 0.1 * m.grad
        second = 0.999 * second + 0.001 * m.grad**2
        step = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        m = (m.detach() - 0.1 * step).clamp(0, 1)
    large = functional.interpolate(m[None, None], size=x.shape[-2:], mode="bilinear")[0]
    large = blur(large, softness * x.shape[-1] / cells[1]) if softness else large
    return large if preserve else 1 - large


@pytest.mark.parametrize(("preserve", "softness"), [(False, 0.625), (True, 0.0)])
def test_values_follow_the_definition(preserve, softness):
    x, baseline = images(2, side=8), images(1, side=8, seed=5)[0]
    score = probability(network(), torch.tensor([0, 2]))
    found = meaningful_perturbation(
        score, x, baseline=baseline, preserve=preserve, cells=(4, 4), steps=8, sparsity=0.01,
        roughness=0.2, softness=softness, jitter=0.5, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    shifts = [torch.randint(-1, 2, (1, 2), generator=generator)[0].tolist() for _ in range(8)]
    for i, target in enumerate((0, 2)):
        expected = slow_mask(
            probability(network(), target), x[i], baseline, (4, 4), 8, preserve, shifts, softness
        )
        assert torch.allclose(found.values[i], expected, atol=1e-9)
    assert found.evaluations == 2 * 8


@pytest.mark.parametrize("preserve", [False, True])
def test_of_a_sum_exactly_the_parts_that_pay_are_found(preserve):
    x = images(3) + 0.1
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).roll(5)
    score = logit(lambda x: x.flatten(1) @ weights, 0)
    found = meaningful_perturbation(
        score, x, baseline=BLACK, preserve=preserve, sparsity=0.2, **PLAIN
    )
    worth = weights.view(4, 4) * x
    assert (worth > 0.2).any()
    assert (worth < 0.2).any()
    assert torch.equal(found.values, (worth > 0.2).double())


def test_the_price_of_the_paper_on_a_sum():
    x = torch.full((1, 1, 2, 2), 1.0, dtype=torch.float64)
    weights = torch.tensor([[2e-4, 0.5e-4], [-1.0, 3e-4]], dtype=torch.float64)
    score = logit(lambda x: (x[:, 0] * weights).sum((1, 2)), 0)
    found = meaningful_perturbation(
        score, x, baseline=torch.zeros(1, 2, 2).double(), **PLAIN | {"cells": (2, 2)}
    )
    assert found.values[0, 0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("preserve", [False, True])
def test_a_constant_model_has_nothing_to_show(preserve):
    score = logit(lambda x: 3 + 0 * x.sum((1, 2, 3)), 0)
    found = meaningful_perturbation(score, images(2), baseline=BLACK, preserve=preserve, **PLAIN)
    assert found.values.abs().max() == 0


def test_roughness_makes_masks_smooth():
    x, centre = torch.ones(1, 1, 8, 8).double(), torch.zeros(8, 8).double()
    centre[3, 3] = 1.0
    score = logit(lambda x: (x[:, 0] * centre).sum((1, 2)), 0)
    rough, smooth = (
        meaningful_perturbation(
            score, x, baseline=torch.zeros(1, 8, 8).double(), cells=(8, 8), roughness=price,
            softness=0.0, jitter=0.0, sparsity=1e-3,
        ).values[0, 0]
        for price in (0.0, 1.0)
    )  # fmt: skip
    assert torch.equal(rough, centre)
    assert smooth.diff(dim=0).abs().max() < 0.6
    assert smooth.argmax() == centre.argmax()


def test_the_planted_part_is_found():
    """The score looks at one corner of the image, and at nothing else."""
    x = images(2, side=32)
    score = logit(lambda x: x[:, 0, 4:14, 6:16].mean((1, 2)), 0)
    for preserve in (False, True):
        black = torch.zeros(1, 32, 32).double()
        found = meaningful_perturbation(
            score, x, baseline=black, preserve=preserve, sparsity=5e-3, roughness=1e-3
        ).values[:, 0]
        inside = found[:, 4:14, 6:16].mean((1, 2))
        outside = (found.sum((1, 2)) - found[:, 4:14, 6:16].sum((1, 2))) / (32 * 32 - 100)
        assert (inside > 0.8).all()
        assert (outside < 0.1).all()


def test_backgrounds_are_averaged_over_or_belong_to_inputs():
    x, score = images(2, side=8), log_odds(network(), torch.tensor([1, 0]))
    one, other = images(2, side=8, seed=7)
    options = {"cells": (4, 4), "steps": 10}
    shared = meaningful_perturbation(score, x, baseline=one, **options)
    of_set = meaningful_perturbation(score, x, baseline=torch.stack([one, one]), **options)
    assert torch.allclose(shared.values, of_set.values, atol=1e-10)
    assert of_set.evaluations == 2 * shared.evaluations
    each = torch.stack([one, other])[:, None]
    own = meaningful_perturbation(score, x, baseline=each, **options)
    for i, background in enumerate((one, other)):
        alone = meaningful_perturbation(
            log_odds(network(), [1, 0][i]), x[i : i + 1], baseline=background, **options
        )
        assert torch.allclose(own.values[i], alone.values[0], atol=1e-10)
    mixed = meaningful_perturbation(score, x, baseline=torch.stack([one, other]), **options)
    assert not torch.allclose(mixed.values, own.values, atol=1e-3)


def test_several_shifts_take_several_evaluations_and_no_larger_batch():
    sizes, model = [], network()

    def counted(x):
        sizes.append(len(x))
        return model(x)

    options = {"baseline": torch.zeros(1, 8, 8).double(), "steps": 6, "samples": 3, "jitter": 1.0}
    small = meaningful_perturbation(logit(counted, 0), images(2, 8), batch_size=4, **options)
    assert max(sizes) == 4
    assert small.evaluations == sum(sizes) == 6 * 3 * 2
    large = meaningful_perturbation(logit(model, 0), images(2, 8), batch_size=100, **options)
    assert torch.allclose(small.values, large.values, atol=1e-9)


def test_masks_that_are_done_cost_nothing_more():
    x = torch.ones(2, 1, 4, 4).double()
    score = Score(lambda x: x, lambda z, rows: (z * rows[:, None, None, None]).sum((1, 2, 3)))
    found = meaningful_perturbation(score, x, baseline=BLACK, steps=200, **PLAIN)
    assert found.evaluations < 2 * 80
    assert found.values[0].max() == 0  # the first image's score is always zero
    assert found.values[1].min() == 1


def test_chance_comes_from_the_generator():
    score, x = log_odds(network(), 0), images(1, 8)
    given = [
        meaningful_perturbation(
            score, x, baseline=torch.zeros(1, 8, 8).double(), steps=10,
            generator=None if seed is None else torch.Generator().manual_seed(seed),
        ).values
        for seed in (None, 0, 1)
    ]  # fmt: skip
    assert torch.equal(given[0], given[1])
    assert not torch.equal(given[1], given[2])


def test_inputs_from_inference_mode():
    model, x = network(), images(1, 8)
    expected = meaningful_perturbation(logit(model, 0), x, baseline=x[0] * 0, steps=5).values
    with torch.inference_mode():
        x = x.clone()
        found = meaningful_perturbation(logit(model, 0), x, baseline=x[0] * 0, steps=5).values
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"x": torch.zeros(2, 4, 4).double()},
            (ValueError, TypeError),
            r"\(2, 4, 4\)|parameter 'x'",
        ),
        ({"cells": (5, 4)}, ValueError, "5 x 4 cells"),
        ({"cells": (0, 4)}, ValueError, "0 x 4 cells"),
        ({"beta": 0.5}, ValueError, "power of 0.5"),
        ({"rate": 0.0}, ValueError, "rate of 0.0"),
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"samples": 0}, ValueError, "samples is 0"),
        ({"batch_size": 0}, ValueError, "batch of 0 inputs"),
        ({"sparsity": -1.0}, ValueError, "sparsity is -1.0"),
        ({"roughness": float("nan")}, ValueError, "roughness is nan"),
        ({"jitter": -0.5}, ValueError, "jitter is -0.5"),
        ({"baseline": torch.zeros(1, 5, 4)}, ValueError, r"\(1, 5, 4\)"),
        ({"baseline": torch.zeros(3, 1, 1, 4, 4)}, ValueError, r"\(3, 1, 1, 4, 4\)"),
        ({"baseline": torch.zeros(1, 2, 1, 1, 4, 4)}, ValueError, "two more"),
    ],
)
def test_what_makes_no_mask_is_refused(options, error, words):
    given = {"x": images(2), "baseline": BLACK} | options
    with pytest.raises(error, match=words):
        meaningful_perturbation(logit(lambda x: x.sum((1, 2, 3)), 0), given.pop("x"), **given)


def test_models_that_cannot_be_asked_are_refused():
    with pytest.raises(ValueError, match="does not depend on x"):
        meaningful_perturbation(logit(lambda x: torch.ones(len(x)), 0), images(1), baseline=BLACK)
    with pytest.raises(ValueError, match=r"of 3 inputs.*holds 2"):
        meaningful_perturbation(
            logit(network(side=4), torch.tensor([0, 1, 1])), images(2), baseline=BLACK
        )


def test_nothing_is_left_behind_by_a_model_that_fails_half_way():
    model, calls = network(), []

    def read(output, rows):
        calls.append(len(output))
        if len(calls) == 3:
            raise RuntimeError("out of paper")
        return output[:, 0]

    with pytest.raises(RuntimeError, match="out of paper"):
        meaningful_perturbation(Score(model, read), images(1, 8), baseline=torch.zeros(1, 8, 8))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def hidden(score, x, baseline, values):
    """The score once the part that was found is replaced."""
    with torch.no_grad():
        return score(x * (1 - values) + baseline * values)


@pytest.mark.parametrize("exhibit", [digits, mnist, cifar10])
def test_a_small_part_of_a_real_image_carries_its_class(exhibit):
    if exhibit is not digits and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    shown = exhibit()
    x, baseline = torch.stack(shown.inputs[:4]), shown.baseline(0)
    classes = predicted(shown.model, x)
    # A probability of 1.0000 has no slope to follow, the log-odds behind it have.
    found = meaningful_perturbation(
        log_odds(shown.model, classes), x, baseline=baseline, cells=(8, 8), steps=60, sparsity=0.1
    ).values
    score = probability(shown.model, classes)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        before, after = score(x), hidden(score, x, baseline, found)
        elsewhere = torch.stack(
            [
                hidden(score, x, baseline, found.flatten(2)[..., order].view_as(found))
                for order in (torch.randperm(found[0].numel(), generator=chance) for _ in range(5))
            ]
        ).mean(0)
    assert found.mean() < 0.5
    assert (after < 0.5 * before).all()
    assert after.mean() < elsewhere.mean()


@pytest.mark.slow
def test_a_photo():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    shown = squeezenet()
    x = shown.inputs[0][None]
    score = probability(shown.model, predicted(shown.model, x))
    faint = blur(x[0], 10.0)
    found = meaningful_perturbation(score, x, baseline=faint, steps=40).values
    assert found.mean() < 0.3
    assert hidden(score, x, faint, found) < 0.2 * score(x).detach()
