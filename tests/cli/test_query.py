"""`unmask query`: one question to many runs, from the command line."""

import csv
import io

import pytest

from run.runs import plan_for
from run.tiny import rows
from typed import typed as cli
from unmask.run import execute, read_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, of three and of two inputs."""
    folder = tmp_path_factory.mktemp("runs")
    for name, count in (("a", 3), ("b", 2)):
        plan = plan_for(folder / f"plan {name}", rows(count), methods={"and_or": {}})
        execute(plan, folder / "runs" / name)
    return folder / "runs"


def typed(*words):
    return cli("query", *words)


def test_the_answer_is_a_table(runs):
    done = typed(runs, "SELECT input, sum(effect) AS total FROM terms GROUP BY input ORDER BY 1")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0] == ["input", "total"]
    whole = [read_run(runs / name).explained for name in "ab"]
    for number, line in enumerate(lines[2:]):
        totals = [
            float(found[number].results["and_or"].effects.sum())
            for found in whole
            if number < len(found)
        ]
        assert float(line[1]) == pytest.approx(sum(totals), rel=1e-5)
    assert len(lines) == 2 + 3


def test_several_runs_are_named_one_by_one(runs):
    done = typed(runs / "a", runs / "b", "SELECT count(DISTINCT run) FROM terms")
    assert done.stdout.split()[-1] == "2"
    done = typed(runs / "b", "SELECT count(DISTINCT input) FROM terms")
    assert done.stdout.split()[-1] == "2"


def test_all_rows_come_as_csv(runs):
    done = typed(runs, "--csv", 'SELECT run, input, "order", effect FROM terms ORDER BY ALL')
    assert done.exit_code == 0
    lines = [*csv.DictReader(io.StringIO(done.stdout))]
    count = sum(
        int(one.results["and_or"].effects.count_nonzero())
        for name in "ab"
        for one in read_run(runs / name).explained
    )
    assert len(lines) == count
    assert {line["run"] for line in lines} == {str(runs / "a"), str(runs / "b")}
    shown = typed(runs, "SELECT * FROM terms")
    assert f"40 of {count:,} rows. All of them: --csv" in shown.stdout
    assert "age" in shown.stdout


def test_lists_nothing_and_odd_texts_are_shown(runs):
    done = typed(runs, "SELECT ['a', 'b'] AS l, NULL AS n, 'x[red]\x1b' AS t, 0.1 + 0.2 AS f")
    assert done.exit_code == 0, done.output
    assert "a, b" in done.stdout
    assert "x[red]\ufffd" in done.stdout
    assert done.stdout.split()[-1] == "0.3"


def test_mistakes_are_one_line(runs, tmp_path):
    done = typed(runs, "SELEC 1")
    assert done.exit_code == 2
    assert "DuckDB cannot answer this" in done.stderr
    assert "The tables are terms (run, input" in done.stderr
    done = typed(tmp_path, "SELECT 1")
    assert done.exit_code == 2
    assert "There are no tables below" in done.stderr
    assert "Example: unmask query runs" in typed("--help").output
