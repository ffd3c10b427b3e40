import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from unmask.evaluation import (
    absolute_rank_similarity,
    gaussian_structural_similarity,
    rank_similarity,
    structural_similarity,
)


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ranks_as_scipy_has_them():
    one, other = maps(3, 2, 4, 5), maps(3, 2, 4, 5, seed=1).round()  # rounded: with ties
    for similarity, read in ((rank_similarity, np.array), (absolute_rank_similarity, np.abs)):
        found = similarity(one, other)
        for i in range(3):
            expected = spearmanr(
                read(one[i].numpy().flatten()), read(other[i].numpy().flatten())
            ).statistic
            assert float(found[i]) == pytest.approx(expected, abs=1e-12)


def test_reversed_is_minus_one():
    assert rank_similarity(maps(1, 9), -maps(1, 9)).tolist() == pytest.approx([-1])
    assert absolute_rank_similarity(maps(1, 9), -maps(1, 9)).tolist() == pytest.approx([1])


def unit(plane):
    sizes = np.abs(plane.numpy()).sum(0)
    return (sizes - sizes.min()) / (sizes.max() - sizes.min())


@pytest.mark.oracle
@pytest.mark.parametrize("gaussian", [False, True])
def test_looks_as_scikit_image_has_them(gaussian):
    metrics = pytest.importorskip("skimage.metrics")
    one = maps(4, 3, 16, 13)
    other = one + 0.5 * maps(4, 3, 16, 13, seed=1)
    similarity = gaussian_structural_similarity if gaussian else structural_similarity
    kind = {"gaussian_weights": True, "sigma": 1.5} if gaussian else {"win_size": 7}
    found = similarity(one, other)
    for i in range(4):
        expected = metrics.structural_similarity(
            unit(one[i]), unit(other[i]), data_range=1.0, **kind
        )
        assert float(found[i]) == pytest.approx(expected, abs=1e-12)


def test_a_slow_twin_of_looks():
    one, other = maps(1, 1, 9, 8), maps(1, 1, 9, 8, seed=1)
    a, b = unit(one[0]), unit(other[0])
    values = []
    for row in range(9 - 7 + 1):
        for column in range(8 - 7 + 1):
            p, q = (m[row : row + 7, column : column + 7].flatten() for m in (a, b))
            cov = np.cov(p, q)
            up = (2 * p.mean() * q.mean() + 1e-4) * (2 * cov[0, 1] + 9e-4)
            down = (p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (cov[0, 0] + cov[1, 1] + 9e-4)
            values.append(up / down)
    assert float(structural_similarity(one, other)) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("similarity", [structural_similarity, gaussian_structural_similarity])
def test_the_same_looks_the_same(similarity):
    one = maps(2, 3, 12, 12)
    assert similarity(one, one).tolist() == pytest.approx([1, 1], abs=1e-12)
    assert similarity(one, -3 * one).tolist() == pytest.approx([1, 1], abs=1e-12)
    flat = torch.ones(2, 3, 12, 12)
    assert similarity(one, flat).isnan().all()
    assert similarity(flat, flat).isnan().all()


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"shape \(12,\).*compare ranks"):
        structural_similarity(maps(2, 12), maps(2, 12))
    with pytest.raises(ValueError, match=r"window of 7 does not fit.*\(5, 9\)"):
        structural_similarity(maps(2, 1, 5, 9), maps(2, 1, 5, 9))
    assert structural_similarity(maps(2, 1, 5, 9), maps(2, 1, 5, 9), window=5).isfinite().all()
