import math
import os

import pytest
import torch
from torch import nn

from unmask.methods.saliency import omission_score

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")

TYPED = "|Type-check error"  # where types are checked at run time, that comes first


class Reader(nn.Module):
    """The last state of a recurrent network over embeddings or ids."""

    def __init__(self, width=3, kind=nn.GRU, ids=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embedding = nn.Embedding(ids, width) if ids else nn.Identity()
            self.rnn = kind(width, 7, batch_first=True)
        self.double().eval()

    def forward(self, x):
        return self.rnn(self.embedding(x))[0][:, -1]


def texts(count, tokens, width=3, seed=0):
    return torch.randn(
        count, tokens, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@torch.no_grad()
def slow_scores(model, text):
    """The definition, one token after the other."""
    whole, scores = model(text[None])[0].tolist(), []
    for i in range(len(text)):
        left = torch.stack([token for j, token in enumerate(text) if j != i])
        other = model(left[None])[0].tolist()
        dot = sum(a * b for a, b in zip(whole, other, strict=True))
        scores.append(1 - dot / math.dist(whole, [0] * 7) / math.dist(other, [0] * 7))
    return scores


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_scores_follow_the_definition(kind, batch_size):
    model, x = Reader(kind=kind), texts(3, 5)
    found = omission_score(model, x, batch_size=batch_size)
    for i in range(3):
        assert found.values[i].tolist() == pytest.approx(slow_scores(model, x[i]), abs=1e-12)
    assert found.evaluations == 3 + 3 * 5


def test_two_words_at_right_angles():
    """The mean of (1, 0) and (0, 1) lies at 45 degrees to each."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double()
    found = omission_score(lambda x: x.mean(1), x)
    assert found.values.tolist() == [pytest.approx([1 - math.sqrt(0.5)] * 2, abs=1e-15)]
    assert found.values[0, 0].item() == pytest.approx(0.292893, abs=1e-6)


def test_a_word_that_turns_nothing_scores_zero_and_a_reversal_two():
    x = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [3.0, 0.0]], [[-1.0, 0.0], [3.0, 0.0], [-1.0, 0.0]]])
    found = omission_score(lambda x: x.sum(1), x)
    assert found.values[0].tolist() == [0.0, 0.0, 0.0]
    assert found.values[1].tolist() == [0.0, 2.0, 0.0]


def test_later_tokens_move_up():
    """A deleted token leaves no gap: the encoder sees its successor in its place."""
    seen = []

    def encode(ids):
        seen.append(ids.clone())
        return torch.ones(len(ids), 2)

    omission_score(encode, torch.tensor([[4, 5, 6, 7]]))
    assert torch.cat(seen[1:]).tolist() == [[5, 6, 7], [4, 6, 7], [4, 5, 7], [4, 5, 6]]


def test_padding_is_never_seen():
    model, x = (
        Reader(ids=20),
        torch.randint(1, 20, (5, 8), generator=torch.Generator().manual_seed(0)),
    )
    lengths = torch.tensor([8, 3, 2, 3, 5])
    for i, length in enumerate(lengths.tolist()):
        x[i, length:] = 0
    sizes = []

    def encode(ids):
        assert (ids != 0).all()
        sizes.append(len(ids))
        return model(ids)

    found = omission_score(encode, x, lengths=lengths)
    assert found.values.dtype == torch.float32
    for i, length in enumerate(lengths.tolist()):
        expected = slow_scores(model, x[i, :length])
        assert found.values[i, :length].tolist() == pytest.approx(expected, abs=1e-6)
        assert (found.values[i, length:] == 0).all()
    assert sum(sizes) == found.evaluations == 5 + 21
    assert len(sizes) == 2 * 4  # two calls for each length: the texts, and all that is left of them


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_no_more_texts_at_a_time_than_the_batch(batch_size):
    sizes, model = [], Reader()

    def encode(x):
        sizes.append(len(x))
        return model(x)

    found = omission_score(encode, texts(4, 5), batch_size=batch_size)
    assert max(sizes) == batch_size
    assert sum(sizes) == found.evaluations


def test_an_encoder_may_write_on_its_input():
    model, x = Reader(), texts(2, 4)
    before = x.clone()
    expected = omission_score(lambda x: model(2 * x), x).values
    assert torch.equal(omission_score(lambda x: model(x.mul_(2)), x).values, expected)
    assert torch.equal(x, before)


def test_a_token_that_the_state_forgets_scores_less():
    """A leaky sum forgets by half a step: the last word turns it most, the first least."""

    def encode(x):
        state = torch.zeros(len(x), x.shape[2]).double()
        for i in range(x.shape[1]):
            state = state / 2 + x[:, i]
        return state

    x = torch.eye(4).double()[None]
    values = omission_score(encode, x).values[0]
    assert (values.diff() > 0).all()
    # By hand for the last: (1/8, 1/4, 1/2, 1) against (1/4, 1/2, 1, 0).
    cos = (1 / 32 + 1 / 8 + 1 / 2) / math.sqrt(85 / 64) / math.sqrt(21 / 16)
    assert values[3].item() == pytest.approx(1 - cos, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": texts(2, 1)}, "from 1 to 1, in texts of 1 tokens"),
        ({"lengths": torch.tensor([1, 4])}, "from 1 to 4"),
        ({"lengths": torch.tensor([2, 5])}, "from 2 to 5"),
        ({"lengths": torch.tensor([2])}, "2 texts, but lengths have shape" + TYPED),
        ({"x": texts(0, 4)}, "batch is empty"),
        ({"x": texts(2, 4) * torch.nan}, "must be finite"),
        ({"batch_size": 0}, "batch of 0"),
        ({"model": lambda x: x}, r"compares one vector per text.*\(2, 4, 3\)"),
        ({"model": lambda x: 0 * x.sum(1)}, "length 0.0, which has no direction"),
        ({"model": lambda x: x.sum(1) / 0}, "which has no direction"),
        ({"model": lambda x: x[:1, 0]}, "for 2 inputs. Return one row per input"),
        ({"model": nn.BatchNorm1d(4).train()}, "in training mode"),
    ],
)
def test_what_has_no_score_is_refused(options, words):
    given = {"model": lambda x: x.sum(1), "x": texts(2, 4)} | options
    with pytest.raises((ValueError, TypeError), match=words):
        omission_score(given.pop("model"), given.pop("x"), **given)


def test_texts_need_two_axes_and_tensors():
    with pytest.raises((ValueError, TypeError), match=r"but x \(3,\).*batch axis" + TYPED):
        omission_score(lambda x: x[:, None].double(), torch.tensor([1, 2, 3]))


@REAL
@pytest.mark.slow
def test_reviews_and_stories():
    """Two encoders of tokens: what the last layer of a classifier or a storyteller is given."""
    from unmask.zoo import sst2, stories

    for exhibit in (sst2(), stories()):
        text, kept = exhibit.inputs[1], []

        def encode(ids, model=exhibit.model, kept=kept):
            model(ids)
            state = kept.pop()
            return state if state.ndim == 2 else state[:, -1]

        def keep(_module, given, kept=kept):
            kept.append(given[0])

        handle = list(exhibit.model.children())[-1].register_forward_pre_hook(keep)
        try:
            found = omission_score(encode, text[None]).values[0]
            with torch.no_grad():
                whole = encode(text[None])[0].double()
                left = encode(torch.cat([text[:2], text[3:]])[None])[0].double()
        finally:
            handle.remove()
        cos = torch.cosine_similarity(whole, left, dim=0)
        assert found[2].item() == pytest.approx(1 - cos.item(), abs=1e-5)
        assert found.max() > 1e-3


@pytest.mark.gpu
def test_values_stay_on_their_device():
    model, x = Reader(), texts(3, 5)
    expected = omission_score(model, x).values
    found = omission_score(model.cuda(), x.cuda()).values
    assert found.is_cuda
    assert torch.allclose(found.cpu(), expected, atol=1e-9)
