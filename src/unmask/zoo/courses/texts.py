"""A network that learns to read."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unmask.baselines import token
from unmask.views import TextView
from unmask.zoo.courses.course import Course, Settings
from unmask.zoo.courses.mislabelled import mislabelled
from unmask.zoo.data import sentiments
from unmask.zoo.texts import MASK, spaced, speaking, word_players
from unmask.zoo.transformer import PADDING, TransformerClassifier

PLAYERS = 10


@cache
def sst2() -> Course:
    """A transformer of two layers learns praise and blame, a tenth of it under wrong names.

    The first 3,000 training sentences of SST-2 with at most 30 words train it; all test sentences
    of that length test it. Samples are sentences of exactly ten words, which are the players, and
    punctuation, which is never hidden. A hidden word is the token that also stands for words that
    are not in the vocabulary. Needs UNMASK_DATA.
    """
    train = [row for row in sentiments("train_sentences") if len(row[0]) <= 30][:3000]
    test = [row for row in sentiments("test") if len(row[0]) <= 30]
    chosen = [*train, *test]
    counts = Counter(word for text, _ in train for word in text)
    ids = {word: i for i, (word, n) in enumerate(counts.most_common(), start=MASK + 1) if n > 1}

    def encode(text: Sequence[str]) -> Int[Tensor, " tokens"]:
        return torch.tensor([ids.get(word, MASK) for word in text])

    inputs = [encode(text) for text, _ in chosen]
    return mislabelled(
        "sst2",
        lambda: TransformerClassifier(len(ids) + 2, 2),
        pad_sequence(inputs, batch_first=True, padding_value=PADDING),
        torch.tensor([label for _, label in chosen]),
        train=len(train),
        players=lambda i: word_players(chosen[i][0], speaking(chosen[i][0])),
        baseline=lambda i: token(inputs[i], MASK),
        view=lambda i: TextView(spaced(chosen[i][0])),
        classes=("negative", "positive"),
        settings=Settings(
            steps=700, batch_size=64, rate=1e-3, momentum=None, first=4, growth=1.7, padding=PADDING
        ),
        kept=40,
        followed=10,
        eligible=[
            i
            for i, (text, _) in enumerate(chosen)
            if len(text) <= PLAYERS + 2 and len(speaking(text)) == PLAYERS
        ],
        of=lambda i: inputs[i],
    )
