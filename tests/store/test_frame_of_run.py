"""The terms of a run as a data frame."""

import math

import pyarrow
import pyarrow.parquet
import pytest
import torch

from run.runs import plan_for
from run.tiny import rows
from unmask.results import Attribution, Interactions
from unmask.run import execute, read_run
from unmask.store import frame, save
from unmask.store.explanations import Explanation, write_explanations
from unmask.store.places import Place
from unmask.store.tables import TERMS, part

COLUMNS = ["input", "step", "method", "order", "members", "logic", "effect", "spread"]


def _terms(*effects, is_or=False):
    members = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    count = len(effects)
    return Interactions(
        members[:count],
        torch.full((count,), is_or),
        torch.tensor(effects, dtype=torch.float64),
        0.0,
        ("a", "b", "c"),
    )


def _run(folder, *parts):
    for number, found in enumerate(parts):
        file = part(Place(str(folder)), TERMS, number).local
        file.parent.mkdir(parents=True, exist_ok=True)
        write_explanations(found, file)
    return folder


# Spreads: of one player |I| / 2, of two |I| sqrt(3) / 4, of three |I| sqrt(7) / 8.
PARTS = (
    (
        Explanation(0, 0, "and_or", _terms(1.0, 0.12, 0.14)),
        Explanation(0, 0, "or_interaction", _terms(0.001, 0.02, is_or=True)),
    ),
    (Explanation(7, 0, "and_or", _terms(0.01, 0.0, -4.0)),),
)


def test_salient_terms_are_those_of_a_large_spread_beside_their_like(tmp_path):
    table = frame(_run(tmp_path / "run", *PARTS))
    assert [*table.columns] == COLUMNS
    found = [
        (row.input, row.method, row.members, row.logic, row.effect, row.order)
        for row in table.itertuples()
    ]
    # 0.12 sqrt(3) / 4 = 0.052 of two players passes 5 % of 1 / 2, 0.14 sqrt(7) / 8 = 0.046 too;
    # 0.001 / 2 = 0.0005 is 5.8 % of 0.02 sqrt(3) / 4 = 0.0087; 0.01 / 2 is 0.4 % of the largest.
    assert found == [
        (0, "and_or", ("a",), "AND", 1.0, 1),
        (0, "and_or", ("a", "b"), "AND", 0.12, 2),
        (0, "and_or", ("a", "b", "c"), "AND", 0.14, 3),
        (0, "or_interaction", ("a",), "OR", 0.001, 1),
        (0, "or_interaction", ("a", "b"), "OR", 0.02, 2),
        (7, "and_or", ("a", "b", "c"), "AND", -4.0, 3),
    ]
    expected = [0.5, 0.12 * math.sqrt(3) / 4, 0.14 * math.sqrt(7) / 8]
    assert table["spread"].tolist()[:3] == pytest.approx(expected, abs=1e-15)
    narrow = frame(tmp_path / "run", tau=0.1)
    assert narrow["effect"].tolist() == [1.0, 0.12, 0.02, -4.0]


def test_a_term_just_at_the_threshold_is_salient(tmp_path):
    """Of one player spreads are half the effects, 0.5 and 0.125, which is a quarter of it."""
    one = torch.tensor([[True, False], [False, True]])
    terms = Interactions(
        one, torch.zeros(2).bool(), torch.tensor([1.0, -0.25]).double(), 0.0, ("a", "b")
    )
    run = _run(tmp_path / "run", (Explanation(0, 0, "and_or", terms),))
    assert frame(run, tau=0.25)["effect"].tolist() == [1.0, -0.25]
    assert frame(run, tau=0.2500001)["effect"].tolist() == [1.0]
    assert frame(run, tau=1.0)["effect"].tolist() == [1.0]


def test_everything_is_all_terms_that_have_an_effect(tmp_path):
    table = frame(str(_run(tmp_path / "run", *PARTS)), everything=True)
    assert table["effect"].tolist() == [1.0, 0.12, 0.14, 0.001, 0.02, 0.01, -4.0]
    assert table["input"].tolist() == [0, 0, 0, 0, 0, 7, 7]


def test_steps_of_a_training_are_compared_each_with_itself(tmp_path):
    weak, strong = _terms(0.01, 0.01), _terms(10.0, 10.0)
    run = _run(
        tmp_path / "run",
        (Explanation(0, 0, "and_or", weak),),
        (Explanation(0, 9, "and_or", strong),),
    )
    assert frame(run)["step"].tolist() == [0, 0, 9, 9]


def test_the_spread_is_that_of_the_terms_themselves(tmp_path):
    terms = _terms(1.0, -2.0, 3.0, is_or=True)
    table = frame(_run(tmp_path / "run", (Explanation(0, 0, "and_or", terms),)))
    assert table["spread"].tolist() == pytest.approx(terms.spread.tolist(), rel=1e-15)


def test_a_run_reads_the_same_from_its_folder_and_from_its_results(tmp_path):
    execute(plan_for(tmp_path, rows(10)), tmp_path / "out")
    for options in ({}, {"everything": True}, {"tau": 0.3}):
        table = frame(tmp_path / "out", **options)
        again = frame(read_run(tmp_path / "out"), **options)
        assert table.astype({"method": str, "logic": str}).equals(
            again.astype({"method": str, "logic": str})
        )
    table = frame(tmp_path / "out", everything=True)
    stored = read_run(tmp_path / "out").explained[9].results["and_or"]
    mine = table[(table.input == 9) & (table.method == "and_or")]
    assert mine["effect"].sum() == pytest.approx(float(stored.effects.sum()), abs=1e-12)
    assert len(mine) == int(stored.effects.count_nonzero())
    salient = frame(tmp_path / "out")
    assert 0 < len(salient) < len(table)


def test_runs_of_earlier_versions_are_read(tmp_path):
    """Their terms are one file, packed otherwise, with the columns in the same order."""
    write_explanations(PARTS[0], tmp_path / "new")
    table = pyarrow.parquet.read_table(tmp_path / "new")
    pyarrow.parquet.write_table(table, tmp_path / "interactions.parquet", row_group_size=2)
    (tmp_path / "new").unlink()
    assert frame(tmp_path, everything=True)["effect"].tolist() == [1.0, 0.12, 0.14, 0.001, 0.02]


def test_a_single_result_is_its_own_frame(tmp_path):
    save(_terms(1.0, 2.0), tmp_path / "t")
    assert [*frame(tmp_path / "t").columns] == ["order", "members", "logic", "effect"]
    save(Attribution(torch.ones(1, 2)), tmp_path / "a")
    assert frame(str(tmp_path / "a")).shape == (1, 2)


def test_no_terms_at_all_are_an_empty_table(tmp_path):
    none = _terms()
    table = frame(_run(tmp_path / "run", (Explanation(0, 0, "and_or", none),), ()))
    assert [*table.columns] == COLUMNS
    assert len(table) == 0
    assert len(frame(tmp_path / "run", everything=True)) == 0


def test_the_empty_term_and_terms_without_effect_are_never_salient(tmp_path):
    terms = Interactions(
        torch.tensor([[False], [True]]), torch.tensor([False, False]),
        torch.tensor([9.0, 1.0]), 0.0, ("a",),
    )  # fmt: skip
    run = _run(tmp_path / "run", (Explanation(0, 0, "and_or", terms),))
    assert frame(run)["effect"].tolist() == [1.0]
    assert frame(run, everything=True)["effect"].tolist() == [9.0, 1.0]


def test_what_is_wrong_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"holds no terms of a run\. Give the folder of one run"):
        frame(tmp_path)
    with pytest.raises(ValueError, match=r"holds no terms of a run"):
        frame("nowhere at all")
    _run(tmp_path / "one", *PARTS)
    _run(tmp_path / "two", *PARTS)
    with pytest.raises(ValueError, match=r"holds 2 runs.*`query` asks many"):
        frame(tmp_path)
    with pytest.raises(ValueError, match=r"tau is 2\.0, but .* Give a number from 0 to 1"):
        frame(tmp_path / "one", tau=2.0)
    (tmp_path / "one" / TERMS / "part-00000001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"part-00000001\.parquet' is no table of terms .*repeat"):
        frame(tmp_path / "one")
    foreign = pyarrow.table({"effect": [1.0]})
    pyarrow.parquet.write_table(foreign, tmp_path / "one" / TERMS / "part-00000001.parquet")
    with pytest.raises(ValueError, match="is no table of terms"):
        frame(tmp_path / "one")
