"""Run folders that are changed, foreign, cut short or incomplete."""

import shutil
from dataclasses import replace

import pytest
import torch

from run.runs import files_of, plan_for
from run.tiny import rows, write_exported
from unmask.run import Choice, execute, read_run
from unmask.store import load, save


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"baseline": Choice("constant")}, {"methods": {"and_or": {}}}]
)
def test_a_changed_plan_is_refused_and_nothing_is_touched(tmp_path, change):
    plan = plan_for(tmp_path, rows(2))
    execute(plan, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(ValueError, match=f"another plan: they differ in {next(iter(change))}"):
        execute(replace(plan, **change), tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_changed_inputs_or_weights_are_refused(tmp_path):
    plan = plan_for(tmp_path, rows(2))
    execute(plan, tmp_path / "out")
    plan_for(tmp_path, rows(2) + 1)
    with pytest.raises(ValueError, match=r"The inputs changed since the run.*delete this one\.$"):
        execute(plan, tmp_path / "out")
    plan_for(tmp_path, rows(2))
    write_exported(tmp_path / "m.pt2", torch.nn.Linear(4, 3), rows(4), dynamic=True)
    with pytest.raises(ValueError, match=r"The model changed since the run.*must set its seed\.$"):
        execute(plan, tmp_path / "out")


def test_a_foreign_folder_is_refused_and_nothing_is_touched(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"is no run, but holds other files such as 'thesis\.tex'"):
        execute(plan_for(tmp_path, rows(2)), out)
    assert files_of(out) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("name", ["run.json", "plan.toml", "inputs/00001/entry/entry.json"])
@pytest.mark.parametrize("content", [None, "", "{", "{}", "[1]", '{"format": "other"}'])
def test_a_run_with_a_missing_or_broken_file_says_which(tmp_path, name, content):
    plan = plan_for(tmp_path, rows(2))
    execute(plan, tmp_path / "out")
    file = tmp_path / "out" / name
    file.unlink() if content is None else file.write_text(content)
    said = "no sound input" if "entry" in name else name.replace(".", r"\.")
    with pytest.raises(ValueError, match=said) as raised:
        read_run(tmp_path / "out")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["entry", "and_or", "shapley_exact"])
@pytest.mark.parametrize("kept", [0, 20, -3])
def test_truncated_tensors_are_an_error_for_reader_and_runner(tmp_path, method, kept):
    plan = plan_for(tmp_path, rows(2))
    execute(plan, tmp_path / "out")
    file = tmp_path / "out" / "inputs" / "00001" / method / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    for use in (lambda: read_run(tmp_path / "out"), lambda: execute(plan, tmp_path / "out")):
        with pytest.raises(ValueError, match=r"truncated|cut short"):
            use()


def test_an_input_that_vanished_from_a_finished_run_is_missed(tmp_path):
    plan = plan_for(tmp_path, rows(2))
    execute(plan, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "inputs" / "00001")
    with pytest.raises(ValueError, match="Input 1 is missing"):
        read_run(tmp_path / "out")
    execute(plan, tmp_path / "out")
    assert len(read_run(tmp_path / "out").explained) == 2


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(ValueError, match="There is no run at"):
        read_run(tmp_path / "none")
    with pytest.raises(ValueError, match=r"it holds no plan\.toml, but nothing"):
        read_run(tmp_path)


def test_a_result_of_another_kind_or_another_game_is_refused(tmp_path):
    execute(plan_for(tmp_path, rows(2)), tmp_path / "out")
    place = tmp_path / "out" / "inputs" / "00000"
    shutil.move(place / "and_or", tmp_path / "kept")
    shutil.copytree(place / "shapley_exact", place / "and_or")
    with pytest.raises(ValueError, match="kind Attribution, which and_or does not give"):
        read_run(tmp_path / "out")
    shutil.rmtree(place / "and_or")
    terms = load(tmp_path / "kept")
    save(replace(terms, names=("a", "b", "c", "d")), place / "and_or")
    with pytest.raises(ValueError, match="terms of other players"):
        execute(plan_for(tmp_path, rows(2)), tmp_path / "out")


def test_an_input_in_the_place_of_another_is_refused(tmp_path):
    execute(plan_for(tmp_path, rows(2)), tmp_path / "out")
    inputs = tmp_path / "out" / "inputs"
    shutil.rmtree(inputs / "00000" / "entry")
    shutil.copytree(inputs / "00001" / "entry", inputs / "00000" / "entry")
    with pytest.raises(ValueError, match="holds input 1, not 0"):
        read_run(tmp_path / "out")


@pytest.mark.parametrize("name", ["run.json", "inputs/00001/entry/entry.json"])
def test_endless_nesting_is_a_broken_file(tmp_path, name):
    execute(plan_for(tmp_path, rows(2)), tmp_path / "out")
    (tmp_path / "out" / name).write_text("[" * 100_000)
    with pytest.raises(ValueError, match="cut short or foreign"):
        read_run(tmp_path / "out")


def test_a_folder_in_the_place_of_the_record_is_told(tmp_path):
    execute(plan_for(tmp_path, rows(2)), tmp_path / "out")
    (tmp_path / "out" / "run.json").unlink()
    (tmp_path / "out" / "run.json").mkdir()
    with pytest.raises(ValueError, match="is no record of a run"):
        read_run(tmp_path / "out")
