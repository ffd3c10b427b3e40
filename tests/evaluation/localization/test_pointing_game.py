import math

import pytest
import torch

from quantus_alone import quantus
from unmask.evaluation import pointing_game
from unmask.evaluation.localization.located import located
from unmask.results import Attribution


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rated(values, region, **options):
    values, region = torch.tensor(values, dtype=torch.float64), torch.tensor(region).bool()
    return pointing_game(Attribution(values), region=region, **options)


def slow(values, region, tolerance):
    """The definition, pixel by pixel, of one channel of one image."""
    places = [(r, c) for r in range(len(values)) for c in range(len(values[0]))]
    if not any(region[r][c] for r, c in places):
        return math.nan
    most = max(values[r][c] for r, c in places)
    tied = [place for place in places if values[place[0]][place[1]] == most]
    inside = [place for place in places if region[place[0]][place[1]]]
    hits = [p for p in tied if any(math.dist(p, q) <= tolerance for q in inside)]
    return len(hits) / len(tied)


def test_the_largest_value_hits_or_misses():
    found = rated([[4, 3, 2, 1], [1, 2, 3, 4]], [[1, 0, 1, 0], [1, 0, 1, 0]])
    assert found.values.tolist() == [1, 0]
    assert found.higher_is_better


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3, 50])
def test_the_slow_twin(tolerance):
    values = torch.randint(4, (20, 1, 5, 7), generator=seeded()).double()  # with many ties
    region = torch.rand(20, 1, 5, 7, generator=seeded(1)) < 0.1
    region[0] = False
    found = pointing_game(Attribution(values), region=region, tolerance=tolerance).values
    expected = [
        slow(v[0], r[0], tolerance) for v, r in zip(values.tolist(), region.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert any(math.isnan(one) for one in expected)
    assert tolerance > 3 or any(0 < one < 1 for one in expected)


def test_along_a_row_the_tolerance_is_in_columns():
    values, region = [[0, 0, 0, 9]], [[1, 0, 0, 0]]
    assert [rated(values, region, tolerance=t).values.item() for t in (2, 3)] == [0, 1]


def test_a_flat_explanation_gets_the_share_of_the_region():
    assert rated([[1, 1, 1, 1]], [[1, 0, 0, 0]]).values.item() == 0.25


def test_an_empty_region_is_undefined_and_a_full_one_is_always_hit():
    found = rated([[4, 3, 2, 1]] * 2, [[0] * 4, [1] * 4])
    assert found.values.tolist() == pytest.approx([math.nan, 1], nan_ok=True)
    assert found.undefined == 1


def test_channels_are_added_up_for_a_region_of_an_image():
    # Alone, the first channel has its largest value outside; with the second it lies inside.
    values = torch.tensor([[[[3.0, 2.0]], [[0.0, 2.0]]]])
    inside = torch.tensor([[[False, True]]])
    for region in (inside, inside[:, None]):
        assert pointing_game(Attribution(values), region=region).values.item() == 1
    own = inside[:, None].expand(1, 2, 1, 2)
    assert pointing_game(Attribution(values), region=own).values.item() == 0


def test_half_precision():
    values = torch.tensor([[4.0, 3.0]]).bfloat16()
    region = torch.tensor([[True, False]])
    assert pointing_game(Attribution(values), region=region).values.item() == 1


def test_what_does_not_fit_is_refused():
    values, region = Attribution(torch.ones(2, 3)), torch.ones(2, 3).bool()
    with pytest.raises(TypeError, match=r"rates an Attribution, but got a Tensor|Type-check"):
        pointing_game(values.values, region=region)
    with pytest.raises(ValueError, match=r"region has shape \(2, 4\).*\(2, 3\)"):
        pointing_game(values, region=torch.ones(2, 4).bool())
    with pytest.raises(ValueError, match="tolerance of -1 positions"):
        pointing_game(values, region=region, tolerance=-1)
    with pytest.raises(ValueError, match="The attribution must be finite"):
        pointing_game(Attribution(values.values * torch.nan), region=region)
    with pytest.raises(ValueError, match="batch is empty"):
        pointing_game(Attribution(values.values[:0]), region=region[:0])


def test_a_region_of_numbers_is_refused():
    with pytest.raises(TypeError, match=r"True where the evidence lies, but it holds torch\.float"):
        located(Attribution(torch.ones(2, 3)), torch.ones(2, 3))


@pytest.mark.oracle
def test_quantus_where_no_two_values_tie():
    q = quantus()
    values = torch.randn(30, 1, 6, 6, generator=seeded())
    region = torch.rand(30, 1, 6, 6, generator=seeded(1)) < 0.3
    found = pointing_game(Attribution(values), region=region).values
    metric = q.PointingGame(abs=False, normalise=False, disable_warnings=True)
    expected = metric.evaluate_batch(a_batch=values.numpy(), s_batch=region.numpy())
    assert found.tolist() == [float(one) for one in expected]


@pytest.mark.oracle
def test_quantus_counts_any_tied_position_as_a_hit():
    q = quantus()
    flat, one = torch.ones(1, 1, 2, 2), torch.tensor([[[[True, False], [False, False]]]])
    metric = q.PointingGame(abs=False, normalise=False, disable_warnings=True)
    assert metric.evaluate_batch(a_batch=flat.numpy(), s_batch=one.numpy())[0] == 1
    assert pointing_game(Attribution(flat), region=one).values.item() == 0.25
