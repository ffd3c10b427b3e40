"""Completeness over inputs: planted failures, the interval in closed form, and chance."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unmask import features, log_odds, logit, patches, tokens
from unmask.evaluation import completeness
from unmask.evaluation.completeness import REASONS
from unmask.methods.saliency import grad_cam, integrated_gradients
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.score import Score
from unmask.zoo import breast_cancer, digits

WEIGHTS = torch.tensor([6.0, -5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0])
N = len(WEIGHTS)
SCORE = logit(linear_network(WEIGHTS), 0)


def inputs(count, seed=0):
    """Rows whose first number is their place, so that an explainer can tell them apart."""
    x = torch.rand(count, N, generator=torch.Generator().manual_seed(seed)) + 0.5
    x[:, 7] = torch.arange(count)  # the score does not look at it
    return x


def right(score, x):
    return Attribution(WEIGHTS * x)


def measured(x, explain, **options):
    given = {"baseline": torch.zeros(N), "players": features(N)} | options
    return completeness(SCORE, x, explain=explain, **given)


def raising_on(chosen, error=RuntimeError):
    def explain(score, x):
        if any(int(place) in chosen for place in x[:, 7]):
            raise error("It is too much.")
        return right(score, x)

    return explain


def test_the_interval_of_45_of_50():
    found = measured(inputs(50), raising_on(range(3, 8))).numbers
    assert found["valid"] == pytest.approx(0.9)
    assert found["valid_low"] == pytest.approx(0.7864, abs=5e-5)
    assert found["valid_high"] == pytest.approx(0.9565, abs=5e-5)
    assert found["raised"] == found["raised_RuntimeError"] == 5


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7])
def test_only_the_inputs_that_fail_are_blamed_whatever_the_batches(batch_size):
    found = measured(inputs(11), raising_on({2, 9}, KeyError), batch_size=batch_size)
    assert found.curves["reason"].nonzero()[:, 0].tolist() == [2, 9]
    assert found.numbers["raised_KeyError"] == 2


def test_a_batch_that_fails_is_halved_and_not_taken_apart_at_once():
    sizes = []

    def explain(score, x):
        sizes.append(len(x))
        return raising_on({0})(score, x)

    measured(inputs(16), explain)
    assert sizes == [16, 8, 4, 2, 1, 1, 2, 4, 8]


def test_each_reason_is_found_and_the_first_counts():
    def explain(score, x):
        values = WEIGHTS * x
        for row, place in enumerate(x[:, 7].tolist()):
            if place == 1:
                values[row, 2] = torch.inf
            if place == 2:
                values[row] = 0
            if place == 3:
                values[row] *= 1.2  # still the best order, but too much in sum
            if place == 4:  # the sum of the others, the wrong way round
                values[row] = values[row].flip(0)
        if 0 in x[:, 7]:
            raise ValueError("No.")
        return Attribution(values[:, :3] if 5 in x[:, 7] else values)

    found = measured(inputs(7), explain, tolerance=0.1, batch_size=1)
    assert found.curves["reason"].tolist() == [1, 3, 4, 5, 6, 2, 0]
    assert [found.numbers[name] for name in REASONS] == [1] * 6
    # Without a promise, what misses the sum is valid.
    assert measured(inputs(7), explain, batch_size=1).curves["reason"][3] == 0


def test_what_is_no_attribution_is_unusable():
    found = measured(inputs(3), lambda score, x: WEIGHTS * x)
    assert found.numbers["unusable"] == 3
    assert found.numbers["valid"] == 0


def test_throwing_on_half_of_the_strata_is_zero_there_and_no_end():
    strata = torch.tensor([5, 5, 2, 2, 2, 5, 2, 5])
    throws = {place for place, stratum in enumerate(strata.tolist()) if stratum == 5}
    found = measured(inputs(8), raising_on(throws), strata=strata)
    assert found.curves["stratum"].tolist() == [2, 5]
    assert found.curves["valid_by_stratum"].tolist() == [1, 0]
    assert found.curves["inputs_by_stratum"].tolist() == [4, 4]
    assert found.numbers["valid"] == 0.5
    assert (found.numbers["worst"], found.numbers["worst_stratum"]) == (0, 5)
    z = 1.959963984540054  # of 0 of 4 the interval of Wilson ends at z^2 / (4 + z^2)
    assert float(found.curves["valid_by_stratum_high"][1]) == pytest.approx(z**2 / (4 + z**2))


def test_the_slow_twin():
    """Correlations one by one, with NumPy, on a score that is not additive."""
    score = Score(lambda x: (x[:, 0] * x[:, 1] + x[:, 2] + x[:, 3] ** 2)[:, None], SCORE.read)
    x = inputs(30, seed=4)
    drawn = torch.randn(30, N, generator=torch.Generator().manual_seed(8))
    said = drawn + torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    found = completeness(
        score,
        x,
        explain=lambda score, some: Attribution(said[: len(some)]),
        baseline=torch.zeros(N),
        players=features(N),
        samples=40,
        generator=torch.Generator().manual_seed(3),
    )
    generator = torch.Generator().manual_seed(3)
    places = torch.rand(40, N, generator=generator).argsort(1)
    random = torch.randn(1000, N, generator=generator).double().numpy()
    removed = (places < 2).numpy()
    for i in range(30):
        drops = []
        for gone in removed:
            row = x[i].clone()
            row[torch.tensor(gone)] = 0
            drops.append(float(score(x[i : i + 1]) - score(row[None])))
        told = [said[i].double().numpy()[gone].sum() for gone in removed]
        chance = [np.corrcoef([one[gone].sum() for gone in removed], drops)[0, 1] for one in random]
        better = np.corrcoef(told, drops)[0, 1] > np.quantile(chance, 0.95)
        assert (found.curves["reason"][i] == 0) == better, i
    assert 0 < found.numbers["valid"] < 1


def test_random_explanations_are_valid_as_often_as_they_may_be():
    generator = torch.Generator().manual_seed(5)
    found = measured(
        inputs(2000),
        lambda score, x: Attribution(torch.randn(x.shape, generator=generator)),
        level=0.8,
    )
    # 0.2, give or take three standard errors of the 2000 inputs and of the 1000 random ones,
    # which are the same for all.
    spread = 3 * math.sqrt(0.2 * 0.8 * (1 / 2000 + 1 / 1000))
    assert found.numbers["valid"] == pytest.approx(0.2, abs=spread)


def test_a_score_that_nothing_moves_has_no_valid_explanation():
    flat = logit(linear_network(torch.zeros(N)), 0)
    found = completeness(
        flat, inputs(3), explain=right, baseline=torch.zeros(N), players=features(N)
    )
    assert found.numbers["no_better_than_random"] == 3


def test_of_two_players_nothing_is_better_than_chance():
    score = logit(linear_network(torch.tensor([2.0, 1.0])), 0)
    found = completeness(
        score,
        torch.ones(1, 2),
        explain=lambda score, x: Attribution(torch.tensor([[2.0, 1.0]])),
        baseline=torch.zeros(2),
        players=features(2),
    )
    assert found.numbers["no_better_than_random"] == 1


def test_values_of_players_token_ids_and_maps_of_one_channel_are_taken():
    ids = torch.arange(1, 1 + N).expand(2, N)
    counted = logit(lambda ids: (ids * WEIGHTS).sum(1, keepdim=True), 0)
    found = completeness(
        counted,
        ids,
        explain=lambda score, x: Attribution(WEIGHTS * x),
        baseline=torch.zeros(N).long(),
        players=tokens(N),
    )
    assert found.numbers["valid"] == 1
    image = torch.ones(2, 3, 4, 4)
    weights = torch.arange(16.0).view(4, 4)
    sums = logit(lambda x: (x * weights).sum((1, 2, 3))[:, None], 0)
    for values in (weights.expand(2, 1, 4, 4), weights.view(1, 4, 4).expand(2, 3, 4, 4)):
        found = completeness(
            sums,
            image,
            explain=lambda score, x, values=values: Attribution(values),
            baseline=torch.zeros(3, 4, 4),
            players=patches((3, 4, 4), (4, 4)),
        )
        assert found.numbers["valid"] == 1


def test_what_is_said_of_what_nobody_owns_counts_towards_the_sum():
    players = features(N)
    owner = players.owner.clone()
    owner[owner == 6] = -1
    owner[owner == 7] = 6
    seven = type(players)(owner, players.names[:7])
    baseline = torch.zeros(N)
    x = inputs(2)
    baseline[6], x[:, 6] = 1, 1

    def explain(score, x):
        values = WEIGHTS * x
        values[:, 6] = values[:, 0]  # in the sum nobody misses it
        values[:, 0] = 0
        return Attribution(values)

    options = {"players": seven, "baseline": baseline, "tolerance": 1e-5}
    assert measured(x, explain, **options).numbers["misses_sum"] == 0
    options = {"players": seven, "baseline": baseline, "tolerance": 1e-5}
    assert measured(x, right, **options).numbers["misses_sum"] == 2  # 0.5 for what stays


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strata": torch.zeros(3).long()}, "There are 2 inputs, but strata has shape"),
        ({"tolerance": -0.1}, "The tolerance is a share"),
        ({"tolerance": math.nan}, "The tolerance is a share"),
        ({"level": 1.0}, "The level is a share"),
        ({"samples": 1}, "A correlation over 1 coalitions"),
        ({"batch_size": 0}, "A batch of 0 inputs"),
        ({"players": features(3)}, "The players label positions"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measured(inputs(2), right, **options)


def test_no_inputs_are_refused():
    with pytest.raises(ValueError, match="The batch is empty"):
        measured(inputs(2)[:0], right)


def test_on_a_table():
    """Integrated gradients of a trained network against chance, 40 patients."""
    exhibit = breast_cancer()
    x = torch.stack(exhibit.inputs[:40])
    score, baseline = exhibit.score(exhibit.model, 1), exhibit.baseline(0)
    options = {"baseline": baseline, "players": exhibit.players(0)}

    def explain(score, x):
        return integrated_gradients(score, x, baseline=baseline)

    labels = torch.tensor(exhibit.labels[:40])
    found = completeness(score, x, explain=explain, tolerance=0.01, strata=labels, **options)
    generator = torch.Generator().manual_seed(0)
    chance = completeness(
        score,
        x,
        explain=lambda score, x: Attribution(torch.randn(x.shape, generator=generator)),
        **options,
    )
    assert found.numbers["valid"] >= 0.9
    assert chance.numbers["valid"] <= 0.2
    assert len(found.curves["stratum"]) == 2


def test_on_images_with_one_class_each():
    exhibit = digits()
    x = torch.stack(exhibit.inputs[:20])
    score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:20]))
    baseline = exhibit.baseline(0)
    found = completeness(
        score,
        x,
        explain=lambda score, x: integrated_gradients(score, x, baseline=baseline),
        baseline=baseline,
        players=exhibit.players(0),
        tolerance=0.05,
    )
    refused = completeness(
        score,
        x,
        explain=lambda score, x: grad_cam(score, x, layer="nowhere"),
        baseline=baseline,
        players=exhibit.players(0),
    )
    assert found.numbers["valid"] >= 0.8
    assert refused.numbers["raised_ValueError"] == 20


def test_values_of_positions_whose_players_have_another_order():
    weights = torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    players = features(list("abcdef"), groups={"z": ["f"]})  # z, then a to e
    found = completeness(
        logit(linear_network(weights), 0),
        torch.ones(3, 6),
        explain=lambda score, x: Attribution(weights * x),
        baseline=torch.zeros(6),
        players=players,
    )
    assert found.numbers["valid"] == 1


class Sizes(TorchDispatchMode):
    """Keeps the size of the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.largest = max(self.largest, made.numel())
        return made


def test_random_values_of_many_players_are_held_some_at_a_time():
    n = 20_000  # of which a thousand random attributions are drawn
    weights = torch.rand(n, generator=torch.Generator().manual_seed(0))
    with Sizes() as sizes:
        found = completeness(
            logit(linear_network(weights), 0),
            torch.ones(1, n),
            explain=lambda score, x: Attribution(weights * x),
            baseline=torch.zeros(n),
            players=features(n),
        )
    assert found.numbers["valid"] == 1
    assert sizes.largest < 1000 * n
