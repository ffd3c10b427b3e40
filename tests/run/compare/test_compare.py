"""Comparisons from beginning to end: planted explainers, trouble, budgets, and going on."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from run.compare.explained import INPUTS, PLANTED, WEIGHTS, line, network, run, shy, told, truth
from run.tiny import perceptron, rows
from unmask import Players, features, log_odds, logit, predicted
from unmask.methods.saliency import shapley_exact
from unmask.results import Attribution
from unmask.run.compare import Words, compare
from unmask.run.compare.compare import other_filling
from unmask.run.compare.standings import ALL
from unmask.run.engine import Serial


@pytest.fixture(scope="module")
def planted():
    return run()


def test_the_truth_is_recommended_and_the_others_are_judged(planted):
    assert planted.order[0] == "truth"
    assert planted.recommended == ("truth",)
    assert told(planted, "truth")[0].startswith("Passes the randomisation test")
    assert told(planted, "truth")[1:] == (
        "Adds up to the difference of the score.",
        "Better than random attributions in all metrics of removal.",
    )
    assert [remark.good for remark in planted.verdicts["truth"]] == [True] * 3
    assert planted.verdicts["blind"][0].good is False
    assert "barely depends on the weights (similarity 1.00" in told(planted, "blind")[0]
    assert "Does not add up: misses 200 %" in " ".join(told(planted, "backwards"))
    assert "Not distinguishable from random" in told(planted, "backwards")[-1]


def test_ratings_are_what_is_known_of_a_linear_score(planted):
    _, x = line()
    ratings = planted.ratings
    for name, expected in (("truth", 1.0), ("backwards", -1.0)):
        found = ratings[name]["faithfulness_correlation"].values
        torch.testing.assert_close(found, torch.full_like(found, expected))
    assert ratings["truth"]["surrogate_r2"].mean == pytest.approx(1.0)
    assert ratings["truth"]["completeness_gap"].mean == pytest.approx(0.0, abs=1e-5)
    assert ratings["backwards"]["completeness_gap"].mean == pytest.approx(2.0, abs=1e-4)
    stays = ratings["blind"]["randomization_excess"]
    assert stays.curve is not None
    assert stays.curve[:, :5].min() > 1 - 1e-9  # whatever the random model
    torch.testing.assert_close(stays.values, 1 - stays.curve[:, 5:].mean(1))
    # Deletion: the area under the score as the largest w x are taken away, one after the other.
    bias = planted.subject.values - (WEIGHTS * x).sum(1)
    for i in range(INPUTS):
        parts = sorted((WEIGHTS * x[i]).tolist(), reverse=True)
        curve = [float(bias[i]) + sum(parts[k:]) for k in range(6)]
        area = sum((a + b) / 2 / 5 for a, b in pairwise(curve))
        assert float(ratings["truth"]["deletion"].values[i]) == pytest.approx(area, abs=1e-4)


def test_all_of_it_says_where_it_comes_from(planted):
    assert set(planted.references) == {"random", "difference"}
    assert planted.fillings is not None
    assert planted.fillings.names == ("the baseline", "values of another input")
    assert planted.against["truth"]["deletion"].low > 0
    better, low, _ = planted.difference("deletion", "truth", "backwards")
    assert low > 0
    assert planted.difference("deletion", "backwards", "truth")[0] == pytest.approx(-better)
    assert planted.places["truth"]["exactness"].rank == 1
    assert planted.criteria[:2] == ("exactness", "consistency")
    assert planted.folder is None
    assert not planted.failures


def test_the_two_fillings_differ_for_every_input():
    _, x = line()
    second, called = other_filling(x)
    assert called == "values of another input"
    assert sorted(second.tolist()) == sorted(x.tolist())
    assert (second != x).any(1).all()
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred, called = other_filling(pictures)
    assert called == "the picture blurred"
    assert blurred.std() < 0.5 * pictures.std()


def test_random_numbers_are_drawn_anew_and_averaged(planted):
    found = planted.ratings["random"]
    assert found["max_sensitivity"].mean > 0.5  # the same numbers again would not move at all
    assert abs(found["neighbour_similarity"].mean) < 0.3
    assert abs(found["randomization_excess"].mean) < 0.3
    assert found["deletion"].values.std() > 0


def test_a_method_of_the_catalogue_is_that_of_its_family():
    model, x = perceptron(), rows(9)
    score = log_odds(model, predicted(model, x))
    names = ["shapley_exact", "gradient"]
    found = compare(score, x, baseline=torch.zeros(4), players=features(4), methods=names)
    assert set(found.attributions) == {*names, "random", "difference"}
    assert found.cost.explanation["shapley_exact"] == 16
    assert found.ratings["shapley_exact"]["cost"].values.tolist() == [16.0] * 9
    from unmask import masked

    for i in range(9):
        game = masked(score.at(torch.tensor([i])), x[i], features(4), torch.zeros(4))
        expected = shapley_exact(game).values[0]
        torch.testing.assert_close(found.attributions["shapley_exact"].values[i], expected)


def test_an_explainer_that_fails_is_tried_on_each_input_alone():
    _, x = line()
    found = run({"truth": truth, "shy": shy, "broken": _broken})
    failed = (x[:, 0] < 0).nonzero()[:, 0].tolist()
    assert 0 < len(failed) < INPUTS
    assert [one.number for one in found.failures if one.method == "shy"] == failed
    assert {one.reason for one in found.failures if one.method == "shy"} == {
        "RuntimeError: negative"
    }
    share = sum(found.ratings["shy"]["valid"].values.tolist()) / INPUTS
    assert share == pytest.approx(1 - len(failed) / INPUTS)
    known = ~found.ratings["shy"]["deletion"].values.isnan()
    assert (~known).nonzero()[:, 0].tolist() == failed
    torch.testing.assert_close(
        found.ratings["shy"]["deletion"].values[known],
        found.ratings["truth"]["deletion"].values[known],
    )
    assert "it fails there" in told(found, "shy")[0]
    assert found.ratings["broken"]["valid"].mean == 0
    assert found.ratings["broken"]["deletion"].undefined == INPUTS
    assert found.order[-1] == "broken"
    assert found.recommended == ("truth",)


def _broken(score, x):
    raise ValueError("It never works. Nothing was given. Use another.")


@pytest.mark.parametrize(
    "explain",
    [
        lambda score, x: Attribution(torch.full_like(x, torch.nan)),
        lambda score, x: x,
        lambda score, x: Attribution(torch.zeros(len(x), 3)),
    ],
)
def test_broken_explanations_are_failures_and_not_numbers(explain):
    found = run({"truth": truth, "odd": explain}, inputs=9)
    assert len([one for one in found.failures if one.method == "odd"]) == 9
    assert found.ratings["odd"]["insertion"].undefined == 9


def test_explanations_of_different_shapes_are_failures():
    def mixed(score, x):
        if len(x) > 1:
            raise RuntimeError("one at a time")
        return Attribution(x.flatten(1) if bool(x.mean() > 0) else x)

    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).eval()
    x = torch.tensor([1.0, -1.0]).repeat(5)[:, None, None].expand(10, 2, 2).clone()
    x += 0.1 * torch.rand(10, 2, 2, generator=torch.Generator().manual_seed(0))
    found = compare(
        logit(model, 0),
        x,
        baseline=torch.zeros(2, 2),
        players=Players(torch.arange(4).reshape(2, 2), tuple("abcd")),
        methods={"mixed": mixed},
    )
    assert [one.number for one in found.failures if one.number >= 0] == [1, 3, 5, 7, 9]
    assert "have different shapes, (2, 2) and (4,)" in found.failures[0].reason


def test_inputs_that_the_model_fails_on_are_left_out():
    score, x = line()
    x[3, 1] = torch.nan
    titles = tuple(f"row {i}" for i in range(INPUTS))
    found = compare(
        score,
        x,
        baseline=torch.zeros(5),
        players=features(5),
        methods=PLANTED,
        words=Words(titles),
    )
    assert [(one.number, one.title, one.method) for one in found.failures] == [(3, "row 3", None)]
    assert found.subject.titles == tuple(title for title in titles if title != "row 3")
    assert len(found.ratings["truth"]["deletion"].values) == INPUTS - 1
    with pytest.raises(ValueError, match="fails on every input"):
        compare(score, x * torch.nan, baseline=torch.zeros(5), players=features(5))


def test_a_constant_model_has_nothing_to_explain():
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    _, x = line()
    found = compare(
        logit(model, 0), x, baseline=torch.zeros(5), players=features(5), methods=PLANTED
    )
    assert found.ratings["truth"]["valid"].mean == 0
    assert "Says nothing of 100 % of the inputs" in told(found, "truth")[0]
    assert found.recommended == ()


def test_methods_of_which_none_works_are_compared_all_the_same():
    still = {name: lambda score, x: Attribution(torch.ones_like(x)) for name in ("a", "b", "c")}
    for methods in (still, dict.fromkeys("abc", _broken)):
        found = run(methods, inputs=9)
        assert found.fillings is None
        assert found.recommended == ()
        assert "No method is recommended: a rule speaks against each of them." in found.notes


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_a_score_in_another_unit_is_explained_by_the_same_method(planted, unit):
    score, x = line()
    other = replace(score, read=lambda output, rows: unit * score.read(output, rows))
    found = compare(other, x, baseline=torch.zeros(5), players=features(5), methods=PLANTED)
    assert found.recommended == planted.recommended
    for criterion in ("consistency", ALL):
        assert found.places["truth"][criterion] == planted.places["truth"][criterion]


@pytest.mark.parametrize("inputs", [1, 2, 7])
def test_too_few_inputs_give_numbers_but_no_verdict(inputs):
    found = run(inputs=inputs)
    assert found.recommended == ()
    assert f"{inputs} inputs are too few for a verdict on 3 methods" in found.notes[-1]
    assert told(found, "truth")[0].startswith("No verdict")
    assert found.ratings["truth"]["completeness_gap"].mean == pytest.approx(0.0, abs=1e-5)


def test_methods_that_say_the_same_are_not_told_apart():
    found = run({"one": truth, "two": truth})
    assert found.recommended == ()
    assert "These inputs do not tell the methods apart: none is recommended." in found.notes
    assert "one, two say the same here." in found.notes
    three = run({"one": truth, "two": truth, "three": truth})
    assert "These inputs do not tell the methods apart: none is recommended." in three.notes
    assert found.places["one"][ALL].rank == found.places["two"][ALL].rank == 1.5


def test_a_budget_takes_fewer_inputs_then_cheaper_metrics():
    whole = run(["integrated_gradients", "ablation"]).cost
    told = []
    tight = run(
        ["integrated_gradients", "ablation"], budget=0.7 * whole.total, announce=told.append
    )
    assert told == [tight.cost]
    assert 8 <= tight.cost.inputs < INPUTS
    assert tight.cost.total <= 0.7 * whole.total
    assert not tight.cost.dropped
    tighter = run(["integrated_gradients", "ablation"], budget=0.4 * whole.total)
    assert tighter.cost.dropped[0] == "max_sensitivity"  # the dearest
    assert tighter.cost.inputs >= 8
    assert "The budget leaves out max_sensitivity" in tighter.notes[0]
    tiny = run(["integrated_gradients", "ablation"], budget=10.0)
    assert tiny.cost.inputs == 1
    assert tiny.recommended == ()
    assert any("too few for a verdict" in note for note in tiny.notes)


def test_a_budget_that_is_enough_leaves_nothing_out():
    few = run({"truth": truth}, inputs=5)
    for budget in (1e9, float("inf")):
        found = run({"truth": truth}, inputs=5, budget=budget)
        assert not found.cost.dropped
        assert [*found.metrics] == [*few.metrics]
    # Nineteen methods take nine inputs for a verdict: rather fewer metrics than fewer inputs.
    many = {f"truth_{i}": truth for i in range(19)}
    whole = run(many, inputs=1).cost.total
    found = run(many, budget=8.5 * whole)
    assert found.cost.inputs >= 9
    assert found.cost.dropped


def test_the_cost_that_is_told_is_the_cost_that_is_paid():
    asked = 0
    inner = network()

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            nonlocal asked
            asked += len(x)
            return self.inner(x)

    _, x = line()
    told = []
    found = compare(
        logit(Counting(), 0),
        x,
        baseline=torch.zeros(5),
        players=features(5),
        methods=["ablation"],
        announce=lambda cost: told.append(asked),
    )
    paid = asked - told[0]
    # References explain for nothing, but what metrics ask besides (nearness, classes) is untold.
    assert paid == pytest.approx(found.cost.total, rel=0.2)


def test_an_engine_may_spread_the_methods(planted):
    class Backwards(Serial):
        def map(self, work, items):
            return iter([work(item) for item in reversed([*items])][::-1])

    found = run(engine=Backwards())
    assert found.places == planted.places
    assert found.verdicts == planted.verdicts


def test_every_step_is_told():
    steps = []
    found = run({"truth": truth}, inputs=3, listen=steps.append)
    assert steps[-1].done == steps[-1].total == 3 * (1 + len(found.metrics))
    assert {step.title for step in steps} == {"truth", "random", "difference"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"players": features(4)}, "players label positions"),
        ({"players": features(5, {"all": range(5)})}, "the only player is 'all'"),
        ({"baseline": torch.zeros(3)}, "baseline has shape"),
        ({"budget": 0.0}, "budget is 0.0 passes"),
        ({"methods": {}}, "no methods to compare"),
        ({"methods": {"../up": truth}}, "cannot name a folder"),
        ({"methods": {"random": truth}}, "cannot name a folder"),
        ({"methods": {"difference": truth}}, "none of the references: random, difference, edges"),
        ({"methods": []}, "no methods to compare"),
        ({"methods": ["shapley"]}, "no method 'shapley'"),
        ({"methods": ["grad_cam"]}, "No method fits"),
        ({"batch_size": 0}, "batch of 0 inputs is too small"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        run(**changes)


def test_a_score_of_other_inputs_is_refused():
    _, x = line()
    with pytest.raises(ValueError, match="classes of 3 inputs, but x holds 14"):
        compare(
            logit(network(), torch.zeros(3, dtype=torch.long)),
            x,
            baseline=torch.zeros(5),
            players=features(5),
        )
    with pytest.raises(TypeError):
        compare(network(), x, baseline=torch.zeros(5), players=features(5))
