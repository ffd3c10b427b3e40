import pytest
import torch

from unmask.interactions import word_reliability
from unmask.planted import planted_terms, terms_of

ONE = terms_of(
    "abc",
    ands={("a",): 4.0, ("a", "b"): -2.0, ("a", "b", "c"): 1.0},
    ors={("a", "c"): 2.0, ("a", "b", "c"): -1.0},
)
"""Sizes 4, 2, 1, 2 and 1, in all 10. Of the words, b must not matter, c must not be used."""
WRONG = torch.tensor([False, True, False])
WORST = torch.tensor([False, False, True])


def test_shares_by_hand():
    found = word_reliability([ONE], annotation=WRONG, forbidden=WORST)
    # a: reliable. ab: irrelevant. abc: forbidden. a or c: half and half. a or b or c: thirds.
    assert found.numbers["reliable"] == pytest.approx((4 + 1 + 1 / 3) / 10)
    assert found.numbers["irrelevant"] == pytest.approx((2 + 1 / 3) / 10)
    assert found.numbers["forbidden"] == pytest.approx((1 + 1 + 1 / 3) / 10)
    assert found.curves["order"].tolist() == [1, 2, 3]
    assert found.curves["reliable"].tolist() == pytest.approx([0.4, 0.1, 1 / 30])
    assert found.curves["irrelevant"].tolist() == pytest.approx([0, 0.2, 1 / 30])
    assert found.curves["forbidden"].tolist() == pytest.approx([0, 0.1, 0.1 + 1 / 30])
    assert found.numbers["reliable_low"] != found.numbers["reliable_low"]  # a single input


def test_without_a_word_that_is_wrong_all_is_reliable():
    found = word_reliability([ONE] * 2, annotation=torch.zeros(3, dtype=torch.bool)).numbers
    assert found["reliable"] == 1
    assert found["reliable_low"] == found["reliable_high"] == 1


def slow(terms, wrong, worst):
    kinds = {"reliable": 0.0, "irrelevant": 0.0, "forbidden": 0.0}
    total = 0.0
    for members, is_or, effect in zip(
        terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
    ):
        words = [i for i, there in enumerate(members) if there]
        total += abs(effect)
        if is_or:
            for i in words:
                kind = "forbidden" if worst[i] else "irrelevant" if wrong[i] else "reliable"
                kinds[kind] += abs(effect) / len(words)
        elif any(worst[i] for i in words):
            kinds["forbidden"] += abs(effect)
        elif any(wrong[i] for i in words):
            kinds["irrelevant"] += abs(effect)
        else:
            kinds["reliable"] += abs(effect)
    return {kind: share / total for kind, share in kinds.items()}


def test_means_over_inputs_with_words_of_their_own():
    generator = torch.Generator().manual_seed(0)
    terms = [planted_terms(6, 8, 6, generator) for _ in range(20)]
    wrong = torch.rand(20, 6, generator=generator) < 0.3
    worst = torch.rand(20, 6, generator=generator) < 0.2
    found = word_reliability(terms, annotation=wrong, forbidden=worst)
    alone = [slow(one, wrong[i].tolist(), worst[i].tolist()) for i, one in enumerate(terms)]
    for kind in ("reliable", "irrelevant", "forbidden"):
        shares = torch.tensor([one[kind] for one in alone]).double()
        assert found.numbers[kind] == pytest.approx(float(shares.mean()))
        assert float(found.curves[kind].sum()) == pytest.approx(float(shares.mean()))
        half = 1.96 * float(shares.std()) / 20**0.5
        width = (found.numbers[f"{kind}_high"] - found.numbers[f"{kind}_low"]) / 2
        assert width == pytest.approx(half, rel=0.2)  # a thousand draws, and twenty inputs
    assert found.numbers["inputs"] == 20


def test_an_input_without_effects_is_left_out():
    found = word_reliability([terms_of("abc"), ONE], annotation=WRONG, forbidden=WORST).numbers
    assert found["reliable"] == pytest.approx((4 + 1 + 1 / 3) / 10)


def test_bad_input():
    with pytest.raises(ValueError, match="equally many players"):
        word_reliability([ONE, terms_of("ab")], annotation=WRONG)
    with pytest.raises(ValueError, match="terms of one input at least"):
        word_reliability([], annotation=WRONG)
    with pytest.raises(ValueError, match="annotation says of each of 3 words"):
        word_reliability([ONE], annotation=torch.tensor([True]))
