import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unmask.evaluation.association import constant, pearson, ranks, spearman

numbers = st.lists(
    st.tuples(st.integers(-4, 4), st.integers(-4, 4)).map(lambda pair: (pair[0] / 2, pair[1] / 2)),
    min_size=2,
    max_size=9,
)


@given(numbers)
def test_associations_are_those_of_scipy(pairs):
    one, other = (torch.tensor(row).double() for row in zip(*pairs, strict=True))
    assert ranks(one).tolist() == stats.rankdata(one).tolist()
    if one.unique().numel() == 1 or other.unique().numel() == 1:
        assert pearson(one, other).isnan()
        assert spearman(one, other).isnan()
    else:
        assert float(pearson(one, other)) == pytest.approx(stats.pearsonr(one, other)[0], abs=1e-9)
        assert float(spearman(one, other)) == pytest.approx(
            stats.spearmanr(one, other)[0], abs=1e-9
        )


def test_rows_are_compared_each_by_itself():
    one = torch.tensor([[[4.0, 3, 2, 1], [1, 1, 1, 1]], [[1, 2, 3, 4], [0, 5, 1, 2]]])
    other = torch.tensor([1.0, 2, 3, 4]).expand_as(one)
    found = spearman(one, other)
    assert found.shape == (2, 2)
    assert found[0, 0] == -1
    assert found[0, 1].isnan()
    assert found[1, 0] == 1
    assert constant(one).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_size_of_numbers_does_not_matter(scale):
    one = torch.tensor([1.0, 2, 4], dtype=torch.float64)
    assert float(pearson(one * scale, -3 * one)) == pytest.approx(-1)


@pytest.mark.parametrize("numbers", [0, 1])
def test_rows_of_hardly_anything_have_ranks_too(numbers):
    assert ranks(torch.zeros(3, numbers)).tolist() == [[1.0] * numbers] * 3
