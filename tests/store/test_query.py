"""One question to many runs."""

import shutil
from contextlib import suppress
from importlib import import_module

import pytest
import torch

from run.runs import plan_for
from run.tiny import perceptron, rows
from unmask import features, log_odds
from unmask.results import Attribution, Interactions
from unmask.run import Record, execute, read_run
from unmask.run.compare import compare
from unmask.store import frame, query, save
from unmask.store.explanations import Explanation, write_explanations
from unmask.store.parquet import write_columns
from watched import make, watch


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


def test_a_question_that_is_none_and_names_that_are_nearly_right(runs):
    for nothing in ("", " ; ", "-- a remark"):
        with pytest.raises(ValueError, match=r"This is no question: .*Ask one in SQL\. The table"):
            query(runs, nothing)
    with pytest.raises(ValueError, match=r'term does not exist! Did you mean "terms"\? The table'):
        query(runs, "SELECT * FROM term")
    with pytest.raises(ValueError, match=r'"effects" not found .*"effect".* The tables are terms'):
        query(runs, "SELECT effects FROM terms")


def test_what_is_not_there_and_what_is_empty_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match=r"There is nothing at '.*nowhere'\. Give folders of runs"):
        query([tmp_path, tmp_path / "nowhere"], "SELECT 1")
    with pytest.raises(ValueError, match=r"no tables below .* as soon as its first inputs are"):
        query(tmp_path, "SELECT 1")


@pytest.mark.parametrize("left", [0, 4, 100])
def test_a_file_that_was_cut_short_is_named(tmp_path, left):
    for number in range(3):
        file = tmp_path / "run" / "terms" / f"part-{number:08d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_explanations([Explanation(number, 0, "and_or", _terms(1.5))], file)
    cut = tmp_path / "run" / "terms" / "part-00000001.parquet"
    cut.write_bytes(cut.read_bytes()[:left])
    with pytest.raises(
        ValueError, match=r"part-00000001\.parquet' is no table .* delete it, and r"
    ):
        query(tmp_path / "run", "SELECT * FROM terms")


def test_a_run_is_asked_while_it_goes_on(tmp_path):
    counts = []

    def listen(step):
        with suppress(ValueError):
            found = query(tmp_path / "out", "SELECT count(DISTINCT input) n FROM terms")
            counts.append(int(found["n"][0]))

    execute(plan_for(tmp_path, rows(6), methods={"and_or": {}}), tmp_path / "out", listen=listen)
    assert counts == sorted(counts)
    assert 0 < counts[0] < 6  # while there is none, nothing is answered
    shutil.rmtree(tmp_path / "out" / "terms")
    shutil.rmtree(tmp_path / "out" / "attributions")
    with pytest.raises(
        ValueError, match=r"no tables below .* one whose plan names a store has them"
    ):
        query(tmp_path / "out", "SELECT 1")
    query(tmp_path / "out" / "inputs", "SELECT 1")  # as single results, if that is wanted


def test_a_part_that_vanishes_while_it_is_read_is_told(runs, monkeypatch):
    """A run that is repeated in other groups removes the parts of the old ones."""
    module = import_module("unmask.store.query")
    found = module.tables([runs])

    def late(paths):
        (runs / "first" / "and_or" / "terms.parquet").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(module, "tables", late)
    with pytest.raises(ValueError, match=r"terms\.parquet' was removed while it was read.*Ask aga"):
        query(runs, "SELECT * FROM terms")


def test_trainings_and_comparisons_are_asked_as_runs_are(tmp_path):
    model = make()
    watching = watch(model, folder=tmp_path / "runs" / "training")
    watching.step(0)
    with torch.no_grad():
        model.body[0].weight.mul_(2.0)
    watching.step(5)
    answer = query(tmp_path / "runs", "SELECT step, input, sum(effect) e FROM terms GROUP BY ALL")
    assert set(answer["step"]) == {0, 5}
    record = Record.read(tmp_path / "runs" / "training")
    for step in (0, 5):
        snapshot = record.snapshot(step)
        for number, terms in enumerate(snapshot.terms):
            mine = answer[(answer.step == step) & (answer.input == number)]["e"]
            assert float(mine.sum()) == pytest.approx(float(terms.effects.sum()), abs=1e-12)
    table = frame(tmp_path / "runs" / "training", everything=True)
    assert set(table["step"]) == {0, 5}
    x = rows(3)
    comparison = compare(
        log_odds(perceptron(), 0), x, baseline=torch.zeros(4), players=features(4),
        methods=["gradient", "occlusion"], folder=tmp_path / "runs" / "compared",
    )  # fmt: skip
    answer = query(tmp_path / "runs", "SELECT method, metric, input, value FROM ratings")
    assert {"gradient", "occlusion"} <= set(answer["method"])
    mine = answer[(answer.method == "occlusion") & (answer.metric == "deletion")]
    expected = comparison.ratings["occlusion"]["deletion"].values.double().tolist()
    assert mine.sort_values("input")["value"].tolist() == pytest.approx(expected, nan_ok=True)
