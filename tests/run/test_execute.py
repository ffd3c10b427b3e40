"""Runs: what is kept, and that it is right."""

import json
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch

from run.runs import ALL, NAMES, asked, counted_plan, files_of, plan_for
from run.tiny import perceptron, rows, write_csv, write_exported
from unmask.lattice import coalitions
from unmask.results import Attribution, Interactions, Measurement
from unmask.run import Choice, Failure, Source, execute, plan_text, read_run
from unmask.run.choices.ways import check_choices
from unmask.store.parquet import read_columns


def test_the_table_is_what_the_model_says_with_columns_replaced_by_their_mean(tmp_path):
    x = rows(3)
    outcome = execute(plan_for(tmp_path, x), tmp_path / "out")
    assert outcome.explained == (0, 1, 2)
    assert outcome.failures == ()
    mean = [sum(float(row[c]) for row in x) / 3 for c in range(4)]
    model = perceptron()
    for i, explained in enumerate(read_run(tmp_path / "out").explained):
        entry = explained.entry
        with torch.no_grad():
            p = model(x[i : i + 1])[0].double().softmax(0)
        target = int(p.argmax())
        assert (entry.number, entry.title, entry.truth) == (i, f"row {i}", f"class {i % 3}")
        assert entry.prediction == f"class {target}"
        assert entry.probability == pytest.approx(float(p[target]), abs=1e-6)
        for index, bits in enumerate(product((0, 1), repeat=4)):
            shown = bits[::-1]  # in lattice order the first player changes fastest
            hidden = [float(x[i, c]) if shown[c] else mean[c] for c in range(4)]
            with torch.no_grad():
                q = model(torch.tensor([hidden]))[0].double().softmax(0)
            expected = float(torch.log(q[target] / (1 - q[target])))
            assert float(entry.table[index]) == pytest.approx(expected, abs=1e-4)


def test_every_method_of_the_plan_is_kept_and_fits_the_game(tmp_path):
    execute(plan_for(tmp_path, rows(3)), tmp_path / "out")
    for explained in read_run(tmp_path / "out").explained:
        entry, results = explained.entry, explained.results
        assert set(results) == set(ALL)
        terms = results["and_or"]
        assert isinstance(terms, Interactions)
        assert terms.names == NAMES
        assert terms.evaluations == 16
        assert terms.gap is not None
        error = (terms(coalitions(4)) - entry.table.double()).abs().max()
        assert error < 1e-6 * entry.table.abs().max().clamp_min(1)
        matching = results["universal_matching"]
        assert isinstance(matching, Measurement)
        assert matching.numbers["largest_error"] == pytest.approx(float(error), abs=1e-7)
        shares, slopes = results["shapley_exact"], results["gradient"]
        assert isinstance(shares, Attribution)
        assert isinstance(slopes, Attribution)
        total = float(entry.table[-1].double() - entry.table[0].double())
        assert float(shares.values.sum()) == pytest.approx(total, abs=1e-5)
        step = 1e-3
        model = perceptron().double()
        for c in range(4):
            moved = entry.x.double().repeat(2, 1)
            moved[0, c] += step
            moved[1, c] -= step
            with torch.no_grad():
                q = model(moved).softmax(1)[:, entry.target]
            high, low = torch.log(q / (1 - q)).tolist()
            assert float(slopes.values[0, c]) == pytest.approx((high - low) / 2 / step, abs=1e-3)


def test_the_two_tables_hold_what_the_results_hold(tmp_path):
    execute(plan_for(tmp_path, rows(2)), tmp_path / "out")
    terms = read_columns(tmp_path / "out" / "terms" / "part-00000000.parquet")
    assert list(terms)[:6] == ["input", "step", "order", "members", "logic", "effect"]
    shares = read_columns(tmp_path / "out" / "attributions" / "part-00000000.parquet")
    for i, explained in enumerate(read_run(tmp_path / "out").explained):
        found = explained.results["and_or"]
        kept = {
            (tuple(members), logic): effect
            for number, members, logic, effect in zip(
                terms["input"], terms["members"], terms["logic"], terms["effect"], strict=True
            )
            if number == i
        }
        expected = {}
        for row, is_or, effect in zip(found.members, found.is_or, found.effects, strict=True):
            if effect != 0:
                names = tuple(name for name, there in zip(NAMES, row, strict=True) if there)
                expected[names, "OR" if is_or else "AND"] = float(effect)
        assert kept == expected
        values = [
            value
            for number, method, value in zip(
                shares["input"], shares["method"], shares["value"], strict=True
            )
            if (number, method) == (i, "shapley_exact")
        ]
        assert values == explained.results["shapley_exact"].values[0].double().tolist()


def test_the_same_plan_gives_the_same_numbers_and_runs_alone_or_together(tmp_path):
    plan = plan_for(tmp_path, rows(5))
    execute(plan, tmp_path / "a")
    execute(plan, tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    execute(replace(plan, rows=(3,)), tmp_path / "c")
    together = read_run(tmp_path / "a").explained[3]
    alone = read_run(tmp_path / "c").explained[0]
    assert torch.equal(together.entry.table, alone.entry.table)
    masks = coalitions(4)
    first, second = together.results["and_or"], alone.results["and_or"]
    torch.testing.assert_close(first(masks), second(masks))
    assert float(first.effects.abs().sum()) == pytest.approx(float(second.effects.abs().sum()))


def test_run_json_says_what_the_results_depend_on(tmp_path):
    execute(plan_for(tmp_path, rows(2), seed=7), tmp_path / "out")
    words = json.loads((tmp_path / "out" / "run.json").read_text())
    assert words["seed"] == 7
    assert words["finished"] is True
    assert words["failures"] == []
    assert words["inputs"] == [0, 1]
    assert set(words["hashes"]) == {"plan", "inputs", "model"}
    assert {"unmask", "torch", "numpy", "python"} <= set(words["versions"])
    assert (tmp_path / "out" / "plan.toml").read_text() == plan_text(
        plan_for(tmp_path, rows(2), seed=7)
    )


def test_the_model_is_asked_once_for_all_game_methods(tmp_path, counted):
    methods = {name: {} for name in ("and_or", "universal_matching", "sparsity", "shapley_exact")}
    execute(counted_plan(tmp_path, rows(3), methods=methods), tmp_path / "out")
    assert asked(counted) == 3 * (16 + 1)  # all coalitions, and the prediction
    execute(counted_plan(tmp_path, rows(3), methods=methods), tmp_path / "out")
    assert asked(counted) == 3 * (16 + 1)


def test_inputs_that_fail_are_recorded_and_the_others_explained(tmp_path, counted):
    x = rows(5)
    x[1, 0], x[2, 0], x[3, 0] = 100, 200, torch.nan
    plan = counted_plan(tmp_path, x, baseline=Choice("constant"))
    outcome = execute(plan, tmp_path / "out")
    assert outcome.explained == (0, 4)
    reasons = {failure.number: failure for failure in outcome.failures}
    assert reasons[1] == Failure(
        1, "row 1", None, "RuntimeError: a hundred is too much for this model"
    )
    assert "The model returned nan for this input" in reasons[2].reason
    assert "The input must be finite, but holds nan" in reasons[3].reason
    found = read_run(tmp_path / "out")
    assert [one.entry.number for one in found.explained] == [0, 4]
    assert found.failures == outcome.failures
    assert [one.entry.number for one in found.explained if len(one.results) == len(ALL)] == [0, 4]


def test_a_coalition_on_which_the_model_fails_is_named(tmp_path, counted):
    x = rows(1)
    plan = counted_plan(tmp_path, x, baseline=Choice("constant", {"value": 200.0}))
    outcome = execute(plan, tmp_path / "out")
    assert outcome.explained == ()
    assert "The value of the coalition {} is nan" in outcome.failures[0].reason


def test_a_method_that_fails_takes_no_other_with_it(tmp_path):
    plan = plan_for(tmp_path, rows(2), baseline=Choice("background", {"samples": 2}))
    plan = replace(plan, methods={"and_or": {}, "integrated_gradients": {}, "gradient": {}})
    outcome = execute(plan, tmp_path / "out")
    if outcome.failures:  # integrated gradients knows one baseline, not a set of them
        assert {failure.method for failure in outcome.failures} == {"integrated_gradients"}
    for explained in read_run(tmp_path / "out").explained:
        assert {"and_or", "gradient"} <= set(explained.results)


def wide_plan(tmp_path, **changes):
    """A plan for inputs of one player more than a table holds."""
    names = tuple(f"c{i}" for i in range(21))
    write_csv(tmp_path / "wide.csv", rows(2, 21), names, {})
    write_exported(tmp_path / "wide.pt2", perceptron(21), rows(4, 21), dynamic=True)
    wide = {"model": str(tmp_path / "wide.pt2"), "inputs": Source(file=str(tmp_path / "wide.csv"))}
    return plan_for(tmp_path, rows(2), **{**wide, **changes})


def test_methods_that_need_a_table_say_so_where_there_is_none_and_others_go_on(tmp_path):
    outcome = execute(wide_plan(tmp_path), tmp_path / "out")
    assert {failure.method for failure in outcome.failures} == {*ALL} - {"gradient"}
    assert len(outcome.failures) == 2 * (len(ALL) - 1)
    for failure in outcome.failures:
        assert "21 players have 2^21 coalitions" in failure.reason
        assert "at most 20 players" in failure.reason
    found = read_run(tmp_path / "out").explained
    assert [set(one.results) for one in found] == [{"gradient"}] * 2


def test_large_games_are_searched_for_their_strong_terms(tmp_path):
    """The model is asked, as no table holds its values, and all else is as in any run."""
    methods = {"large_n": {"budget": 600}, "universal_matching": {"samples": 64}}
    plan = wide_plan(tmp_path, methods=methods)
    outcome = execute(plan, tmp_path / "out")
    assert outcome.failures == ()
    model = perceptron(21)
    background = rows(2, 21).mean(0)
    for i, one in enumerate(read_run(tmp_path / "out").explained):
        assert one.entry.table is None
        with torch.no_grad():
            shown = torch.stack([background, rows(2, 21)[i]])
            z = model(shown)
        target = one.entry.target
        assert target == int(z[1].argmax())
        others = [k for k in range(3) if k != target]
        expected = z[:, target] - z[:, others].logsumexp(1)
        torch.testing.assert_close(one.entry.ends, expected, rtol=0, atol=1e-5)
        terms = one.results["large_n"]
        assert terms.evaluations <= 600
        assert terms.names == one.entry.players.names
        assert 0 <= terms.residual < 1
        matching = one.results["universal_matching"]
        assert matching.curves["fidelity"][-1] == pytest.approx(1 - terms.residual, abs=0.2)
        with pytest.raises(
            ValueError, match=r"21 players of input \d have too many .*Play the game"
        ):
            one.entry.game()
    before = files_of(tmp_path / "out")
    assert execute(plan, tmp_path / "out").computed == 0
    assert files_of(tmp_path / "out") == before


def test_of_terms_sought_in_vain_the_cause_is_told(tmp_path):
    """Not that a table is too large, which nobody asked for."""
    methods = {"large_n": {"budget": 1}, "universal_matching": {"samples": 64}}
    outcome = execute(wide_plan(tmp_path, methods=methods), tmp_path / "out")
    assert [(one.number, one.method) for one in outcome.failures] == [*product((0, 1), methods)]
    for sought, looked in zip(outcome.failures[::2], outcome.failures[1::2], strict=True):
        assert looked.reason == f"There are no terms, as large_n failed: {sought.reason}"


def test_steps_are_told_in_order_and_end_at_the_total(tmp_path):
    steps = []
    execute(plan_for(tmp_path, rows(3)), tmp_path / "out", listen=steps.append)
    done = [step.done for step in steps]
    assert done[-1] == steps[-1].total == 3 * (1 + len(ALL))
    assert all(later >= earlier - 1 for earlier, later in pairwise(done))
    assert {step.what for step in steps} == {"values", *ALL}


def test_another_engine_gets_the_same_work(tmp_path):
    class Backwards:
        """Does the last group first."""

        def map(self, work, items):
            return iter([work(item) for item in reversed(list(items))])

    plan = plan_for(tmp_path, rows(20))
    plan = replace(plan, methods={"shapley_exact": {}})
    execute(plan, tmp_path / "a")
    execute(plan, tmp_path / "b", engine=Backwards())
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_model_that_works_in_place_is_explained_like_any_other(tmp_path, monkeypatch):
    (tmp_path / "unmask_test_place.py").write_text(
        "from torch import nn\n"
        "class Place(nn.Module):\n"
        "    def forward(self, x):\n        x += 1\n        return x[:, :3] ** 2\n"
        "class Plain(nn.Module):\n"
        "    def forward(self, x):\n        return (x + 1)[:, :3] ** 2\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    methods = {"and_or": {}, "shapley_exact": {}}
    found = []
    for name in ("Place", "Plain"):
        model = f"unmask_test_place:{name}"
        execute(plan_for(tmp_path, rows(3), model=model, methods=methods), tmp_path / name)
        found.append(read_run(tmp_path / name).explained)
    for place, plain, x in zip(*found, rows(3), strict=True):
        assert torch.equal(place.entry.x, plain.entry.x)
        torch.testing.assert_close(plain.entry.x, x)
        assert place.entry.probability == plain.entry.probability
        assert torch.equal(place.entry.table, plain.entry.table)


def test_a_truth_that_no_prediction_can_equal_is_called_neither_right_nor_wrong(tmp_path):
    plan = plan_for(tmp_path, rows(3))
    write_csv(tmp_path / "t.csv", rows(3), NAMES, {"y": ["cat", "2.0", "class 1"]})
    execute(plan, tmp_path / "out")
    entries = [one.entry for one in read_run(tmp_path / "out").explained]
    assert [entry.truth for entry in entries] == [None, "class 2", "class 1"]
    assert [entry.title for entry in entries] == ["row 0 (truth cat)", "row 1", "row 2"]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"score": Choice("log_odds", {"target": True})}, "a whole number or a text"),
        ({"score": Choice("log_odds", {"target": 1.5})}, "a whole number or a text"),
        ({"score": Choice("log_odds", {"target": (1,)})}, "a whole number or a text"),
        ({"score": Choice("output", {"target": "dog"})}, "a whole number"),
        ({"baseline": Choice("constant", {"value": "grey"})}, "a number"),
        ({"players": Choice("words", {"most": "all"})}, "a whole number"),
    ],
)
def test_a_choice_of_the_wrong_kind_is_refused_before_anything_is_made(tmp_path, choice, wanted):
    with pytest.raises(ValueError, match=f"The option .* Give {wanted}"):
        execute(plan_for(tmp_path, rows(1), **choice), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_whole_number_will_do_for_a_number(tmp_path):
    check_choices(plan_for(tmp_path, rows(1), baseline=Choice("constant", {"value": 1})))


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("tolerance", "x", "a number"), ("tolerance", True, "a number"), ("steps", "9", "a number")],
)
def test_an_option_of_the_wrong_kind_is_refused_before_anything_is_made(
    tmp_path, option, value, wanted
):
    plan = plan_for(tmp_path, rows(1), methods={"and_or": {option: value}})
    with pytest.raises(ValueError, match=f"The option '{option}' .* Give {wanted}"):
        execute(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()
