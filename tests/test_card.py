import pytest

from unmask.card import AXIOMS, CARDS, method


def test_a_method_is_entered_and_stays_as_it_is():
    def some_method(score):
        return score

    try:
        assert method("someone2000thing", axioms=("dummy",))(some_method) is some_method
        card = CARDS["some_method"]
        assert card.call is some_method
        assert card.papers == ("someone2000thing",)
        assert card.axioms == ("dummy",)
    finally:
        CARDS.pop("some_method")


def test_only_axioms_that_are_tested_can_be_promised():
    with pytest.raises(ValueError, match="'beauty' is not an axiom that can be tested"):
        method("someone2000thing", axioms=("dummy", "beauty"))
    assert len(set(AXIOMS)) == len(AXIOMS)
