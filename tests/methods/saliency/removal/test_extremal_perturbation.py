import os

import pytest
import torch
from torch import nn

from unmask import Score, constant, log_odds, logit, predicted
from unmask.baselines import blur
from unmask.methods.saliency import extremal_areas, extremal_perturbation
from unmask.zoo import cifar10, digits, mnist

REGION = torch.zeros(96, 96, dtype=torch.bool)
REGION[20:50, 40:70] = True
SHARE = 900 / 96**2


def image(side=96, count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.rand(count, 1, side, side, generator=generator)


def network(side=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * side**2, 3)
        return nn.Sequential(*layers).double().eval()


def of_region(scale=1.0):
    return logit(lambda x: scale * (x[:, 0] * REGION).sum((1, 2)) / 900, 0)


def overlap(mask):
    part = mask > 0.5
    return float((part & REGION).sum() / (part | REGION).sum())


@pytest.mark.parametrize("options", [{}, {"preserve": False, "delete": True}, {"delete": True}])
def test_the_planted_region_is_found(options):
    found = extremal_perturbation(
        of_region(), image(), areas=(SHARE,), baseline=torch.zeros(1, 96, 96), steps=200, **options
    )
    assert overlap(found.values[0, 0]) > 0.5
    assert found.evaluations == 200 * (2 if options == {"delete": True} else 1) + 2


@pytest.mark.slow
def test_the_mask_is_as_large_as_wanted():
    found = extremal_perturbation(
        of_region(), image(), areas=(SHARE,), baseline=torch.zeros(1, 96, 96), steps=800
    ).values[0, 0]
    assert float(found.mean()) == pytest.approx(SHARE, rel=0.1)
    assert float((found > 0.5).float().mean()) == pytest.approx(SHARE, rel=0.1)
    assert overlap(found) > 0.7


def test_the_scale_of_the_score_does_not_matter():
    options = {"areas": (0.2,), "baseline": torch.zeros(1, 16, 16), "steps": 40}
    x = image(16)
    one, other = (
        extremal_perturbation(
            logit(lambda x, scale=scale: scale * x[:, 0, 2:6, 3:9].sum((1, 2)), 0), x, **options
        ).values
        for scale in (1.0, 1000.0)
    )
    assert torch.allclose(one, other, atol=1e-3)


def test_larger_areas_keep_more():
    found = extremal_areas(
        of_region(), image(), areas=(0.03, 0.1, 0.2, 0.4), steps=120,
        baseline=torch.zeros(1, 96, 96),
    )  # fmt: skip
    reached = found.curves["score of image 0"]
    assert (reached.diff() > -0.02 * reached[:-1]).all()
    assert reached[0] < 0.5
    assert found.numbers["smallest area of image 0"] == pytest.approx(0.2)
    assert found.curves["area"].tolist() == pytest.approx([0.03, 0.1, 0.2, 0.4])


def test_where_no_area_will_do_there_is_no_smallest():
    found = extremal_areas(
        of_region(), image(), areas=(0.02, 0.04), steps=20, baseline=torch.zeros(1, 96, 96)
    )
    assert not found.numbers
    assert set(found.curves) == {"area", "score of image 0"}


def test_scores_of_the_areas_are_those_of_the_masks():
    x, model, black = image(8, 2).double(), network(), torch.zeros(1, 8, 8).double()
    score = log_odds(model, torch.tensor([2, 0]))
    options = {"baseline": black, "steps": 30}
    curves = extremal_areas(score, x, areas=(0.2, 0.5), **options).curves
    for place, area in enumerate((0.2, 0.5)):
        mask = extremal_perturbation(score, x, areas=(area,), **options).values
        reached = score(mask * x).detach()
        for i in range(2):
            assert float(curves[f"score of image {i}"][place]) == pytest.approx(float(reached[i]))


def test_several_areas_are_their_mean_and_batches_change_nothing():
    x, score = image(8, 2).double(), log_odds(network(), torch.tensor([2, 0]))
    options = {"steps": 20, "baseline": torch.zeros(1, 8, 8).double()}
    both = extremal_perturbation(score, x, areas=(0.2, 0.5), **options)
    small = extremal_perturbation(score, x, areas=(0.2, 0.5), batch_size=1, **options)
    assert torch.allclose(both.values, small.values, atol=1e-10)
    assert both.evaluations == small.evaluations == 2 * 2 * 20 + 2 * 2
    alone = [extremal_perturbation(score, x, areas=(a,), **options).values for a in (0.2, 0.5)]
    assert torch.allclose(both.values, (alone[0] + alone[1]) / 2, atol=1e-10)


def test_no_more_images_at_a_time_than_the_batch():
    sizes, model = [], network()

    def counted(x):
        sizes.append(len(x))
        return model(x)

    found = extremal_perturbation(
        logit(counted, 0), image(8, 3).double(), areas=(0.1, 0.3), delete=True, steps=3,
        batch_size=4,
    )  # fmt: skip
    assert max(sizes) == 4
    assert sum(sizes) == found.evaluations == 3 * 2 * 2 * 3 + 3 * 2


def seen_by_the_model(x, **options):
    """What it is shown: nothing, the whole image, and the image of each step."""
    seen = []

    def kept(x):
        seen.append(x.detach().clone())
        return x.sum((1, 2, 3))

    extremal_perturbation(logit(kept, 0), x, **options)
    return seen


def test_the_image_is_the_more_blurred_the_lower_the_mask():
    x = image(8).double()
    nothing, whole, first = seen_by_the_model(x, steps=1, levels=2, blurred=0.25)
    faint = blur(x[0], 2.0)
    assert torch.allclose(nothing[0], faint)
    assert torch.equal(whole, x)
    mask = ((first[0] - faint) / (x[0] - faint))[0, 3:5, 3:5]
    # All heights are 1/2; between bumps the soft maximum stays a little below.
    assert (mask < 0.5).all()
    assert (mask > 0.4).all()
    *_, first = seen_by_the_model(x, steps=1, levels=3, blurred=0.25)
    middle = blur(x[0], 1.0)  # the mask is between levels 0 and 1 of 0, 1, 2
    share = 2 * mask
    expected = share * middle[0, 3:5, 3:5] + (1 - share) * faint[0, 3:5, 3:5]
    assert torch.allclose(first[0, 0, 3:5, 3:5], expected)


def test_every_other_step_is_mirrored():
    *_, first, second, third = seen_by_the_model(image(8).double(), steps=3)
    assert (first - second.flip(-1)).abs().max() < 0.1  # the mask has hardly moved
    assert (first - third).abs().max() < 0.2
    assert (first - second).abs().max() > 0.4


def slow_bump(heights, u, v, reach, radius):
    """The mask at one place of the grid, from its formula."""
    z = []
    for row in range(round(u) - radius, round(u) + radius + 1):
        for column in range(round(v) - radius, round(v) + radius + 1):
            inside = 0 <= row < heights.shape[0] and 0 <= column < heights.shape[1]
            height = heights[row, column] if inside else heights.new_zeros(())
            distance = ((u - row) ** 2 + (v - column) ** 2) ** 0.5
            z.append(height * torch.exp(torch.tensor(-2 * max(distance / reach - 0.5, 0) ** 2)))
    z = torch.stack(z)
    return (z * (20 * z).exp()).sum() / (20 * z).exp().sum()


def test_masks_are_bumps():
    from unmask.methods.saliency.removal.extremal_perturbation import _Bumps

    heights = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    masks = _Bumps(heights, (5, 6))(heights)  # a parameter for a pixel
    for u, v in ((0, 0), (2, 3), (4, 5)):
        assert float(masks[1, u, v]) == pytest.approx(float(slow_bump(heights[1], u, v, 3.0, 4)))
    fine = _Bumps(heights, (10, 12))(heights)
    # Halves between parameters: pixel (4, 7) lies at (1.75, 3.25).
    assert float(fine[0, 4, 7]) == pytest.approx(float(slow_bump(heights[0], 1.75, 3.25, 3.0, 4)))


def test_backgrounds_of_each_image():
    x, score = image(8, 2).double(), log_odds(network(), torch.tensor([2, 0]))
    one, other = image(8, 2, seed=5).double()
    options = {"steps": 15, "areas": (0.3,)}
    each = extremal_perturbation(score, x, baseline=torch.stack([one, other])[:, None], **options)
    for i, background in enumerate((one, other)):
        alone = extremal_perturbation(score, x, baseline=background, **options)
        assert torch.allclose(each.values[i], alone.values[i], atol=1e-10)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"areas": ()}, ValueError, "at least one share"),
        ({"areas": (0.0,)}, ValueError, "between 0 and 1"),
        ({"areas": (0.1, 1.0)}, ValueError, "between 0 and 1"),
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"rate": -1.0}, ValueError, "rate of -1.0"),
        ({"levels": 1}, ValueError, "1 levels"),
        ({"blurred": 0.0}, ValueError, "up to 0.0"),
        ({"preserve": False}, ValueError, "neither keep nor lower"),
        ({"batch_size": 0}, ValueError, "batch of 0 inputs"),
        ({"baseline": torch.zeros(1, 5, 4)}, ValueError, r"\(1, 5, 4\)"),
        ({"x": torch.full((1, 1, 8, 8), torch.nan)}, ValueError, "finite"),
    ],
)
def test_what_has_no_part_is_refused(options, error, words):
    given = {"x": image(8)} | options
    with pytest.raises(error, match=words):
        extremal_perturbation(logit(lambda x: x.sum((1, 2, 3)), 0), given.pop("x"), **given)


@pytest.mark.parametrize("options", [{"areas": (0.2, 0.1)}, {"share": 0.0}, {"share": 1.5}])
def test_what_has_no_smallest_area_is_refused(options):
    with pytest.raises(ValueError, match="No smallest area"):
        extremal_areas(logit(lambda x: x.sum((1, 2, 3)), 0), image(8), steps=5, **options)


def test_models_that_cannot_be_asked_are_refused_and_nothing_is_left_behind():
    with pytest.raises(ValueError, match="does not depend on x"):
        extremal_perturbation(logit(lambda x: torch.ones(len(x)), 0), image(8))
    model, calls = network(), []

    def read(output, rows):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of paper")
        return output[:, 0]

    with pytest.raises(RuntimeError, match="out of paper"):
        extremal_perturbation(Score(model, read), image(8).double())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_constant_score_still_has_a_mask_of_the_area():
    score = logit(lambda x: 2 + 0 * x.sum((1, 2, 3)), 0)
    found = extremal_perturbation(score, image(16), areas=(0.3,), steps=400).values
    assert float(found.mean()) == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("exhibit", [digits, mnist, cifar10])
def test_a_fifth_of_a_real_image_keeps_its_class_better_than_any(exhibit):
    if exhibit is not digits and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    shown = exhibit()
    x = torch.stack(shown.inputs[:2])
    score = log_odds(shown.model, predicted(shown.model, x))
    ground = constant(x[0], float(x.min())) if exhibit is not cifar10 else shown.baseline(0)
    found = extremal_perturbation(score, x, areas=(0.2,), baseline=ground, steps=100).values
    generator = torch.Generator().manual_seed(0)

    def kept(mask):
        with torch.no_grad():
            return score(mask * x + (1 - mask) * ground)

    side = x.shape[-1]
    moved = [
        found.roll(torch.randint(side, (2,), generator=generator).tolist(), (-2, -1))
        for _ in range(20)
    ]
    others = torch.stack([kept(mask) for mask in moved])
    assert (kept(found) >= others.quantile(0.8, dim=0)).all()
