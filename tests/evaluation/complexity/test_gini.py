import math

import pytest
import torch
from scipy.stats import entropy

from quantus_alone import quantus
from unmask.evaluation import attribution_entropy, effective_complexity, gini
from unmask.results import Attribution

ALL = (gini, attribution_entropy, effective_complexity)
each = pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)


def rated(metric, *rows, **options):
    return metric(Attribution(torch.tensor(rows, dtype=torch.float64)), **options).values.tolist()


def drawn():
    return torch.randn(30, 2, 5, 3, generator=torch.Generator().manual_seed(0)).double()


def test_the_numbers_by_hand():
    assert rated(gini, [4, 3, 2, 1]) == pytest.approx([0.25])
    assert rated(attribution_entropy, [4, 3, 2, 1]) == pytest.approx([1.279854], abs=1e-6)
    assert rated(effective_complexity, [4, 3, 2, 1, 0]) == [0.8]


def test_the_ends_of_the_scales():
    one, flat = [0, 0, 5, 0], [2, 2, 2, 2]
    assert rated(gini, one, flat) == pytest.approx([0.75, 0])
    assert rated(attribution_entropy, one, flat) == pytest.approx([0, math.log(4)])
    assert rated(effective_complexity, one, flat) == [0.25, 1]


def test_slow_twins():
    values = drawn()
    rows = values.flatten(1).abs().tolist()
    pairs = [
        # Half the mean difference between two positions, relative to the mean.
        sum(abs(a - b) for a in row for b in row) / (2 * len(row) * sum(row))
        for row in rows
    ]
    assert gini(Attribution(values)).values.tolist() == pytest.approx(pairs, abs=1e-12)
    shares = [entropy(row) for row in rows]
    assert attribution_entropy(Attribution(values)).values.tolist() == pytest.approx(shares)
    some = [sum(a > 0.3 * max(row) for a in row) / len(row) for row in rows]
    found = effective_complexity(Attribution(values), threshold=0.3).values
    assert found.tolist() == pytest.approx(some)


@each
def test_neither_sign_nor_size_nor_place_matters(metric):
    values = drawn()
    expected = metric(Attribution(values)).values
    for other in (-values, 1e-200 * values, 1e200 * values, values.flip(2)):
        assert torch.allclose(metric(Attribution(other)).values, expected, atol=1e-12)


@each
def test_of_zeros_alone_there_is_no_complexity(metric):
    found = rated(metric, [0, 0, 0], [1, 2, 3])
    assert math.isnan(found[0])
    assert math.isfinite(found[1])


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(metric, dtype):
    values = torch.full((1, 10_000), 0.25, dtype=dtype)
    expected = {gini: 0, attribution_entropy: math.log(10_000), effective_complexity: 1}[metric]
    found = metric(Attribution(values)).values
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_directions():
    values = Attribution(drawn())
    assert gini(values).higher_is_better
    assert not attribution_entropy(values).higher_is_better
    assert not effective_complexity(values).higher_is_better


@each
def test_what_cannot_be_rated_is_refused(metric):
    with pytest.raises(TypeError, match=r"rates an Attribution, but got a Tensor|Type-check"):
        metric(torch.ones(1, 3))
    with pytest.raises(ValueError, match="must be finite"):
        metric(Attribution(torch.tensor([[1.0, torch.nan]])))
    with pytest.raises(ValueError, match=r"shape \(2, 1\): nothing can be spread"):
        metric(Attribution(torch.ones(2, 1)))
    with pytest.raises(ValueError, match="batch is empty"):
        metric(Attribution(torch.ones(0, 3)))


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ValueError, match="threshold is a share of the largest"):
        effective_complexity(Attribution(torch.ones(1, 3)), threshold=threshold)


@pytest.mark.oracle
def test_quantus():
    q = quantus()
    quiet = {"normalise": False, "disable_warnings": True}
    values = drawn().abs()  # it takes the absolute values before its metrics see them
    rows = values.flatten(1).numpy()

    def of(metric, **options):
        made = metric(**options, **quiet)
        return made.evaluate_batch(a_batch=rows.copy(), x_batch=rows.copy()).tolist()

    # It adds 1e-7 to each value, and 1e-12 within the logarithm, against zeros.
    assert gini(Attribution(values)).values.tolist() == pytest.approx(of(q.Sparseness), abs=1e-6)
    found = attribution_entropy(Attribution(values)).values.tolist()
    assert found == pytest.approx(of(q.Complexity), abs=1e-9)
    # It counts those above a size, not above a share of the largest, and does not divide.
    scaled = values / values.flatten(1).amax(1)[:, None, None, None]
    rows = scaled.flatten(1).numpy()
    found = effective_complexity(Attribution(values), threshold=0.2).values * rows.shape[1]
    assert found.tolist() == pytest.approx(of(q.EffectiveComplexity, eps=0.2))
