"""Baselines go where the terms get sparser, by the exact derivative, and no further than told."""

import itertools
import os

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from strategies import relu_network
from unmask import Players, Score, features, log_odds, masked, predicted
from unmask.interactions import and_interaction, and_or, learned_baseline
from unmask.zoo import adult, breast_cancer, digits

N = 4


def smooth(seed=0, inputs=N, dtype=torch.float64):
    return relu_network([inputs, 10, 3], seed, dtype=dtype, kink=nn.Tanh)


def some(count=3, seed=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, N, generator=generator).to(dtype)


def corners(model, x, baseline, target):
    """The values of all coalitions, one masked input at a time, by their sets of players."""
    values = {}
    for bits in itertools.product((False, True), repeat=N):
        point = torch.where(torch.tensor(bits), x, baseline)
        logits = model(point[None])[0]
        other = torch.cat([logits[:target], logits[target + 1 :]])
        values[bits] = float(logits[target] - other.logsumexp(0))
    return values


def least_l1(values):
    """The L1 norm of the sparsest terms, from the definition, by somebody else's solver."""
    sets = list(values)
    empty = sets[0]
    terms = [(t, kind) for t in sets[1:] for kind in ("and", "or") if kind == "and" or sum(t) > 1]

    def fires(term, kind, s):
        pairs = list(zip(term, s, strict=True))
        return all(b for a, b in pairs if a) if kind == "and" else any(a and b for a, b in pairs)

    matrix = np.array([[float(fires(t, kind, s)) for t, kind in terms] for s in sets[1:]])
    right = [values[s] - values[empty] for s in sets[1:]]
    found = linprog(
        np.ones(2 * len(terms)), A_eq=np.hstack([matrix, -matrix]), b_eq=right, method="highs"
    )
    assert found.status == 0
    return found.fun


def slow_l1(model, data, baseline, target):
    return np.mean([least_l1(corners(model, x, baseline, target)) for x in data])


def slow_slope(model, data, baseline, target, h=1e-5):
    slope = []
    for i in range(N):
        step = h * torch.eye(N, dtype=baseline.dtype)[i]
        higher = slow_l1(model, data, baseline + step, target)
        slope.append((higher - slow_l1(model, data, baseline - step, target)) / (2 * h))
    return torch.tensor(slope)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_step_goes_down_the_slope_of_the_sparsest_terms(seed):
    model, data, begin = smooth(seed), some(), torch.full((N,), 0.1, dtype=torch.float64)
    with torch.no_grad():
        slope = slow_slope(model, data, begin, 1)
        found = learned_baseline(
            log_odds(model, 1), data, baseline=begin, players=features(N), radius=1.0, steps=1,
            rate=1e-4, precision=1e-9,
        )  # fmt: skip
        step = found.inputs[0] - begin
        # The finite differences are good to four digits; more than that they cannot tell.
        assert torch.allclose(step, -1e-4 * slope / slope.abs().max(), atol=1e-7)
        assert float(found.trace[0, 0]) == pytest.approx(slow_l1(model, data, begin, 1), rel=1e-7)
        last = slow_l1(model, data, found.inputs[0], 1)
    assert float(found.trace[0, 1]) == pytest.approx(last, rel=1e-7)
    assert float(found.trace[0, 1] - found.trace[0, 0]) == pytest.approx(
        float(slope @ step), rel=1e-3
    )


def test_the_box_is_the_unit_of_length():
    model, data, begin = smooth(), some(), torch.full((N,), 0.1, dtype=torch.float64)
    radius = torch.tensor([1.0, 0.1, 0.5, 0.0], dtype=torch.float64)
    with torch.no_grad():
        slope = slow_slope(model, data, begin, 1) * radius
    found = learned_baseline(
        log_odds(model, 1), data, baseline=begin, players=features(N), radius=radius, steps=1,
        rate=1e-4, precision=1e-9,
    )  # fmt: skip
    step = found.inputs[0] - begin
    assert torch.allclose(step, -1e-4 * radius * slope / slope.abs().max(), atol=1e-7)
    assert float(step[3]) == 0


class Rules(nn.Module):
    """A sum of products of x - b*: each an AND of how its players differ from the baseline."""

    def __init__(self, truth, rules):
        super().__init__()
        self.register_buffer("truth", truth)
        self.rules = rules

    def forward(self, x):
        apart = x - self.truth
        return sum(effect * apart[:, list(who)].prod(1) for who, effect in self.rules)[:, None]


ONLY = {"read": lambda output, rows: output[:, 0]}
RULES = (((0, 1), 2.0), ((1, 2, 3), -1.0), ((0, 3), 1.5))


@pytest.mark.parametrize("ands_only", [False, True])
def test_the_planted_baseline_is_found(ands_only):
    truth = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=torch.float64)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    score = Score(Rules(truth, RULES), **ONLY)
    begin = truth + torch.tensor([0.2, -0.25, 0.15, -0.1], dtype=torch.float64)
    found = learned_baseline(
        score, truth + signs, baseline=begin, players=features(4), radius=0.4, steps=45,
        ands_only=ands_only,
    )  # fmt: skip
    # At the truth every rule is one term. On all signs alike, any other baseline needs more.
    planted = 2.0 + 1.0 + 1.5
    assert float(found.trace[0, 0]) > 1.1 * planted
    assert float(found.score) == pytest.approx(planted, rel=1e-2)
    assert float(found.score) >= planted * (1 - 1e-6)
    # A kink in every coordinate: steps end where all of them would have to turn at once.
    assert float((found.inputs[0] - truth).abs().max()) < 0.03


def test_it_never_gets_worse_and_stays_in_the_box():
    model, data, begin = smooth(3), some(5), torch.zeros(N, dtype=torch.float64)
    for rate in (0.01, 1.0):
        found = learned_baseline(
            log_odds(model, 0), data, baseline=begin, players=features(N), radius=0.3, rate=rate,
            steps=10,
        )  # fmt: skip
        assert found.trace.shape == (1, 11)
        assert (found.trace.diff() <= 0).all()
        assert float(found.trace[0, -1]) < float(found.trace[0, 0])
        assert float(found.score) == float(found.trace[0, -1])
        assert float(found.inputs.abs().max()) <= 0.3 + 1e-12


def test_what_is_reported_is_the_norm_of_the_terms_at_both_ends():
    model, data, begin = smooth(4), some(4), torch.zeros(N, dtype=torch.float64)
    players = Players(torch.tensor([0, 1, 1, 2]), ("a", "b", "c"))
    score = log_odds(model, 2)
    for ands_only, method in ((False, and_or), (True, and_interaction)):
        found = learned_baseline(
            score, data, baseline=begin, players=players, radius=0.5, steps=10, precision=1e-7,
            ands_only=ands_only,
        )  # fmt: skip
        for baseline, l1 in ((begin, found.trace[0, 0]), (found.inputs[0], found.score[0])):
            games = [masked(score, x, players, baseline) for x in data]
            norms = [float(method(game).effects.abs().sum()) for game in games]
            assert float(l1) == pytest.approx(np.mean(norms), rel=1e-6)


def test_each_input_may_have_a_class_of_its_own():
    model, data, begin = smooth(5), some(3), torch.zeros(N, dtype=torch.float64)
    classes = torch.tensor([2, 0, 1])
    found = learned_baseline(
        log_odds(model, classes), data, baseline=begin, players=features(N), radius=0.2, steps=3,
        batch_size=7, precision=1e-8,
    )  # fmt: skip
    with torch.no_grad():
        norms = [
            least_l1(corners(model, x, found.inputs[0], int(c)))
            for x, c in zip(data, classes, strict=True)
        ]
    assert float(found.score) == pytest.approx(np.mean(norms), rel=1e-6)


def test_what_nobody_owns_stays_as_it_is():
    model, data = smooth(6), some()
    begin = torch.full((N,), 0.2, dtype=torch.float64)
    players = Players(torch.tensor([0, -1, 1, 2]), ("a", "b", "c"))
    found = learned_baseline(
        log_odds(model, 1), data, baseline=begin, players=players, radius=0.5, steps=6
    )
    moved = (found.inputs[0] - begin).abs() > 1e-3
    assert moved.tolist() == [True, False, True, True]


def test_one_input_can_be_hidden_by_nothing():
    """What the docstring warns of: with a wide box a lone input becomes its own baseline."""
    weights = torch.tensor([2.0, -1.0], dtype=torch.float64)
    linear = Score(lambda x: x @ weights[:, None], **ONLY)
    x = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    found = learned_baseline(
        linear, x, baseline=torch.zeros(2), players=features(2), radius=2.0, steps=200
    )
    assert float(found.trace[0, 0]) == pytest.approx(3.0)
    assert float(found.score) < 1e-3


def test_one_player_is_one_term():
    model, data = smooth(7), some(2)
    whole = Players(torch.zeros(N, dtype=torch.long), ("all",))
    score = log_odds(model, 1)
    found = learned_baseline(
        score, data, baseline=torch.zeros(N), players=whole, radius=0.1, steps=4
    )
    with torch.no_grad():
        change = (score(data) - score(found.inputs.expand_as(data))).abs().mean()
    assert float(found.score) == pytest.approx(float(change))


def test_where_nothing_matters_nothing_moves():
    flat = Score(lambda x: 0 * x.sum(1, keepdim=True) + 3, **ONLY)
    begin = torch.full((N,), 0.2, dtype=torch.float64)
    found = learned_baseline(flat, some(), baseline=begin, players=features(N), radius=1.0, steps=3)
    assert torch.equal(found.inputs[0], begin)
    assert found.trace.tolist() == [[0.0] * 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_the_inputs_is_kept(dtype):
    model = smooth(8, dtype=dtype)
    found = learned_baseline(
        log_odds(model, 1), some(dtype=dtype), baseline=torch.zeros(N), players=features(N),
        radius=0.5, steps=5,
    )  # fmt: skip
    assert found.inputs.dtype == dtype
    assert found.trace.dtype == torch.float32  # two digits would not tell steps apart
    assert (found.trace.diff() <= 0).all()


def test_memory_is_that_of_one_batch():
    model, seen = smooth(9), []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    learned_baseline(
        log_odds(model, 1), some(7), baseline=torch.zeros(N).double(), players=features(N),
        radius=0.5, steps=2, batch_size=5,
    )  # fmt: skip
    assert max(seen) == 5


def test_an_error_in_the_model_leaves_no_trace():
    model = smooth(10)
    handle = model.register_full_backward_hook(lambda *_: 1 / 0)
    before = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ZeroDivisionError):
        learned_baseline(
            log_odds(model, 1), some(), baseline=torch.zeros(N), players=features(N), radius=0.5
        )
    handle.remove()
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_what_cannot_be_learned_is_refused():
    score, data = log_odds(smooth(), 1), some()
    given = {"baseline": torch.zeros(N), "players": features(N), "radius": 0.5}
    for change, said in (
        ({"steps": 0}, "learned in steps, but steps is 0"),
        ({"rate": 0.0}, "the first step goes, but is 0.0"),
        ({"rate": 2.0}, "the first step goes, but is 2.0"),
        ({"precision": 0.0}, "relative gap between 0 and 1"),
        ({"radius": 0.0}, "how far the baseline may move, but is 0.0"),
        ({"radius": -torch.ones(N)}, "how far the baseline may move"),
        ({"radius": float("inf")}, "how far the baseline may move, but is inf"),
        ({"players": features(3)}, "label positions of shape \\(3,\\)"),
        ({"baseline": torch.zeros(5)}, "baseline has shape \\(5,\\)"),
        ({"baseline": torch.zeros(2, N)}, "it is a set of 2"),
        ({"baseline": torch.full((N,), torch.nan)}, "baseline must be finite"),
        ({"batch_size": 0}, "batch of 0 inputs"),
    ):
        with pytest.raises(ValueError, match=said):
            learned_baseline(score, data, **given | change)
    with pytest.raises(ValueError, match="one for each of the baseline's"):
        learned_baseline(score, data, **given | {"radius": torch.ones(N).double()[None]})
    with pytest.raises(ValueError, match="of 4 inputs, but x holds 3"):
        learned_baseline(log_odds(smooth(), torch.zeros(4).long()), data, **given)
    many = torch.zeros(1, 21)
    wide = Score(lambda x: x.sum(1, keepdim=True), **ONLY)
    with pytest.raises(ValueError, match=r"21 players have 2\^21 coalitions"):
        learned_baseline(wide, many, baseline=many[0], players=features(21), radius=1.0)


def improved(exhibit, count, radius, steps):
    data = torch.stack(exhibit.inputs[:count])
    score = exhibit.score(exhibit.model, predicted(exhibit.model, data))
    return learned_baseline(
        score, data, baseline=exhibit.baseline(0), players=exhibit.players(0), radius=radius,
        steps=steps, precision=1e-2,
    )  # fmt: skip


def test_tumours_are_told_by_sparser_terms():
    found = improved(breast_cancer(), 5, 0.5, 8)
    assert (found.trace.diff() <= 0).all()
    assert float(found.score) < 0.85 * float(found.trace[0, 0])


def test_digits_are_told_by_sparser_terms():
    found = improved(digits(), 2, 0.1, 3)
    assert found.inputs.shape[1:] == digits().inputs[0].shape
    assert (found.trace.diff() <= 0).all()
    assert float(found.score) < float(found.trace[0, 0])


@pytest.mark.slow
@pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")
def test_incomes_are_told_by_sparser_terms():
    found = improved(adult(), 8, 0.25, 10)
    assert float(found.score) < float(found.trace[0, 0])
