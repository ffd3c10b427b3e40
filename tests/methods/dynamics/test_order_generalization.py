"""Similarity by order: the definition by plain loops, its closed cases, and what bounds it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import tensors
from unmask import Interactions
from unmask.interactions import and_or_games
from unmask.interactions.terms.stacked import stacked
from unmask.masking import masked
from unmask.methods.dynamics import order_generalization
from unmask.methods.dynamics.order_generalization import _halves, _left_out, similarity

NAMES = "abcdefghij"


def of_effects(stack):
    """One explanation per row of effects, [inputs, AND or OR, coalitions]."""
    n = stack.shape[-1].bit_length() - 1
    places = range(1, 2**n)
    members = torch.tensor([[place >> i & 1 == 1 for i in range(n)] for place in places] * 2)
    is_or = torch.arange(2 * len(places)) >= len(places)
    return [
        Interactions(members, is_or, row[:, 1:].flatten().double(), 0.0, tuple(NAMES[:n]))
        for row in stack
    ]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def slow(stack, other):
    """The definition: lift, minimum, maximum. A single player's OR is its AND."""
    n = stack.shape[-1].bit_length() - 1

    def lifted(effects, k):
        mean = effects.mean(0)
        row = []
        for place in range(1, 2**n):
            if bin(place).count("1") == k:
                both = [float(mean[0, place]), float(mean[1, place])]
                for effect in [sum(both)] if k == 1 else both:
                    row += [max(effect, 0.0), max(-effect, 0.0)]
        return row

    found = []
    for k in range(1, n + 1):
        pairs = list(zip(lifted(stack, k), lifted(other, k), strict=True))
        whole = sum(max(pair) for pair in pairs)
        found.append(sum(min(pair) for pair in pairs) / whole if whole > 0 else math.nan)
    return found


@st.composite
def two_stacks(draw):
    n = draw(st.integers(1, 3))
    return tuple(draw(tensors(draw(st.integers(1, 3)), 2, 2**n)) for _ in range(2))


@given(two_stacks())
def test_slow_twin(both):
    one, two = both
    found = order_generalization(of_effects(one), other=of_effects(two), draws=2, splits=1).curves
    expected = dict(enumerate(slow(one, two), start=1))
    defined = {k: value for k, value in expected.items() if not math.isnan(value)}
    assert found["order"].tolist() == list(defined)
    assert found["similarity"].tolist() == pytest.approx(list(defined.values()), abs=1e-9)


STACK = torch.randn(6, 2, 16, generator=seeded(0)).double()


def whole(stack, other):
    return order_generalization(of_effects(stack), other=of_effects(other), draws=50).curves


def test_closed_cases():
    assert whole(STACK, STACK)["similarity"].tolist() == pytest.approx([1] * 4)
    assert whole(STACK, -STACK)["similarity"].tolist() == [0] * 4
    assert whole(STACK, 2 * STACK)["similarity"].tolist() == pytest.approx([0.5] * 4)
    left, right = STACK.clone(), STACK.clone()
    left[:, 1], right[:, 0] = 0, 0
    assert whole(left, right)["similarity"][1:].tolist() == [0] * 3


def test_an_order_without_terms_is_left_out():
    low, some = STACK.clone(), STACK.clone()
    low[..., 15] = 0
    assert whole(low, low)["order"].tolist() == [1, 2, 3]
    assert {len(curve) for curve in whole(low, low).values()} == {3}
    # Where only the other set has terms, nothing is shared; the first has no halves to compare.
    found = whole(low, some)
    assert found["similarity"][3] == 0
    assert found["ceiling"][3].isnan()


def test_categories_are_compared_each_with_its_own():
    other = torch.cat([STACK[:3], -STACK[3:]])
    labels = torch.tensor([4, 4, 4, 7, 7, 7])
    found = order_generalization(
        of_effects(STACK), other=of_effects(other), labels=labels, other_labels=labels, draws=50
    )
    assert found.numbers["categories"] == 2
    assert found.curves["similarity_4"].tolist() == pytest.approx([1] * 4)
    assert found.curves["similarity_7"].tolist() == [0] * 4
    assert found.curves["similarity"].tolist() == pytest.approx([0.5] * 4)
    # The label of the last three is met in one set only, which leaves them out.
    found = order_generalization(
        of_effects(STACK),
        other=of_effects(other),
        labels=labels,
        other_labels=torch.tensor([4, 4, 4, 8, 8, 8]),
        draws=50,
    )
    assert found.numbers["categories"] == 1
    assert (found.numbers["inputs"], found.numbers["others"]) == (3, 3)
    assert found.curves["similarity"].tolist() == pytest.approx([1] * 4)


def test_a_category_without_an_order_is_skipped_in_its_mean():
    low = STACK.clone()
    low[:3, :, 15] = 0
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    found = order_generalization(
        of_effects(low), other=of_effects(2 * low), labels=labels, other_labels=labels, draws=50
    ).curves
    assert found["similarity_0"][3].isnan()
    assert found["similarity"].tolist() == pytest.approx([0.5] * 4)


def alike(inputs, seed, n=6, noise=1.0):
    """Effects of one common pattern, strong at low orders, and noise of their own."""
    common = torch.randn(2, 2**n, generator=seeded(99)).double()
    order = torch.tensor([bin(place).count("1") for place in range(2**n)])
    common = common * 3.0 * 0.4**order
    return common + noise * torch.randn(inputs, 2, 2**n, generator=seeded(seed)).double()


def test_the_ceiling_tells_few_inputs_from_bad_generalisation():
    same = order_generalization(of_effects(alike(20, 1)), other=of_effects(alike(20, 2)))
    similarity, ceiling = same.curves["similarity"], same.curves["ceiling"]
    assert similarity[0] > 0.6 > 0.4 > similarity[4]  # falls although nothing generalises worse
    assert same.numbers["slope_high"] < 0
    assert (same.curves["similarity_low"] >= 0).all()
    assert (same.curves["similarity_high"] <= 1).all()
    assert (similarity[:3] > ceiling[:3]).all()  # of twice as many inputs
    low = same.curves["relative"] - 3 * same.curves["relative_error"]
    high = same.curves["relative"] + 3 * same.curves["relative_error"]
    assert ((low < 1) & (high > 1)).all()
    worse = order_generalization(
        of_effects(alike(20, 1)), other=of_effects(alike(20, 2) * torch.tensor(-1.0))
    )
    assert (worse.curves["relative"][:2] < 0.2).all()


def test_noise_alone_has_a_known_similarity():
    noise = torch.randn(4, 2, 2**10, generator=seeded(0)).double()
    found = order_generalization(of_effects(noise[:2]), other=of_effects(noise[2:]), draws=2)
    expected = (2**0.5 - 1) / (2**0.5 + 1)
    # At order 5 there are 504 effects; a ratio of such sums scatters by about 0.02.
    assert float(found.curves["similarity"][4]) == pytest.approx(expected, abs=0.06)


def test_errors_say_how_far_numbers_scatter():
    found = [
        order_generalization(
            of_effects(alike(16, 2 * i, n=4)),
            other=of_effects(alike(16, 2 * i + 1, n=4)),
            draws=200,
            generator=seeded(i),
        ).curves
        for i in range(40)
    ]
    for name in ("ceiling", "halves"):
        scatter = torch.stack([one[name] for one in found]).std(0)
        told = torch.stack([one[f"{name}_error"] for one in found]).mean(0)
        # 40 runs know their scatter to 11 %; leaving one out errs on the side of too much.
        assert ((told / scatter > 0.7) & (told / scatter < 2.0)).all(), told / scatter
    # 40 intervals of 95 % hold the mean over all runs in 38; a chance below 1e-3 for fewer than 31.
    centre = torch.stack([one["similarity"] for one in found]).mean(0)
    held = torch.stack(
        [(one["similarity_low"] <= centre) & (centre <= one["similarity_high"]) for one in found]
    )
    assert (held.sum(0) >= 31).all(), held.sum(0)


@pytest.mark.parametrize("side", [0, 1])
def test_leaving_an_input_out_is_the_same_as_not_having_it(side):
    mine, its = (alike(7, seed, n=3) for seed in (0, 1))
    halves = _halves(7, 7, 4, seeded(2))
    found = _left_out(halves, mine, its, side)
    for i in range(7):
        weights = [half.clone() for half in halves]
        for part in ((0, 1), (2,))[side]:
            weights[part][:, i] = 0
            weights[part] /= weights[part].sum(1, keepdim=True)
        one, rest, other = weights
        both = similarity(one, mine, rest, mine), similarity(one, mine, other, its)
        assert torch.allclose(found[i], torch.stack(both, 1).mean(0), atol=1e-12)


def test_halves_with_nothing_in_common_leave_nothing_to_compare_with():
    """Each of the first has a term of its own, so that halves never meet; the other set has all."""
    stack = torch.zeros(2, 2, 4).double()
    stack[0, 0, 1] = stack[1, 0, 2] = 1
    every = stack.sum(0, keepdim=True)
    found = order_generalization(of_effects(stack), other=of_effects(every))
    assert found.curves["ceiling"].tolist() == [0.0]
    assert found.curves["halves"].tolist() == [0.5]
    assert found.curves["relative"].isnan().all()
    assert found.curves["relative_error"].isnan().all()


def test_the_fall_is_the_difference_from_the_first_order():
    found = order_generalization(of_effects(alike(20, 1)), other=of_effects(alike(20, 2))).curves
    assert torch.allclose(found["fall"], found["similarity"][0] - found["similarity"])
    assert found["fall_low"][4] > 0
    assert found["fall_low"][0] == found["fall_high"][0] == 0


def test_the_slope_is_that_of_a_line():
    found = order_generalization(of_effects(alike(8, 1)), other=of_effects(alike(8, 2)))
    order, similarity = found.curves["order"], found.curves["similarity"]
    off = order - order.mean()
    assert found.numbers["slope"] == pytest.approx(float(off @ similarity / (off @ off)))


def test_edges():
    one = order_generalization(of_effects(STACK[:1]), other=of_effects(STACK[:1]))
    assert one.curves["similarity"].tolist() == pytest.approx([1] * 4)
    assert one.curves["similarity_low"].isnan().all()
    assert one.curves["ceiling"].isnan().all()
    nothing = order_generalization(of_effects(STACK * 0), other=of_effects(STACK * 0))
    assert all(len(curve) == 0 for curve in nothing.curves.values())
    assert math.isnan(nothing.numbers["slope"])
    player = order_generalization(of_effects(STACK[..., :2]), other=of_effects(STACK[..., :2]))
    assert player.curves["similarity"].tolist() == pytest.approx([1])


def test_only_what_is_salient_counts():
    strong = STACK.clone()
    strong[:, :, 1:] = 0.01
    strong[:, 0, 3] = 1.0
    other = strong.clone()
    other[:, :, 15] *= -1
    found = order_generalization(of_effects(strong), other=of_effects(other), tau=0.1).curves
    assert found["order"].tolist() == [2]
    assert found["similarity"].tolist() == [1]


LABELS = torch.zeros(6, dtype=torch.long)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"other": []}, r"no explanations. Give"),
        ({"other": of_effects(STACK[..., :8])}, r"are 4 in the one set and 3 in the other. Exp"),
        ({"labels": LABELS}, r"Only one .* has labels.* Give labels and other_labels"),
        ({"other_labels": LABELS}, r"Only one .* has labels"),
        ({"labels": LABELS[:5], "other_labels": LABELS}, r"6 and 6 inputs came with 5 and 6"),
        ({"labels": LABELS, "other_labels": LABELS + 1}, r"no category in common.*\[0\].*\[1\]"),
        ({"splits": 0}, r"needs splits, but got 0. Give"),
        ({"tau": 2.0}, r"tau is a share .* got 2.0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        order_generalization(of_effects(STACK), **{"other": of_effects(STACK)} | options)


def test_a_real_network():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    games = [
        masked(
            exhibit.score(exhibit.model, exhibit.labels[i]),
            exhibit.inputs[i],
            exhibit.players(i),
            exhibit.baseline(i),
        )
        for i in range(8)
    ]
    terms = and_or_games(games, precision=0.1)
    labels = torch.tensor(exhibit.labels[:8])
    found = order_generalization(
        terms[:4], other=terms[4:], labels=labels[:4] * 0, other_labels=labels[4:] * 0, draws=100
    )
    stack = stacked(terms)
    expected = slow(stack[:4], stack[4:])
    for k, value in zip(
        found.curves["order"].tolist(), found.curves["similarity"].tolist(), strict=True
    ):
        assert value == pytest.approx(expected[round(k) - 1])
