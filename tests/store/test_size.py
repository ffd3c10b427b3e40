"""What a run will take, against what it takes."""

import pytest
import torch

from run.runs import plan_for
from run.tiny import rows
from unmask.interactions import Snapshot
from unmask.lattice import coalitions
from unmask.results import Interactions
from unmask.run import About, Record, execute
from unmask.run.execute import FEWEST
from unmask.store import save, size_of
from unmask.store.explanations import Explanation, write_explanations


def _random(players, seed):
    """A term of every coalition, of random effects: as long and as hard to pack as terms can be."""
    members = coalitions(players)
    generator = torch.Generator().manual_seed(seed)
    return Interactions(
        members,
        torch.rand(len(members), generator=generator) < 0.5,
        torch.randn(len(members), generator=generator, dtype=torch.float64),
        0.0,
        tuple(f"player {i}" for i in range(players)),
    )


def _bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(("players", "inputs"), [(8, 8), (10, 3), (14, 2)])
def test_the_terms_of_all_coalitions_take_nearly_what_was_told(tmp_path, players, inputs):
    found = [Explanation(i, 0, "and_or", _random(players, i)) for i in range(inputs)]
    write_explanations(found, tmp_path / "part")
    told = size_of([players] * inputs, 1)
    assert told.rows == inputs * 2**players
    assert 0.6 * told.tables < _bytes(tmp_path) + 4000 <= told.tables
    (tmp_path / "part").unlink()
    for one in found:
        save(one.terms, tmp_path / f"{one.input}")
    kept = told.folders - size_of([players] * inputs, 1, interactions=0).folders
    assert 0.6 * kept < _bytes(tmp_path) <= kept


def test_a_run_takes_no_more_than_was_told(tmp_path):
    execute(plan_for(tmp_path, rows(20)), tmp_path / "out")
    told = size_of([4] * 20, 4, interactions=1, attributions=2, others=2, group=FEWEST)
    tables = _bytes(tmp_path / "out" / "terms") + _bytes(tmp_path / "out" / "attributions")
    assert 0.4 * told.tables < tables <= told.tables  # so few rows are mostly the files' own words
    assert _bytes(tmp_path / "out" / "inputs") <= told.folders


def test_the_record_of_a_training_takes_no_more_than_was_told(tmp_path):
    terms = (_random(10, 0), _random(10, 1))
    record = Record.open(
        tmp_path / "run", About(("a", "b"), tuple(one.names for one in terms), (0, 0), "log_odds")
    )
    for step in (0, 10, 20):
        record.write(Snapshot(step, terms))
    record.assemble()
    told = size_of([10, 10], 1, steps=3)
    assert told.rows == 3 * 2 * 1024
    assert 0.6 * told.tables < _bytes(tmp_path / "run" / "terms") <= told.tables
    assert 0.6 * told.folders < _bytes(tmp_path / "run" / "steps") <= told.folders


def test_more_takes_more_and_nothing_takes_nothing():
    one = size_of([6], 10)
    assert size_of([6, 6], 10).rows == 2 * one.rows
    assert size_of([7], 10).rows == 2 * one.rows
    assert size_of([6], 10, interactions=2).total > one.total
    assert size_of([6], 10, attributions=1).tables > one.tables
    assert size_of([], 10).total == 0
    with pytest.raises(ValueError, match=r"cannot be.*Give numbers of at least 0"):
        size_of([6], -1)
    with pytest.raises(ValueError, match=r"groups of 0 cannot be"):
        size_of([6], 1, group=0)
