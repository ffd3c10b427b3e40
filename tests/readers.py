"""Small networks that read sentences with attention, and the sentences of film reviews."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask.zoo.data import sentiments
from unmask.zoo.training import Recipe, Words, trained

WORDS = Words(padding=0, mask=1, hidden=0.0)


class AttentiveReader(nn.Module):
    """A bidirectional LSTM whose states are averaged by attention, as Jain and Wallace take it."""

    def __init__(self, vocabulary: int, classes: int, width: int = 24, hidden: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.rnn = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * hidden, hidden)
        self.ask = nn.Linear(hidden, 1, bias=False)
        self.head = nn.Linear(2 * hidden, classes)

    def encode(
        self, x: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens states"]:
        lengths = mask.sum(1).cpu().clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]

    def attend(
        self, states: Float[Tensor, "batch tokens states"], mask: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens"]:
        asked = self.ask(torch.tanh(self.project(states)))[..., 0]
        return asked.masked_fill(~mask, -torch.inf).softmax(1)

    def decode(
        self,
        states: Float[Tensor, "batch tokens states"],
        weights: Float[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch classes"]:
        return self.head((weights[..., None] * states).sum(1))

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch classes"]:
        mask = ids != 0
        states = self.encode(self.embedding(ids), mask)
        return self.decode(states, self.attend(states, mask))


def reviews(count: int) -> tuple[AttentiveReader, Int[Tensor, "batch tokens"], list[list[str]]]:
    """A reader that learned from phrases of film reviews, and sentences that it has not met.

    Takes three seconds. Needs UNMASK_DATA.
    """
    phrases = [(text, label) for text, label in sentiments("train_phrases") if len(text) > 3]
    phrases = phrases[:: len(phrases) // 5000]
    known = sorted({word for text, _ in phrases for word in text})
    ids = {word: i for i, word in enumerate(known, start=2)}

    def encode(texts: list[list[str]]) -> Int[Tensor, "batch tokens"]:
        rows = [torch.tensor([ids.get(word, 1) for word in text]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    model = trained(
        lambda: AttentiveReader(len(known) + 2, 2),
        encode([text for text, _ in phrases]),
        torch.tensor([label for _, label in phrases]),
        Recipe(epochs=2, batch_size=100, rate=1e-2, words=WORDS),
    )
    assert isinstance(model, AttentiveReader)
    texts = [text for text, _ in sentiments("dev") if len(text) <= 14][:count]
    return model, encode(texts), texts
