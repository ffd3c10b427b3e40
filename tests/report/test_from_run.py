"""Run folder -> cases."""

from dataclasses import replace

import pytest
import torch

from run.tiny import perceptron, rows, write_classifier, write_csv, write_exported, write_picture
from unmask.lattice import coalitions
from unmask.report import build
from unmask.report.from_run import cases
from unmask.run import Choice, Plan, Source, execute, open_model, read_inputs, suggest
from unmask.run.folder import RunFolder
from unmask.views import ImageView, TableView, TextView

NAMES = ("age", "height", "weight", "dose")


@pytest.fixture
def plan(tmp_path):
    """A program and a table, and the plan to explain them."""
    write_exported(tmp_path / "m.pt2", perceptron(), rows(4), dynamic=True)
    write_csv(tmp_path / "t.csv", rows(3), NAMES, {"y": ["0", "1.0", "class 2"]})
    return Plan(
        model=str(tmp_path / "m.pt2"),
        inputs=Source(file=str(tmp_path / "t.csv"), label="y"),
        score=Choice("log_odds"),
        players=Choice("features"),
        baseline=Choice("mean"),
        methods={
            name: {}
            for name in ("and_or", "universal_matching", "sparsity", "shapley_exact", "gradient")
        },
    )


def test_cases_hold_what_the_run_found(plan, tmp_path):
    execute(plan, tmp_path / "out")
    found = cases(tmp_path / "out")
    model = perceptron()
    for i, case in enumerate(found):
        with torch.no_grad():
            p = model(rows(3)[i : i + 1])[0].softmax(0)
        answer = int(p.argmax())
        assert case.title == f"row {i}"
        assert case.prediction == f"class {answer} ({100 * float(p[answer]):.1f} %)"
        assert case.right is (answer == i)
        assert case.score == f"log-odds of class {answer}"
        assert isinstance(case.view, TableView)
        assert set(case.attributions) == {"shapley_exact", "gradient"}
        error = (case.terms(coalitions(4)) - case.table).abs().max()
        assert float(error) < 1e-5
    page = build(found, tmp_path / "page.html", title="three rows")
    assert "height" in page.read_text("utf-8")


def test_measurements_that_the_plan_left_out_are_made_up_for(plan, tmp_path):
    execute(plan, tmp_path / "full")
    execute(replace(plan, methods={"and_or": {}}), tmp_path / "terms")
    for full, bare in zip(cases(tmp_path / "full"), cases(tmp_path / "terms"), strict=True):
        assert bare.matching.numbers == full.matching.numbers
        assert bare.sparsity.numbers.keys() == full.sparsity.numbers.keys()
        assert bare.sparsity.numbers["terms_95"] == full.sparsity.numbers["terms_95"]
        assert bare.attributions == {}


def test_a_number_is_never_called_wrong(plan, tmp_path):
    write_csv(tmp_path / "t.csv", rows(3), NAMES, {"y": ["1.5", "2", "3"]})
    execute(replace(plan, score=Choice("output", {"target": 1})), tmp_path / "out")
    case = cases(tmp_path / "out")[0]
    assert case.right is None
    assert case.title == "row 0 (truth 1.5)"
    assert float(case.prediction) == pytest.approx(
        float(perceptron()(rows(3))[0, 1].detach()), rel=1e-5
    )


def test_a_run_without_terms_or_without_inputs_says_so(plan, tmp_path):
    execute(replace(plan, methods={"shapley_exact": {}}), tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds no terms to show.*Add \[methods\.and_or\]"):
        cases(tmp_path / "out")
    execute(replace(plan, methods={"large_n": {"budget": 1}}), tmp_path / "vain")
    with pytest.raises(ValueError, match=r"no terms to show: large_n failed .*Mend that, and rep"):
        cases(tmp_path / "vain")
    write_csv(tmp_path / "t.csv", rows(2) * torch.nan, NAMES, {"y": ["0", "1"]})
    execute(replace(plan, baseline=Choice("constant")), tmp_path / "nan")
    with pytest.raises(ValueError, match=r"has explained no input yet.*must be finite"):
        cases(tmp_path / "nan")
    run = RunFolder(tmp_path / "begun")
    run.claim(plan)
    with pytest.raises(ValueError, match=r"has not begun: there is no run\.json"):
        cases(tmp_path / "begun")


def test_a_large_game_is_not_sent_to_a_method_that_needs_its_table(plan, tmp_path):
    names = tuple(f"c{i}" for i in range(21))
    write_csv(tmp_path / "t.csv", rows(2, 21), names, {"y": ["0", "1"]})
    write_exported(tmp_path / "m.pt2", perceptron(21), rows(4, 21), dynamic=True)
    execute(replace(plan, methods={"gradient": {}}), tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds no terms to show.*Add \[methods\.large_n\]"):
        cases(tmp_path / "out")


def test_pictures_and_texts_have_views_of_their_own(tmp_path):
    from torch import nn

    write_picture(tmp_path / "a.png", 12, 16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 16, 3))
    write_exported(tmp_path / "m.pt2", model, torch.zeros(2, 3, 12, 16), dynamic=True)
    (tmp_path / "bert").mkdir()
    write_classifier(tmp_path / "bert")
    for name, source, kind in [
        ("m.pt2", Source(file=str(tmp_path / "a.png")), ImageView),
        ("bert", Source(text=("the film was not good", "very <b>bad</b>")), TextView),
    ]:
        path = str(tmp_path / name)
        opened = open_model(path)
        material = read_inputs(source, opened)
        found = suggest(path, source, opened, material).plan
        if kind is ImageView:
            found = replace(found, players=Choice("patches", {"grid": (2, 3)}))
        outcome = execute(found, tmp_path / f"out-{name}")
        assert outcome.failures == ()
        shown = cases(outcome.folder)
        assert all(isinstance(case.view, kind) for case in shown)
        page = build(shown, tmp_path / f"{name}.html", title="views").read_text("utf-8")
        assert "<b>bad</b>" not in page
