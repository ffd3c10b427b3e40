"""What a plan takes, told beforehand: held against runs that are really carried out."""

from dataclasses import replace

import pytest
import torch

from run.runs import asked, counted_plan, files_of, plan_for
from run.tiny import rows
from unmask.run import Choice, Source, estimate, execute, follow, read_run
from unmask.run.estimate import Estimate
from unmask.run.execute import groups_of
from unmask.run.rehearsal import Part

QUICK = 0.05
"""Seconds that a model is timed for; nothing here looks at a time."""


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """A model that writes down how many rows it is asked for."""
    from run.runs import COUNTED

    (tmp_path / "unmask_test_counted.py").write_text(COUNTED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("UNMASK_TEST_LOG", str(tmp_path / "log"))
    monkeypatch.delitem(__import__("sys").modules, "unmask_test_counted", raising=False)
    return tmp_path


def test_passes_are_those_that_a_run_asks_the_model_for(counting):
    methods = {"and_or": {}, "gradient": {}, "integrated_gradients": {"steps": 20}}
    plan = counted_plan(counting, rows(5), methods=methods)
    found = estimate(plan, seconds=QUICK)
    before = asked(counting / "log")
    execute(plan, counting / "out")
    assert found.forward == asked(counting / "log") - before
    assert found.parts["values"].forward == 16 + 1  # and once, to know what it says
    assert found.parts["and_or"] == replace(found.parts["and_or"], forward=0.0, backward=0.0)
    assert found.parts["gradient"].backward == 1
    assert found.parts["integrated_gradients"].backward == 20
    assert found.backward == 5 * 21
    assert (found.inputs, found.looked_at, found.players) == (5, 5, (4, 4))
    assert found.failures == ()


def test_bytes_are_those_that_a_run_writes(tmp_path):
    plan = plan_for(tmp_path, rows(40))
    found = estimate(plan, seconds=QUICK)
    execute(plan, tmp_path / "out")
    kept = files_of(tmp_path / "out")
    real = sum(len(content) for name, content in kept.items() if name not in ("plan.toml",))
    # The head of a Parquet file is shared by fewer inputs in the trial, so it tells too much.
    assert real < found.result < 1.5 * real


def test_nothing_is_left_behind(tmp_path):
    plan = plan_for(tmp_path, rows(3))
    before = files_of(tmp_path)
    random = torch.get_rng_state()
    estimate(plan, seconds=QUICK)
    assert files_of(tmp_path) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_backgrounds_multiply_the_passes(tmp_path):
    plan = plan_for(tmp_path, rows(3), baseline=Choice("background", {"samples": 3}))
    assert estimate(plan, seconds=QUICK).parts["values"].forward == 3 * 16 + 1


def test_some_rows_of_many(tmp_path):
    plan = plan_for(tmp_path, rows(40), rows=tuple(range(33)), methods={"and_or": {}})
    found = estimate(plan, seconds=QUICK)
    assert (found.inputs, found.looked_at, found.tasks) == (33, 16, len(groups_of(range(33))))
    assert found.forward == 33 * 17


def test_a_model_too_slow_for_a_trial_is_timed_and_the_methods_get_other_values(
    counting, monkeypatch
):
    monkeypatch.setenv("UNMASK_TEST_PAUSE", "0.02")  # a call; batches of 2 make 8 of a table
    plan = counted_plan(counting, rows(3), methods={"and_or": {}}, batch_size=2)
    found = estimate(plan, seconds=0.01)
    assert found.stand_in
    assert found.tried == 1
    assert found.forward == 3 * 17
    assert found.parts["values"].seconds > 8 * 0.02


def test_an_input_that_fails_is_passed_over_and_a_method_that_fails_is_told(counting):
    x = rows(3)
    x[0, 0] = 200  # the model answers NaN
    methods = {"and_or": {}, "grad_cam": {"layer": "inner.0"}}
    found = estimate(counted_plan(counting, x, methods=methods), seconds=QUICK)
    assert found.looked_at == 2
    assert {failure.method for failure in found.failures} == {"grad_cam"}


def test_where_every_input_fails_the_reason_is_told(counting):
    x = rows(2)
    x[:, 0] = 200
    with pytest.raises(ValueError, match=r"None of 2 inputs can be explained .*nan.* Mend"):
        estimate(counted_plan(counting, x), seconds=QUICK)


def test_of_games_too_large_for_a_table_the_search_is_counted(tmp_path):
    from run.tiny import perceptron, write_csv, write_exported

    write_exported(tmp_path / "m.pt2", perceptron(21), rows(4, 21), dynamic=True)
    write_csv(tmp_path / "t.csv", rows(2, 21), [f"c{i}" for i in range(21)], {})
    plan = plan_for(tmp_path / "other", rows(2))
    wide = replace(
        plan,
        model=str(tmp_path / "m.pt2"),
        inputs=Source(file=str(tmp_path / "t.csv")),
        methods={"large_n": {"budget": 400}},
    )
    found = estimate(wide, seconds=QUICK)
    assert found.players == (21, 21)
    assert found.failures == ()
    asked = [one.results["large_n"].evaluations for one in _done(wide, tmp_path)]
    assert found.parts["large_n"].forward * found.tried >= min(asked)
    assert found.parts["large_n"].forward <= 1.2 * max(asked)  # it may ask twice for one
    table = estimate(replace(wide, methods={"and_or": {}}), seconds=QUICK)
    assert "at most 20 players fit a table" in table.failures[0].reason


def _done(plan, tmp_path):
    execute(plan, tmp_path / "out")
    return read_run(tmp_path / "out").explained


def test_a_time_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"timed for 0\.0 seconds\. Give a number above 0"):
        estimate(plan_for(tmp_path, rows(2)), seconds=0.0)


def test_checkpoints_multiply_the_work(counting):
    from safetensors.torch import save_file

    plan = counted_plan(counting, rows(3), methods={"and_or": {}})
    model = __import__("unmask_test_counted").counted()
    files = []
    for step in (0, 10, 20):
        files.append(str(counting / f"step_{step}.safetensors"))
        save_file(model.state_dict(), files[-1])
    plan = replace(plan, checkpoints=tuple(files), score=Choice("log_odds", {"target": 0}))
    found = estimate(plan, seconds=QUICK)
    assert (found.checkpoints, found.tasks, found.times) == (3, 3, 9)
    assert found.forward == 9 * 17
    before = asked(counting / "log")
    follow(plan, counting / "out")
    # Besides, it is asked for the losses of the inputs, whose truth is known; and the last
    # checkpoint is looked at once more, for the names of the players.
    assert asked(counting / "log") - before == found.forward + 9 + 3


def made(**changes):
    """An estimate of 64 inputs in four groups, a hundred seconds of work."""
    plain = Estimate(
        inputs=64,
        looked_at=16,
        tried=16,
        players=(4, 4),
        parts={"values": Part(16.0, 0.0, 1.0), "and_or": Part(0.0, 0.0, 0.5625)},
        checkpoints=0,
        tasks=4,
        opening=2.0,
        gathering=3.0,
        memory=None,
        device_memory=None,
        result=0,
        weights=0,
        threads=1,
        stand_in=False,
    )
    return replace(plain, **changes)


def test_workers_share_whole_tasks_and_nothing_else():
    found = made()
    assert found.work == pytest.approx(100)
    # 4 tasks of 25 s: turns of 4, 2, 2, 1 and never less; 5 s stay as they are.
    times = {1: 105.0, 2: 55.0, 3: 55.0, 4: 30.0, 100: 30.0}
    assert {w: found.seconds(w) for w in times} == pytest.approx(times)
    assert found.gain(4) == pytest.approx(3.5)
    assert found.gain(1) == 1


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match=r"There are 0 workers\. Give"):
        made().seconds(0)
