"""One question to many runs."""

import pytest
import torch

from run.runs import plan_for
from run.tiny import rows
from unmask.results import Attribution, Interactions
from unmask.run import execute, read_run
from unmask.store import query, save
from unmask.store.explanations import Explanation, write_explanations
from unmask.store.parquet import write_columns


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
    answer = query([runs / "first", runs], "SELECT DISTINCT run FROM terms ORDER BY 1")
    assert answer["run"].tolist() == [
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
    with pytest.raises(ValueError, match=r"no tables below .* Give folders"):
        query(runs / "first" / "gradient", "SELECT 1")
    with pytest.raises(ValueError, match=r"cannot answer this: .*The tables are terms"):
        query(runs, "SELEC 1")
    with pytest.raises(ValueError, match="The tables are terms"):
        query(runs, "SELECT nothing FROM terms")


def test_a_single_result_does_not_say_what_it_is_of(runs):
    answer = query(runs, "SELECT DISTINCT input, step, method FROM terms")
    assert answer.isna().to_numpy().tolist() == [[True, True, True]]


def test_runs_have_tables_of_terms_and_of_attributions(tmp_path):
    execute(plan_for(tmp_path, rows(10)), tmp_path / "runs" / "a")
    save(_terms(1.0), tmp_path / "runs" / "alone")
    out = tmp_path / "runs"
    answer = query(out, "SELECT run, count(DISTINCT input) n FROM terms GROUP BY 1 ORDER BY 1")
    assert answer["run"].tolist() == [str(out / "a"), str(out / "alone")]
    assert answer["n"].tolist() == [10, 0]  # the terms in the run's results are not counted again
    found = read_run(out / "a").explained[9].results
    answer = query(
        out / "a",
        "SELECT effect, spread, members FROM terms WHERE input = 9 AND method = 'and_or'",
    )
    terms = found["and_or"]
    there = terms.effects != 0
    assert answer["effect"].tolist() == terms.effects[there].tolist()
    assert answer["spread"].tolist() == pytest.approx(terms.spread[there].tolist(), rel=1e-12)
    answer = query(
        out,
        "SELECT name, position, value, run FROM attributions "
        "WHERE input = 9 AND method = 'shapley_exact' ORDER BY position",
    )
    assert answer["value"].tolist() == found["shapley_exact"].values[0].double().tolist()
    assert answer["name"].tolist() == list(found["shapley_exact"].names)
    assert answer["position"].tolist() == [0, 1, 2, 3]
    assert set(answer["run"]) == {str(out / "a")}
    assert len(query(out, "SELECT * FROM ratings")) == 0


def test_comparisons_have_a_table_of_ratings(tmp_path):
    rows_ = {"method": ["gradient"], "metric": ["gini"], "criterion": ["complexity"]}
    (tmp_path / "c").mkdir()
    write_columns({**rows_, "input": [3], "value": [0.5]}, tmp_path / "c" / "ratings.parquet")
    answer = query([tmp_path], "SELECT * FROM ratings")
    assert [*answer.columns] == ["run", "method", "metric", "criterion", "input", "value"]
    assert answer.to_numpy().tolist() == [
        [str(tmp_path / "c"), "gradient", "gini", "complexity", 3, 0.5]
    ]


def test_runs_of_earlier_versions_are_asked_beside_new_ones(tmp_path):
    found = [Explanation(5, 0, "and_or", _terms(1.5))]
    for name in ("new/terms/part-00000000.parquet", "old/interactions.parquet"):
        (tmp_path / name).parent.mkdir(parents=True)
        write_explanations(found, tmp_path / name)
    answer = query(tmp_path, "SELECT run, input, effect FROM terms ORDER BY run")
    assert answer["run"].tolist() == [str(tmp_path / "new"), str(tmp_path / "old")]
    assert answer["effect"].tolist() == [1.5, 1.5]
    # While a run of an earlier version is repeated, its whole table counts, not the first parts.
    (tmp_path / "new" / "interactions.parquet").write_bytes(
        (tmp_path / "old" / "interactions.parquet").read_bytes()
    )
    assert len(query(tmp_path / "new", "SELECT * FROM terms")) == 1
    assert len(query(tmp_path / "old" / "interactions.parquet", "SELECT * FROM terms")) == 1


def test_nothing_is_fetched_from_the_network_by_a_query(runs):
    with pytest.raises(ValueError, match=r"cannot answer this: .*httpfs"):
        query(runs, "SELECT * FROM 's3://shelf/x.parquet'")


def test_what_is_named_twice_counts_once(tmp_path, monkeypatch):
    (tmp_path / "run" / "terms").mkdir(parents=True)
    found = [Explanation(5, 0, "and_or", _terms(1.5))]
    write_explanations(found, tmp_path / "run" / "terms" / "part-00000000.parquet")
    monkeypatch.chdir(tmp_path)
    spellings = ["run", "./run/", ".", tmp_path, f"file://{tmp_path}/run"]
    assert query(spellings, "SELECT effect FROM terms")["effect"].tolist() == [1.5]
    monkeypatch.chdir(tmp_path / "run")
    assert query(".", "SELECT run FROM terms")["run"].tolist() == ["."]
