"""`unmask compare` as a person types it."""

import re

import pytest
import torch

from run.tiny import perceptron, rows, write_csv, write_exported, write_onnx
from typed import typed
from unmask.run.compare import read_comparison

NAMES = ("age", "height", "weight", "dose")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory with a program, an ONNX file and a table."""
    monkeypatch.chdir(tmp_path)
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    write_onnx(tmp_path / "m.onnx", perceptron(), "batch")
    write_csv(tmp_path / "t.csv", rows(12), NAMES, {"y": ["0", "1", "2"] * 4})
    return tmp_path


def test_methods_on_a_program_and_a_table(here):
    words = ("m.pt2", "t.csv", "--label", "y", "--out", "c")
    done = typed("compare", *words, "--methods", "shapley_exact, gradient")
    assert done.exit_code == 0, done.output
    assert "Players: the 4 columns." in done.output
    assert "4 methods and references on 12 inputs" in done.output  # and two references
    lines = done.output.splitlines()
    found = read_comparison("c")
    shown = [line.split()[0] for line in lines if re.match(r" ?(shapley_exact|gradient) ", line)]
    assert shown[:2] == [*found.order]
    for name in found.order:
        for remark in found.verdicts[name]:
            head = remark.text.partition(":")[0].partition(" (")[0].rstrip(".")
            named = [line for line in lines if line.startswith(f"{head}: ")]
            assert any(name in line for line in named) is not remark.good
    assert str(here / "c" / "page.html") in done.output
    page = (here / "c" / "page.html").read_text("utf-8")
    assert "Which explanation of m.pt2 to believe" in page
    assert found.subject.titles[0] in ("row 0", "row 1")
    assert "%)" in found.subject.said[0]
    assert "Results: c" in done.output


def test_again_it_finds_all_of_it(here):
    words = ("compare", "m.onnx", "t.csv", "--label", "y", "--methods", "ablation,inclusion")
    first = typed(*words)
    assert first.exit_code == 0, first.output
    place = here / "runs" / "compare-m-t" / "methods" / "ablation" / "deletion" / "result"
    before = place.stat().st_mtime_ns
    assert typed(*words).output == first.output
    assert place.stat().st_mtime_ns == before
    other = typed(*words, "--rows", "9")
    assert other.exit_code == 2
    assert "another comparison: they differ in inputs" in other.output


def test_a_black_box_leaves_out_what_it_cannot_give(here):
    done = typed("compare", "m.onnx", "t.csv", "--label", "y", "--rows", "2", "--out", "c")
    assert done.exit_code == 0, done.output
    found = read_comparison("c")
    assert {"shapley_exact", "occlusion", "kernel_shap"} <= set(found.order)
    assert "integrated_gradients" in found.left_out
    assert "randomization_excess" not in found.metrics  # there are no weights to draw anew
    assert "2 inputs are too few for a verdict" in done.output
    assert f"Left out: {len(found.left_out)} methods" in done.output


def test_the_zoo_brings_its_own_inputs_and_a_budget_is_kept(here):
    done = typed(
        *("compare", "unmask.zoo:breast_cancer", "--methods", "gradient,input-x-gradient"),
        *("--rows", "20", "--budget", "60000", "--out", "c"),
    )
    assert done.exit_code == 0, done.output
    cost = read_comparison("c").cost
    assert cost.total <= 60000
    assert f"on {cost.inputs} inputs" in done.output
    assert "of the 60,000 that are allowed" in done.output


def test_a_broken_row_is_left_out_and_told(here):
    x = rows(9)
    x[1, 0] = torch.nan
    write_csv(here / "t.csv", x, NAMES, {"y": ["0", "1", "2"] * 3})
    done = typed("compare", "m.pt2", "t.csv", "--label", "y", "--methods", "ablation")
    assert done.exit_code == 0, done.output
    assert "row 1 is left out: The input must be finite" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m.pt2", "tt.csv"], "There are no inputs at"),
        (["m.pt2", "t.csv", "--label", "y", "--methods", "shap"], "There is no method 'shap'"),
        (["m.pt2", "t.csv", "--label", "y", "--methods", "grad_cam"], "No method fits"),
        (["m.pt2", "t.csv", "--label", "y", "--rows", "0"], "nothing to compare on 0 inputs"),
        (["m.pt2", "t.csv", "--label", "y", "--budget", "-1"], "budget is -1.0 passes"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_code_two(here, words, said):
    done = typed("compare", *words)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_help_has_an_example():
    done = typed("compare", "--help")
    assert "Example: unmask compare model.onnx" in done.output
