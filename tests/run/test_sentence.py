"""Tokens gathered into words."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.run.models.sentence import distinct, in_words


def test_pieces_of_a_word_belong_together():
    text = "Don't say film-makers, say films!"
    spans = [
        (0, 0),
        (0, 3),
        (3, 5),
        (6, 9),
        (10, 14),
        (14, 21),
        (21, 22),
        (22, 26),
        (26, 32),
        (32, 33),
    ]
    found = in_words(text, torch.arange(len(spans)), spans)
    assert found.names == ("Don't", "say", "film-makers", ",", "say (2)", "films", "!")
    assert found.words == (-1, 0, 0, 1, 2, 2, 3, 4, 5, 6)
    assert "".join(found.pieces) == text


def test_bytes_of_one_letter_share_a_span_and_show_it_once():
    found = in_words("né", torch.arange(3), [(0, 1), (1, 2), (1, 2)])
    assert found.words == (0, 0, 0)
    assert found.pieces == ("n", "é", "")


def test_a_token_over_two_words_counts_to_the_first():
    found = in_words("of the", torch.arange(1), [(0, 6)])
    assert found.names == ("of",)
    assert found.words == (0,)


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=8))
def test_pieces_add_up_and_every_word_has_a_token(text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    found = in_words(text, torch.arange(len(spans)), spans)
    assert "".join(found.pieces) == text
    assert len(found.pieces) == len(found.words) == len(spans)
    assert {word for word in found.words if word >= 0} == set(range(len(found.names)))


def test_names_that_occur_again_are_numbered():
    assert distinct(["the", "cat", "the", "the"]) == ("the", "cat", "the (2)", "the (3)")
