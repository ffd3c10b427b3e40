"""`unmask plan`: what is shown of a plan, and what it is told to take."""

import re

import pytest

from run.runs import files_of, plan_for
from run.tiny import rows
from typed import typed as cli
from unmask.cli.plan import size, span
from unmask.run import plan_text


@pytest.fixture
def file(tmp_path):
    """A plan of twenty inputs in a file."""
    plan = plan_for(tmp_path, rows(20), methods={"and_or": {"precision": 0.01}, "gradient": {}})
    path = tmp_path / "p.toml"
    path.write_text(plan_text(plan))
    return path


def typed(*words):
    return cli(*words, width=200)


def line_of(text, key):
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [key])


def test_help_has_an_example():
    done = typed("plan", "--help")
    assert done.exit_code == 0
    assert "Example: unmask plan" in done.output


def test_what_a_plan_leaves_open_is_told_as_such(file):
    before = files_of(file.parent)
    done = typed("plan", file)
    assert done.exit_code == 0, done.output
    assert re.search(r"^ +precision +0\.01 *$", done.output, re.MULTILINE)  # of the method
    assert re.search(r"^ precision +the model's own +by default", done.output, re.MULTILINE)
    assert line_of(done.output, "tolerance") == ["tolerance", "0.0", "by", "default"]
    assert line_of(done.output, "seed") == ["seed", "0", "by", "default"]
    assert "all: 20 to explain" in done.output
    assert re.search(r"batch_size +2048, by the size of an input", done.output)
    assert str(file.with_suffix("")) in done.output  # where the run would lie
    assert "forward passes" not in done.output
    assert files_of(file.parent) == before


def test_an_estimate_tells_passes_bytes_time_and_workers(file):
    before = files_of(file.parent)
    done = typed("plan", file, "--estimate")
    assert done.exit_code == 0, done.output
    # 20 inputs of 4 players, and once to know what the model says; a gradient needs a reading
    # more, and a forward and a backward pass.
    assert line_of(done.output, "values")[:3] == ["values", "340", "0"]
    assert line_of(done.output, "gradient")[:3] == ["gradient", "40", "20"]
    assert line_of(done.output, "all")[:3] == ["all", "380", "20"]
    assert re.search(r"Results: [\d.]+ [kM]B; memory of a worker: [\d.]+ [MG]B", done.output)
    assert re.search(r"^ *2 .*\d", done.output, re.MULTILINE)
    assert "10 groups of inputs" in done.output  # of two each: a sixteenth is less
    assert files_of(file.parent) == before


def test_a_plan_that_cannot_be_carried_out_is_refused(tmp_path):
    done = typed("plan", tmp_path / "none.toml")
    assert done.exit_code == 2
    assert "There is no plan" in done.output


def test_times_and_sizes_read_well():
    shown = {0.0123: "12 ms", 0.5: "0.5 s", 119.0: "119.0 s", 150.0: "2.5 min", 7300.0: "2.0 h"}
    assert {one: span(one) for one in shown} == shown
    assert span(86400 * 3.25) == "3.2 days"
    shown = {999: "999 bytes", 1500: "1.5 kB", 2_000_000: "2.0 MB", 3_500_000_000_000: "3.5 TB"}
    assert {one: size(one) for one in shown} == shown
