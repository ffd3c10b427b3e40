from dataclasses import replace

import pytest
import torch

from report.pages import image_case, table_case, text_case
from unmask.players import features
from unmask.results import Attribution
from unmask.views import ImageView, TableView, TextView


@pytest.mark.parametrize(
    ("prediction", "truth", "right"),
    [
        ("malignant (98.2 %)", "malignant", True),
        ("malignant, 98%", "malignant", True),
        ("malignant 0.98", "malignant", True),
        ("malignant (p = 0.98)", "malignant", True),
        ("malignant", "malignant", True),
        ("benign (98.2 %)", "malignant", False),
        ("10 (98 %)", "1", False),
        ("cat dog (98 %)", "cat", False),
        ("grade (2) (98 %)", "grade (2)", True),
        ("malignant (98.2 %)", None, None),
    ],
)
def test_right_compares_the_class_and_not_its_probability(prediction, truth, right):
    assert table_case(prediction=prediction, truth=truth).right is right


def test_terms_of_other_players_are_refused():
    case = table_case()
    with pytest.raises(ValueError, match=r"about the players a, .* same game"):
        replace(case, terms=replace(case.terms, names=("a", *case.terms.names[1:])))


def test_a_table_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match=r"has 512 values, but 10 players have 1024"):
        replace(table_case(), table=torch.zeros(512))


@pytest.mark.parametrize(
    ("case", "view", "complaint"),
    [
        (image_case, ImageView(torch.zeros(8, 9, 3, dtype=torch.uint8)), "size of the input"),
        (text_case, TextView(("a", "b")), "one piece per position"),
        (table_case, TableView(("a",), ("b",)), "one of each per player"),
    ],
)
def test_a_view_that_does_not_fit_the_players_is_refused(case, view, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(case(), view=view)


def test_an_attribution_of_another_shape_is_refused():
    case = table_case()
    with pytest.raises(ValueError, match=r"'mine' of 'Sample 17' has shape \(2, 10\)"):
        replace(case, attributions={"mine": Attribution(torch.zeros(2, 10))})
    grouped = features(["a", "b", "c"], {"g": ["a", "c"]})
    assert tuple(grouped.owner.shape) == (3,)
