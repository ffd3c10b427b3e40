"""Tables in parts: the same bits whoever computes which, kept until the whole is."""

import errno
import os
import pickle
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from run.runs import files_of
from run.wide import PLAYERS, WIDE, wide_plan
from unmask import features, log_odds, masked, patches
from unmask.lattice import coalitions
from unmask.masking import PART
from unmask.run import execute, read_run
from unmask.run.execute import groups_of
from unmask.run.large_table import PARTS, LargeTable, Tabulator
from unmask.sharing import rows_run
from unmask.zoo.lenet import LeNet


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """The plan of one input with 16 players, whose table has four parts."""
    (tmp_path / "unmask_test_wide.py").write_text(WIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return wide_plan(tmp_path, 1)


def asked(tmp_path):
    log = tmp_path / "asked"
    return sum(map(int, log.read_text().split())) if log.exists() else 0


class Several:
    """An engine that says it has several workers, and remembers what it was to do."""

    def __init__(self, skip=()):
        self.seen, self.skip = [], skip

    @contextmanager
    def begun(self):
        yield self

    def map(self, work, items):
        work = pickle.loads(pickle.dumps(work))
        for item in list(items):
            self.seen.append((type(work).__name__, item))
            yield None if item in self.skip else work(item)


class Quitting(Several):
    """Ends as if the process were stopped, at one part."""

    def map(self, work, items):
        for item, answer in zip(items, super().map(work, items), strict=False):
            if isinstance(work, Tabulator) and item[1] == 2:
                raise KeyboardInterrupt
            yield answer


def wide_game(players=PLAYERS, *, batch_size=None, backgrounds=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(players, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    x = torch.randn(players, generator=generator).to(dtype)
    shape = (players,) if backgrounds is None else (backgrounds, players)
    baseline = torch.randn(shape, generator=generator).to(dtype)
    return masked(log_odds(model, 1), x, features(players), baseline, batch_size=batch_size)


@pytest.mark.parametrize(
    ("players", "batch_size", "parts"),
    [(14, None, 1), (15, None, 2), (16, 1000, 4), (16, 2**15, 2), (16, 2**17, 1)],
)
def test_parts_in_a_row_are_the_table_bit_for_bit(players, batch_size, parts):
    game = wide_game(players, batch_size=batch_size)
    assert game.everything.parts() == parts
    table = game.table()
    again = wide_game(players, batch_size=batch_size).everything
    found = [again.part(number) for number in reversed(range(parts))]  # in whatever order
    assert torch.equal(torch.cat(found[::-1]), table)
    assert torch.equal(again.joined(found[::-1]), table)
    assert again.rows == rows_run(game) == {"all": 2**players}
    masks = coalitions(players)[:: 2 ** (players - 6)]
    torch.testing.assert_close(game(masks), table[:: 2 ** (players - 6)])


def test_backgrounds_are_averaged_in_every_part():
    game = wide_game(15, backgrounds=3, dtype=torch.float64)
    table = game.table()
    everything = game.everything
    assert torch.equal(torch.cat([everything.part(0), everything.part(1)]), table)
    everything.joined([table[:PART], table[PART:]])
    assert everything.rows == {"all": 3 * 2**15}
    masks = coalitions(15)[::1000]
    torch.testing.assert_close(game(masks), table[::1000], rtol=1e-12, atol=1e-12)


def test_where_coalitions_share_work_there_are_no_parts(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(1, 28, 28)
    players = patches((1, 28, 28), (3, 5))
    game = masked(log_odds(LeNet().eval(), 0), x, players, torch.zeros_like(x))
    everything = game.everything
    assert everything.parts() == 1
    assert LargeTable.of(game, tmp_path) is None


def test_the_parts_are_shared_out_and_the_run_has_the_same_bytes(tmp_path, wide):
    execute(wide, tmp_path / "serial")
    assert asked(tmp_path) == 2**PLAYERS + 1
    engine = Several()
    steps = []
    found = execute(wide, tmp_path / "spread", engine=engine, listen=steps.append)
    assert engine.seen == [
        ("Explainer", (0,)),
        *(("Tabulator", (0, part)) for part in range(4)),
        ("Explainer", (0,)),
    ]
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    assert found.computed == 2
    assert not (tmp_path / "spread" / "inputs" / "00000" / PARTS).exists()
    table = read_run(tmp_path / "spread").explained[0].entry.table
    assert len(table) == 2**PLAYERS
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total == 2


def test_groups_with_large_games_are_explained_once_their_tables_are_there(tmp_path, wide):
    plan = wide_plan(tmp_path, 5)
    execute(plan, tmp_path / "serial")
    engine, steps = Several(), []
    execute(plan, tmp_path / "spread", engine=engine, listen=steps.append)
    items = [item for name, item in engine.seen if name == "Tabulator"]
    assert items == [(number, part) for number in range(5) for part in range(4)]
    groups = groups_of(tuple(range(5)))
    assert [item for name, item in engine.seen if name == "Explainer"] == [*groups, *groups]
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert done[-1] == steps[-1].total == 10


@pytest.mark.parametrize("engine", [Quitting(), None])
def test_a_run_that_was_stopped_amid_a_table_goes_on_there(tmp_path, wide, engine, monkeypatch):
    execute(wide, tmp_path / "whole")
    before = asked(tmp_path)
    if engine is None:  # in this process, at the third part
        real = LargeTable.keep

        def stopping(table, part, values):
            if part == 2:
                raise KeyboardInterrupt
            real(table, part, values)

        monkeypatch.setattr(LargeTable, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        execute(wide, tmp_path / "out", engine=engine)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = tmp_path / "out" / "inputs" / "00000" / PARTS
    kept = [*parts.iterdir()]
    assert 2 <= len(kept) <= 3
    (parts / "000.safetensors").write_bytes(b"cut sho")  # is made anew
    spent = asked(tmp_path)
    execute(wide, tmp_path / "out")
    assert asked(tmp_path) - spent == (4 - len(kept) + 1) * PART + 1
    assert spent - before >= 2 * PART
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_what_was_left_of_the_parts_goes_with_the_next_run(tmp_path, wide):
    execute(wide, tmp_path / "out")
    before = files_of(tmp_path / "out")
    parts = tmp_path / "out" / "inputs" / "00000" / PARTS
    parts.mkdir()
    (parts / "000.safetensors").write_bytes(b"of a process that was killed")
    execute(wide, tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_parts_that_nobody_survives_are_left_to_the_one_who_needs_them(tmp_path, wide):
    engine = Several(skip=[(0, 1), (0, 3)])
    execute(wide, tmp_path / "serial")
    assert execute(wide, tmp_path / "spread", engine=engine).failures == ()
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    assert Tabulator(lambda number: None).lost((0, 1), "it died") is None


@pytest.mark.parametrize(
    ("what", "said"),
    [("poison", "The value of the coalition {column 16} is nan"), ("raise", "do not go together")],
)
def test_failures_are_told_as_in_one_process_and_nothing_is_kept(tmp_path, wide, what, said):
    (tmp_path / what).touch()
    one = execute(wide, tmp_path / "serial")
    other = execute(wide, tmp_path / "spread", engine=Several())
    assert one.failures == other.failures
    assert [failure.method for failure in one.failures] == [None]
    assert said in one.failures[0].reason
    assert files_of(tmp_path / "serial") == files_of(tmp_path / "spread")
    (tmp_path / what).unlink()
    assert execute(wide, tmp_path / "spread", engine=Several()).failures == ()


def test_a_full_disk_ends_the_run(tmp_path, wide, monkeypatch):
    real = os.replace

    def full(source, target):
        if PARTS in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"could not be written: No space left on device\. .* Free"):
        execute(wide, tmp_path / "out", engine=Several())
