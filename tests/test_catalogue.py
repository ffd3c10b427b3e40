import pytest

from unmask import catalogue
from unmask.card import CARDS, method
from unmask.results import Attribution, Interactions


def test_an_entry_is_read_off_the_function_and_its_place():
    entry = catalogue.entry("integrated_gradients")
    assert entry.name == "integrated_gradients"
    assert (entry.family, entry.section) == ("saliency", "gradients")
    assert entry.wing == "methods/saliency/gradients"
    assert entry.summary.endswith(".")
    assert entry.formula.startswith("A_i(x) =")
    assert entry.needs == ("score", "x", "baseline")
    assert "steps" in entry.options
    assert entry.result is Attribution
    assert "completeness" in entry.axioms
    assert entry.papers[0] == "sundararajan2017axiomatic"

    heart = catalogue.entry("and_or")
    assert (heart.family, heart.section, heart.wing) == ("interactions", "", "interactions")
    assert heart.needs == ("game",)
    assert heart.result is Interactions


def test_methods_stand_family_by_family():
    found = catalogue.methods()
    assert list(found) == [entry.name for entry in found.values()]
    wings = [entry.wing for entry in found.values()]
    assert wings == sorted(wings)
    assert all(entry.call is CARDS[entry.call.__name__].call for entry in found.values())


def test_cards_from_elsewhere_are_no_methods_of_the_catalogue():
    try:
        method("someone2000thing")(foreign)
        assert "foreign" not in catalogue.methods()
    finally:
        CARDS.pop("foreign")


def foreign(score):
    return score


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: catalogue.entry("integrated_gradient"), "There is no method 'integrated_gradient'"
         ". The nearest names are 'integrated_gradients'"),
        (lambda: catalogue.cite("sundararajan2018"), "There is no paper 'sundararajan2018'. The "
         "nearest names are 'sundararajan"),
    ],
)  # fmt: skip
def test_the_nearest_names_are_offered(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()


def test_a_paper_is_cited_whole():
    text = catalogue.cite("ren2024where")
    assert text.startswith("@inproceedings{ren2024where,")
    assert text.endswith("}")
    assert text.count("{") == text.count("}")
    assert "@" not in text[1:]


def entry_of(call, needs, options):
    return catalogue.Entry(
        call.__name__, "", "", "", "", needs, options, None, (), (), call
    )  # fmt: skip


def two_needs(score, *, baseline, steps=8, generator=None):
    return score, baseline, steps, generator


TWO_NEEDS = entry_of(two_needs, ("score", "baseline"), {"steps": 8, "generator": None})


def test_arguments_are_chosen_by_name():
    supplies = {"score": 1, "baseline": 2, "generator": 3, "game": 4}
    assert catalogue.fill(TWO_NEEDS, supplies) == (1, 2, 8, 3)
    assert catalogue.fill(TWO_NEEDS, supplies, {"steps": 5, "baseline": 0}) == (1, 0, 5, 3)


def test_what_lacks_or_is_unknown_is_named():
    with pytest.raises(ValueError, match=r"two_needs needs 'baseline', the input .* given score"):
        catalogue.fill(TWO_NEEDS, {"score": 1})
    with pytest.raises(ValueError, match=r"needs 'score', a Score, but was given nothing"):
        catalogue.fill(TWO_NEEDS, {})
    with pytest.raises(ValueError, match=r"no option 'step'. The nearest names are 'steps'"):
        catalogue.fill(TWO_NEEDS, {"score": 1, "baseline": 2}, {"step": 3})
