import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from quantus_alone import quantus
from unmask.evaluation import (
    attribution_iou,
    localization_auc,
    relevance_mass,
    relevance_rank,
    top_k_intersection,
)
from unmask.results import Attribution

ALL = (attribution_iou, localization_auc, relevance_mass, relevance_rank, top_k_intersection)
each = pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rated(metric, values, region, **options):
    values, region = torch.tensor(values, dtype=torch.float64), torch.tensor(region).bool()
    return metric(Attribution(values), region=region, **options).values.tolist()


def drawn(inputs=25, positions=12):
    """Values without ties, and regions that are neither empty nor all."""
    values = torch.randn(inputs, positions, generator=seeded(), dtype=torch.float64)
    region = torch.rand(inputs, positions, generator=seeded(1)) < 0.4
    region[:, 0], region[:, 1] = True, False
    return values, region


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(relevance_mass, 0.6), (relevance_rank, 0.5), (localization_auc, 0.75)],
)
def test_the_numbers_by_hand(metric, expected):
    assert rated(metric, [[4, 3, 2, 1]], [[1, 0, 1, 0]]) == pytest.approx([expected])


def test_the_overlap_by_hand():
    # Of at least half of 4 there are three, two of them inside; of at least a fifth, all four.
    assert rated(attribution_iou, [[4, 3, 2, 1]], [[1, 0, 1, 0]], threshold=0.5) == [2 / 3]
    assert rated(attribution_iou, [[4, 3, 2, 1]], [[1, 0, 1, 0]]) == [0.5]


def test_the_first_few_by_hand():
    found = [
        rated(top_k_intersection, [[4, 3, 2, 1]], [[1, 0, 1, 0]], size=k)[0] for k in range(1, 5)
    ]
    assert found == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


def test_slow_twins():
    values, region = drawn()
    for i, (row, inside) in enumerate(zip(values.tolist(), region.tolist(), strict=True)):
        order = sorted(range(len(row)), key=lambda j: -row[j])
        size = sum(inside)
        positive = [max(0, value) for value in row]
        within = sum(p for p, there in zip(positive, inside, strict=True) if there)
        chosen = {j for j, value in enumerate(row) if value >= 0.2 * max(row)}
        target = {j for j, there in enumerate(inside) if there}
        expected = {
            relevance_mass: within / sum(positive),
            relevance_rank: sum(inside[j] for j in order[:size]) / size,
            top_k_intersection: float(inside[order[0]]),
            attribution_iou: len(chosen & target) / len(chosen | target),
            localization_auc: roc_auc_score(inside, row),
        }
        for metric, value in expected.items():
            found = metric(Attribution(values[i : i + 1]), region=region[i : i + 1])
            assert found.values.item() == pytest.approx(value, abs=1e-12), metric.__name__
            assert found.higher_is_better


def test_the_area_counts_half_a_tie():
    values = torch.randint(3, (30, 9), generator=seeded()).double()
    region = torch.rand(30, 9, generator=seeded(1)) < 0.4
    region[:, 0], region[:, 1] = True, False
    found = localization_auc(Attribution(values), region=region).values
    expected = [roc_auc_score(r, v) for r, v in zip(region.tolist(), values.tolist(), strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@each
def test_a_flat_explanation_gets_what_chance_would(metric):
    expected = 0.5 if metric is localization_auc else 0.375
    found = rated(metric, [[2.0] * 8], [[1, 1, 1, 0, 0, 0, 0, 0]])
    assert found == pytest.approx([expected])


@each
def test_an_empty_region_is_undefined(metric):
    found = rated(metric, [[4, 3, 2, 1], [4, 3, 2, 1]], [[0, 0, 0, 0], [1, 1, 0, 0]])
    assert math.isnan(found[0])
    assert found[1] == 0.5 if metric is attribution_iou else found[1] > 0.69


def test_a_full_region_holds_all_and_leaves_nothing_to_compare():
    for metric in ALL:
        found = rated(metric, [[4, 3, 2, 1]], [[1, 1, 1, 1]])[0]
        assert math.isnan(found) if metric is localization_auc else found == 1


def test_without_a_positive_value_there_is_no_mass():
    for metric in (relevance_mass, attribution_iou):
        assert math.isnan(rated(metric, [[-1.0, 0.0, -2.0]], [[1, 0, 0]])[0])
    assert rated(relevance_rank, [[-1.0, -3.0, -2.0]], [[1, 0, 0]]) == [1]


def test_signed_values_may_leave_the_unit_interval():
    assert rated(relevance_mass, [[3.0, -1.0]], [[1, 0]], signed=True) == [1.5]
    assert rated(relevance_mass, [[3.0, -1.0]], [[1, 0]]) == [1]
    assert math.isnan(rated(relevance_mass, [[1.0, -1.0]], [[1, 0]], signed=True)[0])


@each
def test_images_and_rows_are_rated_alike(metric):
    values, region = drawn()
    flat = metric(Attribution(values), region=region).values
    image = Attribution(values.view(-1, 1, 3, 4))
    assert torch.equal(metric(image, region=region.view(-1, 3, 4)).values, flat)


@pytest.mark.parametrize("metric", [localization_auc, relevance_rank, top_k_intersection])
def test_only_the_order_matters(metric):
    values, region = drawn()
    one = metric(Attribution(values), region=region).values
    assert torch.equal(metric(Attribution(values.exp()), region=region).values, one)


def test_options_out_of_range_are_refused():
    values, region = Attribution(torch.ones(1, 4)), torch.ones(1, 4).bool()
    for size in (0, 5):
        with pytest.raises(ValueError, match=f"The {size} largest of 4 values"):
            top_k_intersection(values, region=region, size=size)
    for threshold in (0.0, 1.5):
        with pytest.raises(ValueError, match="threshold is a share of the largest"):
            attribution_iou(values, region=region, threshold=threshold)


@each
def test_shapes_that_do_not_fit_are_refused(metric):
    with pytest.raises(ValueError, match="The region has shape"):
        metric(Attribution(torch.ones(2, 3)), region=torch.ones(2, 4).bool())


@pytest.mark.oracle
def test_quantus():
    q = quantus()
    quiet = {"normalise": False, "disable_warnings": True}
    values, region = drawn(40, 36)
    images, inside = values.view(-1, 1, 6, 6), region.view(-1, 1, 6, 6)
    theirs = {
        relevance_rank: q.RelevanceRankAccuracy(abs=False, **quiet),
        localization_auc: q.AUC(abs=False, **quiet),
        top_k_intersection: q.TopKIntersection(k=3, abs=False, **quiet),
    }
    for metric, other in theirs.items():
        found = metric(Attribution(images), region=inside).values
        expected = other.evaluate_batch(a_batch=images.numpy(), s_batch=inside.numpy())
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-12), metric.__name__


@pytest.mark.oracle
def test_quantus_takes_mass_with_its_sign():
    q = quantus()
    values, region = drawn(40, 36)
    images, inside = values.view(-1, 1, 6, 6), region.view(-1, 1, 6, 6)
    mass = q.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True)
    share = q.AttributionLocalisation(
        positive_attributions=True, abs=False, normalise=False, disable_warnings=True
    )

    def of(metric, rows):
        shape = rows.numpy()
        return metric.evaluate_batch(a_batch=shape, s_batch=inside.numpy(), x_batch=shape).tolist()

    found = relevance_mass(Attribution(images), region=inside, signed=True).values
    assert found.tolist() == pytest.approx(of(mass, images), abs=1e-9)
    found = relevance_mass(Attribution(images), region=inside).values
    assert found.tolist() == pytest.approx(of(mass, images.clamp(min=0)), abs=1e-9)
    assert found.tolist() == pytest.approx(of(share, images), abs=1e-9)
