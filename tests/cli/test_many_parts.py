"""What a person types for inputs of more parts than a table holds."""

import json
import re

import pytest

from run.tiny import perceptron, rows, write_csv, write_exported
from typed import typed
from unmask.run import read_run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_explain_more_parts_than_a_table_holds(here):
    """The strong terms are searched for; how good they are is told in the table and on the page."""
    names = tuple(f"c{i}" for i in range(24))
    write_exported(here / "wide.pt2", perceptron(24), rows(4, 24), dynamic=True)
    write_csv(here / "wide.csv", rows(2, 24), names, {})
    done = typed("explain", "wide.pt2", "wide.csv", "--most", "24", "--row", "0", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "the 24 columns" in done.output
    assert "As 24 players are too many" in done.output
    assert "near full" in done.output
    assert "gap" not in done.output
    assert "The strongest terms:" in done.output
    (one,) = read_run("out").explained
    terms = one.results["large_n"]
    assert f"{100 * (1 - terms.residual):.1f} %" in done.output
    assert f"{100 * (1 - terms.residual_near_full):.1f} %" in done.output
    page = (here / "out" / "page.html").read_text("utf-8")
    (case,) = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])["cases"]
    assert case["explained"] == 1 - terms.residual
    assert case["explained_near_full"] == 1 - terms.residual_near_full
    assert case["corners"] == one.entry.ends.tolist()
    assert case["table"] is None
    assert sum(case["orders"]["count"]) == int(terms.effects.count_nonzero())
    fewer = typed("explain", "wide.pt2", "wide.csv", "--row", "0", "--out", "few")
    assert "explained" not in fewer.output
