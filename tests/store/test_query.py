"""One question to many runs."""

import pytest
import torch

from unmask.results import Attribution, Interactions
from unmask.store import query, save


def _terms(*effects: float) -> Interactions:
    count = len(effects)
    members = torch.tensor([[True, False], [True, True]])[:count]
    return Interactions(
        members, torch.arange(count) == 1, torch.tensor(effects), 0.0, ("it's", "b")
    )


@pytest.fixture
def runs(tmp_path):
    save(_terms(1.0, -2.0), tmp_path / "first" / "and_or")
    save(_terms(3.0), tmp_path / "it's [second] *" / "deep" / "er")
    save(_terms(100.0), tmp_path / ".draft" / "and_or")
    save(Attribution(torch.ones(1, 2)), tmp_path / "first" / "gradient")
    return tmp_path


def test_sums_over_the_terms_of_all_runs(runs):
    answer = query(runs, 'SELECT "order", logic, sum(effect) e FROM terms GROUP BY ALL ORDER BY 1')
    assert answer.to_numpy().tolist() == [[1, "AND", 4.0], [2, "OR", -2.0]]


def test_says_which_result_a_term_is_of(runs):
    answer = query([runs / "first", runs], "SELECT DISTINCT result FROM terms ORDER BY 1")
    assert answer["result"].tolist() == [
        str(runs / "first" / "and_or"),
        str(runs / "it's [second] *" / "deep" / "er"),
    ]


def test_finds_members_by_name(runs):
    answer = query(
        runs / "first" / "and_or" / "terms.parquet",
        "SELECT effect FROM terms WHERE list_contains(members, 'b')",
    )
    assert answer["effect"].tolist() == [-2.0]


def test_tells_what_is_wrong(runs, tmp_path):
    with pytest.raises(ValueError, match=r"no terms below .* Give folders"):
        query(runs / "first" / "gradient", "SELECT 1")
    with pytest.raises(ValueError, match=r"cannot answer this: .*The table is terms"):
        query(runs, "SELEC 1")
    with pytest.raises(ValueError, match="The table is terms"):
        query(runs, "SELECT nothing FROM terms")
