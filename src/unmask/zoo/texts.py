"""Networks that read texts."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

from unmask.baselines import token
from unmask.interactions.language.content_words import LINKS, distinct
from unmask.players import Players, words
from unmask.score import log_odds, token_log_odds
from unmask.views import TextView
from unmask.zoo.cache import trained_once
from unmask.zoo.data import sentiments, story_tokenizer, weights
from unmask.zoo.exhibit import Exhibit
from unmask.zoo.llama import Llama
from unmask.zoo.training import Recipe, Words
from unmask.zoo.transformer import PADDING, TransformerClassifier

MASK = 1
"""The id of a hidden word, and of a word that is not in the vocabulary."""

MOST = 12
"""Players of a text at most."""

PROMPTS = (
    "Once upon a time, there was a little girl",
    "Once upon a time, there was a little girl named",
    "One day, Tim went to the park with his",
    "Anna saw a big red ball. She wanted to play with the",
    "Mom said it was time to go to",
    "The dog and the cat were best",
    "They all lived happily ever",
    "The bird could fly high in the",
    "Tim was scared of the dark. His mom gave him a big",
    "The cat was hungry. The cat wanted to eat the",
    "She was very happy and said thank",
    "Lily put on her hat and went out to",
)
"""Beginnings of stories for the language model to continue."""


@cache
def sst2() -> Exhibit:
    """A small transformer that tells praise from blame in sentences of film reviews.

    The players are the words, or in a sentence of more than twelve those that say something by
    themselves; punctuation is never hidden. A hidden word is the token that also stands for
    words outside the vocabulary, and texts with such gaps were part of the training. The
    network learns from phrases; the inputs are the first 200 sentences of the development set
    with three to twelve players. Needs UNMASK_DATA.
    """
    phrases = sentiments("train_phrases")
    counts = Counter(word for text, _ in phrases for word in text)
    known = [word for word, count in counts.most_common() if count > 2]
    ids = {word: i for i, word in enumerate(known, start=MASK + 1)}

    def encode(text: Sequence[str]) -> Int[Tensor, " tokens"]:
        return torch.tensor([ids.get(word, MASK) for word in text])

    model = trained_once(
        "sst2",
        lambda: TransformerClassifier(len(known) + 2, 2, dropout=0.3),
        torch.nn.utils.rnn.pad_sequence(
            [encode(text) for text, _ in phrases], batch_first=True, padding_value=PADDING
        ),
        torch.tensor([label for _, label in phrases]),
        Recipe(
            epochs=3,
            batch_size=128,
            rate=2e-3,
            decay=0.5,
            smoothing=0.1,
            words=Words(padding=PADDING, mask=MASK, hidden=0.3),
        ),
    )
    chosen = [
        (text, label) for text, label in sentiments("dev") if 3 <= len(speaking(text)) <= MOST
    ][:200]
    inputs = tuple(encode(text) for text, _ in chosen)
    return Exhibit(
        name="sst2",
        model=model,
        inputs=inputs,
        labels=tuple(label for _, label in chosen),
        classes=("negative", "positive"),
        players=lambda i: word_players(chosen[i][0], speaking(chosen[i][0])),
        view=lambda i: TextView(spaced(chosen[i][0])),
        baseline=lambda i: token(inputs[i], MASK),
        score=log_odds,
    )


@cache
def stories() -> Exhibit:
    """A language model of 260,000 parameters that tells stories for small children.

    The inputs are prompts. The players are their words, each with the punctuation after it; the
    token that begins the text is never hidden. A hidden word is made of unknown tokens, on which
    the model, having never met them, is the least certain how to go on. The classes are tokens,
    and there is no true one. Needs UNMASK_DATA.
    """
    model = Llama()
    model.load_state_dict(weights("weights/stories260K.safetensors"))
    tokenizer = story_tokenizer()
    inputs = tuple(tokenizer.encode(prompt) for prompt in PROMPTS)

    def players(i: int) -> Players:
        pieces = tokenizer.pieces(inputs[i])
        starts = torch.tensor([piece.startswith(" ") for piece in pieces]).cumsum(0).tolist()
        return words([None, *starts[1:]], distinct(PROMPTS[i].split()))

    return Exhibit(
        name="stories",
        model=model.eval(),
        inputs=inputs,
        labels=None,
        classes=tokenizer.tokens,
        players=players,
        view=lambda i: TextView(tokenizer.pieces(inputs[i])),
        baseline=lambda i: token(inputs[i], 0),
        score=token_log_odds,
    )


def speaking(text: Sequence[str]) -> list[int]:
    """The places of the words that are players.

    Args:
        text: its words; of more than twelve, those that say little by themselves are left out.
    """
    spoken = [i for i, word in enumerate(text) if any(letter.isalnum() for letter in word)]
    if len(spoken) <= MOST:
        return spoken
    return [i for i in spoken if text[i] not in LINKS]


def word_players(text: Sequence[str], places: Sequence[int]) -> Players:
    """One player for each word at these places.

    Args:
        text: its words.
        places: of the words that can be hidden.
    """
    groups = [i if i in places else None for i in range(len(text))]
    return words(groups, distinct([text[i] for i in places]))


def spaced(text: Sequence[str]) -> tuple[str, ...]:
    """Words with the spaces that a reader expects between them.

    Args:
        text: its words.
    """
    pieces: list[str] = []
    for i, word in enumerate(text):
        close = i == 0 or word in {".", ",", "!", "?", ":", ";", ")", "n't"} or word[0] == "'"
        after_bracket = i > 0 and text[i - 1] == "("
        pieces.append(word if close or after_bracket else f" {word}")
    return tuple(pieces)
