import pytest
import torch

from exhibits import exhibit
from unmask.interactions import content_words, speaks
from unmask.interactions.language.content_words import LINKS, STOP_WORDS, distinct


def test_pieces_of_a_word_and_its_punctuation_go_together():
    pieces = ("", " The", " drag", "on", ",", " which", " was", " 3", " ate", " x", " kings", ".")
    found = content_words(pieces)
    assert found.names == ("dragon", "ate", "kings")
    assert found.owner.tolist() == [-1, -1, 0, 0, 0, -1, -1, -1, 1, -1, 2, 2]


@pytest.mark.parametrize("space", ["Ġ", "▁", " "])
def test_signs_that_stand_for_a_space(space):
    found = content_words((f"{space}red", f"{space}ba", "ll", f"{space}the"))
    assert found.names == ("red", "ball")
    assert found.owner.tolist() == [0, 1, 1, -1]


def test_embeddings_have_an_owner_in_every_channel():
    found = content_words((" red", " of", " ball"), width=3)
    assert found.owner.tolist() == [[0] * 3, [-1] * 3, [1] * 3]


def test_of_many_words_some_are_drawn_and_keep_their_order():
    names = tuple(f"word{letter}" for letter in "abcdefghijklmnopqrst")
    pieces = tuple(f" {name}" for name in names)
    drawn = {
        content_words(pieces, most=4, generator=torch.Generator().manual_seed(seed)).names
        for seed in range(20)
    }
    assert len(drawn) > 15
    for chosen in drawn:
        assert len(chosen) == 4
        assert sorted(chosen, key=names.index) == list(chosen)
    assert {name for chosen in drawn for name in chosen} == set(names)
    assert content_words(pieces, most=4).names == content_words(pieces, most=4).names
    assert content_words(pieces, most=40).names == names


def test_words_that_occur_again_are_numbered():
    assert content_words((" cat", " and", " cat", ".")).names == ("cat", "cat (2)")
    assert distinct(["very", "very", "good", "very"]) == ("very", "very (2)", "good", "very (3)")


def test_words_that_only_hold_a_sentence_together_turn_no_meaning_round():
    assert LINKS < STOP_WORDS
    assert {"not", "no", "but", "very", "without"} <= STOP_WORDS - LINKS


@pytest.mark.parametrize("word", ["the", " The ", "'s", "7", "x", ",", "", "isn't"])
def test_what_says_nothing_by_itself(word):
    assert not speaks(word)


@pytest.mark.parametrize("word", ["dragon", " ball.", "'red'", "b2b"])
def test_what_does(word):
    assert speaks(word)


def test_real_prompts():
    stories = exhibit("stories")
    found = content_words(stories.view(3).pieces)
    assert found.names == ("Anna", "saw", "big", "red", "ball", "wanted", "play")
    spelt = [""] * len(found.names)
    for piece, owner in zip(stories.view(3).pieces, found.owner.tolist(), strict=True):
        if owner >= 0:
            spelt[owner] += piece
    assert [word.strip() for word in spelt] == [
        "Anna",
        "saw",
        "big",
        "red",
        "ball.",
        "wanted",
        "play",
    ]


def test_bad_input():
    with pytest.raises(ValueError, match="says anything by itself"):
        content_words((" the", " of"))
    with pytest.raises(ValueError, match="At most 0 players"):
        content_words((" red",), most=0)
