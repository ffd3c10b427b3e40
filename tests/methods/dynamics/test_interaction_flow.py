import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.methods.dynamics import interaction_flow
from unmask.planted import planted_terms, terms_of
from unmask.results import Interactions


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(seed, inputs=3):
    generator = seeded(seed)
    return [planted_terms(5, 6, 4, generator) for _ in range(inputs)]


def by_term(terms, tau):
    """(players, AND or OR) -> effect, of salient terms."""
    found = {}
    for members, is_or, effect in zip(
        terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
    ):
        players = tuple(i for i, member in enumerate(members) if member)
        key = (players, is_or and len(players) > 1)
        found[key] = found.get(key, 0) + effect
    largest = max((abs(one) for one in found.values()), default=0)
    return {key: one for key, one in found.items() if one != 0 and abs(one) >= tau * largest}


def slow(terms, other, tau, n):
    table = {name: [0.0] * n for name in ("overlap", "forget", "new")}
    for one, two in zip(terms, other, strict=True):
        p, q = by_term(one, tau), by_term(two, tau)
        for key in {*p, *q}:
            a, b = p.get(key, 0.0), q.get(key, 0.0)
            shared = min(abs(a), abs(b)) if a * b > 0 else 0.0
            k = len(key[0]) - 1
            table["overlap"][k] += shared / len(terms)
            table["forget"][k] += (abs(a) - shared) / len(terms)
            table["new"][k] += (abs(b) - shared) / len(terms)
    return table


def mixed(seed, flip):
    """Terms, and others of which some are the same, some are another size, some have turned."""
    terms = drawn(seed)
    factors = (1.0, 0.4, 1.7, -1.0 if flip else 1.0)
    other = []
    for one, extra in zip(terms, drawn(seed + 100), strict=True):
        scale = torch.tensor([factors[i % 4] for i in range(len(one.effects))]).double()
        other.append(
            Interactions(
                torch.cat([one.members[2:], extra.members[:3]]),
                torch.cat([one.is_or[2:], extra.is_or[:3]]),
                torch.cat([(one.effects * scale)[2:], extra.effects[:3]]),
                0.0,
                one.names,
            )
        )
    return terms, other


@given(st.integers(0, 50), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_flows_follow_their_definition(seed, flip, tau):
    terms, other = mixed(seed, flip)
    found = interaction_flow(terms, other=other, tau=tau)
    expected = slow(terms, other, tau, 5)
    for name, row in expected.items():
        assert found.curves[name].tolist() == pytest.approx(row)
    shared, lost, gained = (sum(expected[name]) for name in ("overlap", "forget", "new"))
    assert found.numbers["completeness"] == pytest.approx(shared / (shared + gained))
    assert found.numbers["redundancy"] == pytest.approx(lost / (shared + lost))
    for name in ("completeness", "redundancy"):
        low, high = found.numbers[f"{name}_low"], found.numbers[f"{name}_high"]
        assert 0 <= low <= high <= 1


@given(st.integers(0, 50), st.booleans())
def test_what_is_kept_and_lost_or_gained_is_all_there_is(seed, flip):
    terms, other = mixed(seed, flip)
    found = interaction_flow(terms, other=other, tau=0.0)
    for side, part in ((terms, "forget"), (other, "new")):
        total = found.curves["overlap"] + found.curves[part]
        for k in range(1, 6):
            mass = sum(
                abs(one)
                for some in side
                for (players, _), one in by_term(some, 0.0).items()
                if len(players) == k
            )
            assert float(total[k - 1]) == pytest.approx(mass / len(side))


def test_the_same_terms_are_kept():
    found = interaction_flow(drawn(1), other=drawn(1))
    assert found.curves["forget"].tolist() == found.curves["new"].tolist() == [0] * 5
    assert found.numbers["completeness"] == found.numbers["completeness_low"] == 1
    assert found.numbers["redundancy"] == found.numbers["redundancy_high"] == 0


def test_turned_terms_are_not_kept():
    terms = drawn(1)
    turned = [Interactions(t.members, t.is_or, -t.effects, 0.0, t.names) for t in terms]
    found = interaction_flow(terms, other=turned)
    assert found.curves["overlap"].tolist() == [0] * 5
    assert found.numbers["completeness"] == 0
    assert found.numbers["redundancy"] == 1


def test_an_and_is_no_or():
    one = terms_of("abc", ands={("a", "b"): 1.0})
    two = terms_of("abc", ors={("a", "b"): 1.0})
    assert interaction_flow([one], other=[two]).curves["overlap"].tolist() == [0, 0, 0]
    single = terms_of("abc", ors={("a",): 1.0})
    both = interaction_flow([terms_of("abc", ands={("a",): 1.0})], other=[single])
    assert both.curves["overlap"].tolist() == [1, 0, 0]


def test_twice_as_strong_is_half_new():
    terms = drawn(2)
    double = [Interactions(t.members, t.is_or, 2 * t.effects, 0.0, t.names) for t in terms]
    found = interaction_flow(terms, other=double)
    assert found.numbers["completeness"] == pytest.approx(0.5)
    assert found.numbers["redundancy"] == pytest.approx(0)


def test_bounds_hold_the_truth_about_as_often_as_they_say():
    """Many samples of inputs, each of which keeps a share of its strength of its own."""

    def explained(shares):
        before = [terms_of("ab", ands={("a",): 1.0})] * len(shares)
        after = [terms_of("ab", ands={("a",): share, ("b",): 1 - share}) for share in shares]
        return interaction_flow(before, other=after, tau=0.0)

    generator, hits = seeded(), 0
    for _ in range(200):
        found = explained(torch.rand(30, generator=generator).tolist())
        hits += found.numbers["completeness_low"] <= 0.5 <= found.numbers["completeness_high"]
    assert 0.88 <= hits / 200 <= 0.99  # 95 % less what the bootstrap of 30 lacks


def test_one_input_and_no_terms():
    none = terms_of("ab")
    found = interaction_flow([none], other=[none])
    assert found.curves["overlap"].tolist() == [0, 0]
    assert math.isnan(found.numbers["completeness"])
    assert math.isnan(found.numbers["completeness_low"])
    one = terms_of("a", ands={("a",): 1.0})
    assert interaction_flow([one], other=[one]).numbers["completeness"] == 1


def test_what_is_refused():
    with pytest.raises(ValueError, match="explain 3 inputs, the others 2"):
        interaction_flow(drawn(0), other=drawn(0, 2))
    with pytest.raises(ValueError, match="no explanations"):
        interaction_flow([], other=[])
    with pytest.raises(ValueError, match="these have 2, 3"):
        interaction_flow([terms_of("ab")], other=[terms_of("abc")])
    with pytest.raises(ValueError, match="tau is a share"):
        interaction_flow(drawn(0), other=drawn(0), tau=2.0)
