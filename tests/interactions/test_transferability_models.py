"""Terms in common across networks, against plain counts and random sets that are drawn."""

import copy
import itertools
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exhibits import exhibit
from strategies import NAMES
from unmask import masked
from unmask.interactions import and_or_games, transferability_models
from unmask.planted import planted_terms
from unmask.results import Interactions

PATTERNS = [
    *[(frozenset(t), False) for k in range(1, 4) for t in itertools.combinations(range(3), k)],
    *[(frozenset(t), True) for k in range(2, 4) for t in itertools.combinations(range(3), k)],
]
"""All terms that are possible among three players."""


def terms_of(effects: dict[tuple[frozenset[int], bool], float]) -> Interactions:
    members = [[i in term for i in range(3)] for term, _ in effects]
    return Interactions(
        torch.tensor(members, dtype=torch.bool).view(len(effects), 3),
        torch.tensor([is_or for _, is_or in effects], dtype=torch.bool),
        torch.tensor(list(effects.values()), dtype=torch.float64),
        0.0,
        NAMES[:3],
    )


@st.composite
def pairs(draw: st.DrawFn) -> list[tuple[dict, dict]]:
    size = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, -0.25, 0.1])
    inputs = draw(st.integers(1, 4))
    return [tuple({p: draw(size) for p in PATTERNS} for _ in range(2)) for _ in range(inputs)]


def salient_of(effects: dict, tau: float) -> set:
    strongest = max(map(abs, effects.values()), default=0.0)
    return {p for p, e in effects.items() if e and abs(e) >= tau * strongest}


@settings(max_examples=60)
@given(pairs(), st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0.05, 0.5]))
def test_numbers_are_those_of_plain_counts(inputs, tau, other_tau):
    found = transferability_models(
        [terms_of(a) for a, _ in inputs],
        other=[terms_of(b) for _, b in inputs],
        tau=tau,
        other_tau=other_tau,
        samples=10,
    ).numbers
    gamma, chance, by_order, alike, common = [], [], [], 0, 0
    least = largest = 0.0
    for a, b in inputs:
        ours, theirs = salient_of(a, tau), salient_of(b, other_tau)
        alike += sum(a[p] * b[p] > 0 for p in ours & theirs)
        common += len(ours & theirs)
        if ours:
            gamma.append(len(ours & theirs) / len(ours))
            chance.append(len(theirs) / len(PATTERNS))
            expected = 0.0
            for kind in {(len(t), is_or) for t, is_or in PATTERNS}:
                own = [p for p in PATTERNS if (len(p[0]), p[1]) == kind]
                expected += sum(p in ours for p in own) * sum(p in theirs for p in own) / len(own)
            by_order.append(expected / len(ours))
        for p in PATTERNS:
            for sign in (1, -1):
                one, two = max(sign * a[p], 0.0), max(sign * b[p], 0.0)
                least, largest = least + min(one, two), largest + max(one, two)
    if gamma:
        assert found["gamma"] == pytest.approx(sum(gamma) / len(gamma))
        assert found["random"] == pytest.approx(sum(chance) / len(gamma))
        assert found["random_by_order"] == pytest.approx(sum(by_order) / len(gamma))
    assert found["same_sign"] == pytest.approx(alike / common if common else 0)
    if largest:
        assert found["iou"] == pytest.approx(least / largest)


def test_chance_is_that_of_random_sets():
    """Drawn ten thousand times: the mean cover over three inputs, and its deviation."""
    draw = random.Random(0)
    inputs = []
    for size, other in ((2, 5), (7, 3), (4, 4)):
        a = dict.fromkeys(draw.sample(PATTERNS, size), 1.0)
        inputs.append((a, dict.fromkeys(draw.sample(PATTERNS, other), 1.0)))
    found = transferability_models(
        [terms_of(a) for a, _ in inputs], other=[terms_of(b) for _, b in inputs]
    ).numbers
    means = []
    for _ in range(10_000):
        covers = []
        for a, b in inputs:
            ours = set(draw.sample(PATTERNS, len(a)))
            covers.append(len(ours & b.keys()) / len(a))
        means.append(sum(covers) / 3)
    mean = sum(means) / len(means)
    deviation = (sum((m - mean) ** 2 for m in means) / len(means)) ** 0.5
    assert found["random"] == pytest.approx(mean, abs=4 * deviation / 100)
    # The deviation of a deviation over 10,000 draws is 0.7 %.
    assert found["random_deviation"] == pytest.approx(deviation, rel=0.03)


def test_a_network_is_like_itself():
    inputs = [planted_terms(6, 4, 4, torch.Generator().manual_seed(i)) for i in range(5)]
    found = transferability_models(inputs, other=inputs)
    for name in ("gamma", "gamma_low", "gamma_high", "same_sign", "iou", "iou_of_shapes"):
        assert found.numbers[name] == pytest.approx(1)
    assert found.curves["and_overlap"].tolist() == pytest.approx([1] * 9)
    assert found.curves["or_overlap"].tolist() == pytest.approx([1] * 9)
    assert found.curves["gamma"].tolist() == pytest.approx([1] * 6)


def test_size_and_sign_of_effects_are_told_apart():
    own = [planted_terms(6, 4, 4, torch.Generator().manual_seed(i)) for i in range(3)]
    larger = [replace(one, effects=4 * one.effects) for one in own]
    found = transferability_models(own, other=larger).numbers
    assert found["gamma"] == found["same_sign"] == pytest.approx(1)
    assert found["iou"] == pytest.approx(0.25)
    assert found["iou_of_shapes"] == pytest.approx(1)
    turned = [replace(one, effects=-one.effects) for one in own]
    found = transferability_models(own, other=turned).numbers
    assert found["gamma"] == pytest.approx(1)
    assert found["same_sign"] == found["iou"] == found["iou_of_shapes"] == 0


def test_networks_with_nothing_in_common():
    one = terms_of({PATTERNS[0]: 1.0, PATTERNS[3]: 1.0})
    two = terms_of({PATTERNS[1]: 1.0, PATTERNS[7]: -1.0})
    found = transferability_models([one], other=[two])
    assert found.numbers["gamma"] == found.numbers["iou"] == found.numbers["same_sign"] == 0
    assert found.curves["and_overlap"].tolist() == [0] * 9
    assert found.numbers["random"] == pytest.approx(2 / 11)


def test_the_strongest_terms_are_counted_kind_by_kind():
    """Of 2^3 coalitions, 5 % to 15 % are one term, 20 % and 30 % two, 45 % four."""
    a, b, c = PATTERNS[:3]
    alternatives = PATTERNS[7], PATTERNS[8]
    one = terms_of({a: 3.0, b: -2.0, c: 1.0, alternatives[0]: 9.0})
    two = terms_of({a: 1.0, b: 5.0, c: 0.5, alternatives[1]: 1.0, alternatives[0]: 0.5})
    found = transferability_models([one], other=[two])
    share = dict(
        zip(found.curves["share"].tolist(), found.curves["and_overlap"].tolist(), strict=True)
    )
    assert share[0.05] == 0
    assert share[0.25] == 1
    assert share[0.45] == 1  # both have three, and K is four
    ors = dict(
        zip(found.curves["share"].tolist(), found.curves["or_overlap"].tolist(), strict=True)
    )
    assert ors[0.05] == 0
    assert ors[0.25] == 0.5  # one has one OR, the other two


def test_cover_falls_with_the_threshold_of_the_other():
    own = [planted_terms(6, 6, 6, torch.Generator().manual_seed(i)) for i in range(4)]
    loose, strict = (
        transferability_models(own, other=own, other_tau=t).numbers["gamma"] for t in (0.05, 0.9)
    )
    assert loose == 1
    assert strict < 0.6


def test_no_terms_at_all():
    found = transferability_models([terms_of({})], other=[terms_of({PATTERNS[0]: 1.0})])
    assert found.numbers["salient"] == 0
    assert found.numbers["random"] == 0
    assert found.curves["gamma"].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau": -0.1}, "tau is a share"),
        ({"other_tau": 2.0}, "tau is a share"),
        ({"samples": 0}, "Intervals come from inputs that are drawn anew"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    own = [planted_terms(4, 3, 2, torch.Generator().manual_seed(0))] * 2
    with pytest.raises(ValueError, match=message):
        transferability_models(own, other=own, **change)


def test_inputs_must_be_the_same():
    own = [planted_terms(4, 3, 2, torch.Generator().manual_seed(0))] * 2
    with pytest.raises(ValueError, match="2 explanations of one network and 1 of the other"):
        transferability_models(own, other=own[:1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breast_cancer", "adult"])
def test_a_network_of_fewer_digits_has_the_same_terms(name):
    """Weights rounded to bfloat16 and back: nearly the same network, nearly the same logic."""
    shown = exhibit(name)
    assert shown.labels is not None
    rows = range(6)
    models = [shown.model, copy.deepcopy(shown.model).bfloat16().float()]
    logics = [
        and_or_games(
            [
                masked(
                    shown.score(m, shown.labels[i]),
                    shown.inputs[i],
                    shown.players(i),
                    shown.baseline(i),
                )
                for i in rows
            ],
            precision=1e-2,
        )
        for m in models
    ]
    found = transferability_models(logics[0], other=logics[1]).numbers
    assert found["gamma_low"] > found["random"] + 3 * found["random_deviation"]
    assert found["gamma_low"] > found["random_by_order"]
    assert found["iou"] > 0.5
