import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.zoo.data import story_tokenizer
from unmask.zoo.tokenizer import Tokenizer

BYTES = [f"<0x{i:02X}>" for i in range(256)]


def small(**scores):
    """A tokenizer of the letters a, b, c, the space, and the given pieces with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, " ", "a", "b", "c", *scores]
    return Tokenizer(tuple(tokens), (0.0,) * 263 + tuple(scores.values()))


def texts(tokenizer, ids):
    return [tokenizer.tokens[i] for i in ids.tolist()]


def test_the_pair_of_the_highest_score_is_joined_first():
    assert texts(small(ab=-2.0, bc=-1.0), small().encode("abc")) == ["<s>", " ", "a", "b", "c"]
    tokenizer = small(ab=-2.0, bc=-1.0)
    assert texts(tokenizer, tokenizer.encode("abc")) == ["<s>", " ", "a", "bc"]
    tokenizer = small(ab=-1.0, bc=-2.0, abc=-3.0)
    assert texts(tokenizer, tokenizer.encode("abcab")) == ["<s>", " ", "abc", "ab"]


def test_of_equals_the_first_is_joined():
    tokenizer = small(aa=-1.0)
    assert texts(tokenizer, tokenizer.encode("aaa")) == ["<s>", " ", "aa", "a"]


def test_what_is_no_token_is_written_in_bytes():
    tokenizer = small()
    ids = tokenizer.encode("aé")
    assert texts(tokenizer, ids) == ["<s>", " ", "a", "<0xC3>", "<0xA9>"]
    assert tokenizer.pieces(ids) == ("", "", "a", "é", "")
    assert tokenizer.encode("").tolist() == [1]


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_a_text_survives(text):
    tokenizer = small(ab=-2.0, bc=-1.0, aa=-1.0)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer.pieces(ids)) == len(ids)


def test_half_a_letter_does_not_stop_the_rest():
    tokenizer = small()
    assert tokenizer.decode([1, 260, 3 + 0xC3, 261]) == "a\ufffdb"
    assert tokenizer.decode(torch.tensor([3 + 0xF0, 3 + 0x9F])) == "\ufffd"


@pytest.mark.usefixtures("real_data")
def test_the_tokens_of_a_known_text():
    tokenizer = story_tokenizer()
    assert texts(tokenizer, tokenizer.encode("Once upon a time"))[1:] == [
        " Once",
        " upon",
        " a",
        " time",
    ]
