import math
import os
from itertools import permutations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from readers import AttentiveReader, reviews
from unmask.methods.saliency import attention_test, uniform_baseline
from unmask.methods.saliency.information.adversary import jensen_shannon, total_variation

INTEGERS = "embeddings|parameter|type"  # the others where types are checked at run time
QUICK = {"samples": 5, "candidates": 2, "steps": 3}


class Given(nn.Module):
    """A model made of three functions."""

    def __init__(self, attend, decode, encode=lambda x, mask: x):
        super().__init__()
        self.functions = (encode, attend, decode)

    def encode(self, x, mask):
        return self.functions[0](x, mask)

    def attend(self, states, mask):
        return self.functions[1](states, mask)

    def decode(self, states, weights):
        return self.functions[2](states, weights)


def always(*weights):
    def attend(states, mask):
        there = weights[: states.shape[1]]  # a word may have been left out
        return torch.tensor(there, dtype=states.dtype).expand(len(states), -1)

    return attend


def by_size(states, mask):
    return states[..., 0].masked_fill(~mask, -torch.inf).softmax(1)


def mean(states, weights):
    return (weights * states[..., 0]).sum(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


# Distances, by hand


def test_two_distributions_by_hand():
    p, q = torch.tensor([[0.7, 0.2, 0.1]]).double(), torch.tensor([[0.1, 0.2, 0.7]]).double()
    assert float(total_variation(p, q)) == pytest.approx(0.6)
    assert float(jensen_shannon(p, q)) == pytest.approx(0.253102, abs=1e-6)
    assert float(jensen_shannon(p, p)) == pytest.approx(0)


def test_the_furthest_two_distributions_are_a_bit_apart():
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(jensen_shannon(p, q)) == pytest.approx(0.693147, abs=1e-6)
    assert float(total_variation(p, q)) == 1


# Correlation


def slow_tau(a, b):
    """Kendall's tau-b, a pair at a time."""
    agree = ties_a = ties_b = pairs = 0
    for i in range(len(a)):
        for j in range(i):
            one, other = a[i] - a[j], b[i] - b[j]
            agree += (one * other > 0) - (one * other < 0)
            ties_a, ties_b, pairs = ties_a + (one == 0), ties_b + (other == 0), pairs + 1
    return agree / math.sqrt((pairs - ties_a) * (pairs - ties_b))


def test_attention_that_is_the_gradient():
    """y = sum a_t x_t with x > 0 has the importance a_t x_t: the order of a, as a is that of x."""
    x = normal(3, 6, 1).abs() + 0.1
    found = attention_test(Given(by_size, mean), x, **QUICK)
    assert found.curves["tau_gradient"].tolist() == pytest.approx([1, 1, 1])
    assert found.numbers["tau_gradient_significant"] == 1
    assert found.numbers["tau_gradient_deviation"] == pytest.approx(0, abs=1e-9)
    assert found.curves["largest_weight"].tolist() == pytest.approx(
        x[..., 0].softmax(1).amax(1).tolist()
    )


def test_importances_by_plain_loops():
    """Words of different number and width; the attention is held fixed, and the text closes up."""
    x, lengths = normal(3, 7, 2), (7, 5, 2)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]

    def encode(x, mask):  # each word knows how many come before it
        return torch.tanh(x * torch.linspace(0.5, 2, 7)[: x.shape[1], None])

    def decode(states, weights):
        return torch.stack([(weights * states[..., c]).sum(1) for c in (0, 1)], 1)

    def answer(words):
        states = encode(words[None], None)
        weights = states[..., 0].softmax(1)
        return weights[0], decode(states, weights)[0].softmax(0)

    found = attention_test(Given(by_size, decode, encode), x, mask=mask, **QUICK)
    for i, length in enumerate(lengths):
        words = x[i, :length]
        a, y = answer(words)
        chosen = int(y.argmax())
        gradient, omission = [], []
        for t in range(length):
            total = 0.0
            for d in range(2):
                nudge = torch.zeros_like(words)
                nudge[t, d] = 1e-6
                ends = [
                    decode(encode((words + way * nudge)[None], None), a[None])[0].softmax(0)[chosen]
                    for way in (1, -1)
                ]
                total += float(words[t, d] * (ends[0] - ends[1]) / 2e-6)
            gradient.append(abs(total))
            left = torch.cat([words[:t], words[t + 1 :]])
            omission.append(float((answer(left)[1] - y).abs().sum() / 2))
        a = a.tolist()
        assert found.curves["tau_gradient"][i] == pytest.approx(slow_tau(a, gradient), abs=1e-9)
        assert found.curves["tau_leave_one_out"][i] == pytest.approx(
            slow_tau(a, omission), abs=1e-9
        )


def test_inputs_of_a_word_are_skipped_and_counted():
    x = normal(3, 4, 1)
    mask = torch.arange(4) < torch.tensor([4, 1, 0])[:, None]

    def attend(states, mask):
        return by_size(states, mask).nan_to_num(0.0)

    found = attention_test(Given(attend, mean), x, mask=mask, **QUICK)
    alone = attention_test(Given(attend, mean), x[:1], **QUICK)
    assert (found.numbers["inputs"], found.numbers["skipped"]) == (3, 2)
    for name, curve in found.curves.items():
        assert curve[1:].isnan().all()
        assert torch.allclose(curve[:1], alone.curves[name], atol=1e-12), name


def test_tau_is_undefined_where_all_weights_are_equal():
    found = attention_test(Given(always(0.25, 0.25, 0.25, 0.25), mean), normal(2, 4, 1), **QUICK)
    assert found.curves["tau_gradient"].isnan().all()
    assert math.isnan(found.numbers["tau_gradient"])
    assert found.numbers["permuted_change"] == pytest.approx(0, abs=1e-12)
    assert found.numbers["uniform_change"] == pytest.approx(0, abs=1e-12)
    assert found.numbers["uniform_same_class"] == 1


# Permutations


def test_the_median_over_permutations():
    """Of three words there are six orders, so that many draws find the median of all."""
    x = torch.tensor([[[2.0], [-1.0], [0.5]]]).double()
    weights = (0.7, 0.2, 0.1)

    def p(order):
        return 1 / (1 + math.exp(-sum(w * v for w, v in zip(order, (2, -1, 0.5), strict=True))))

    changes = sorted(abs(p(order) - p(weights)) for order in permutations(weights))
    found = attention_test(
        Given(always(*weights), mean), x, samples=4001, candidates=1, steps=1
    ).numbers["permuted_change"]
    assert changes[2] <= found <= changes[3] + 1e-12


def test_padding_keeps_no_weight_in_a_permutation():
    x = torch.tensor([[[1.0], [2.0], [1e6]]])
    mask = torch.tensor([[True, True, False]])
    found = attention_test(Given(by_size, mean), x, mask=mask, **QUICK)
    assert found.numbers["permuted_change"] < 0.2


# Adversarial attention


def test_a_decoder_that_ignores_attention_allows_any():
    model = Given(always(0.9, 0.04, 0.03, 0.02, 0.01), lambda states, weights: states.sum((1, 2)))
    found = attention_test(model, normal(1, 5, 2), samples=5)
    assert found.numbers["adversarial_distance"] >= 0.6
    assert found.numbers["adversarial_distance"] < math.log(2)
    assert found.numbers["permuted_change"] == 0


def test_a_decoder_that_answers_by_attention_allows_none():
    model = Given(
        always(0.7, 0.3),
        lambda states, weights: (
            4 * weights[:, 0] - 4 * weights[:, 1:].sum(1) + 0 * states.sum((1, 2))
        ),
    )
    found = attention_test(model, normal(2, 2, 1), samples=5)
    assert 0 < found.numbers["adversarial_distance"] < 1e-3


def test_as_far_as_a_looser_answer_allows():
    """y = sigmoid(4 a_1 - 4 a_2) = sigmoid(8 a_1 - 4): a change of 0.1 lets a_1 move from 0.7 to
    where y is 0.1 less or more, and no further."""
    model = Given(
        always(0.7, 0.3),
        lambda states, weights: (
            4 * weights[:, 0] - 4 * weights[:, 1:].sum(1) + 0 * states.sum((1, 2))
        ),
    )
    found = attention_test(model, normal(1, 2, 1), samples=5, change=0.1)
    y = 1 / (1 + math.exp(-1.6))
    bounds = []
    for p in (y - 0.1, y + 0.1):
        first = (4 + math.log(p / (1 - p))) / 8
        other = torch.tensor([first, 1 - first])
        bounds.append(float(jensen_shannon(torch.tensor([0.7, 0.3]), other)))
    bound = max(bounds)
    assert 0.5 * bound < found.numbers["adversarial_distance"] <= bound * (1 + 1e-6)


# Uniform attention


def test_uniform_attention_as_a_model():
    x, mask = normal(2, 4, 1), torch.tensor([[True] * 4, [True, True, False, False]])
    model = uniform_baseline(Given(by_size, mean))
    expected = [float(x[0].mean()), float(x[1, :2].mean())]
    assert model(x, mask).tolist() == pytest.approx(expected)
    found = attention_test(model, x, mask=mask, **QUICK)
    assert found.numbers["uniform_change"] == pytest.approx(0, abs=1e-12)
    assert found.curves["largest_weight"].tolist() == [0.25, 0.5]


def test_how_far_uniform_attention_moves_the_answer():
    x = torch.tensor([[[3.0], [-1.0]]]).double()
    found = attention_test(Given(always(0.9, 0.1), mean), x, **QUICK)
    p = [1 / (1 + math.exp(-z)) for z in (2.6, 1.0)]
    assert found.numbers["uniform_change"] == pytest.approx(p[0] - p[1])


# Real networks


@pytest.fixture(scope="module")
def reader():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    return reviews(8)


def test_the_attention_of_a_reader_of_reviews_does_not_explain(reader):
    """What Jain and Wallace found of such readers: little correlation, and other attention, far
    from the model's own, with the same answer."""
    model, ids, _ = reader
    x = model.embedding(ids).detach()
    found = attention_test(model, x, mask=ids != 0, samples=50)
    assert abs(found.numbers["tau_gradient"]) < 0.5
    assert abs(found.numbers["tau_leave_one_out"]) < 0.5
    assert found.numbers["adversarial_distance"] > 0.2
    assert found.numbers["uniform_same_class"] > 0.8
    assert not model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_batches_and_companions_change_nothing(reader):
    model, ids, _ = reader
    x, mask = model.embedding(ids).detach()[:3], ids[:3] != 0
    given = {"samples": 7, "steps": 20}
    whole = attention_test(model, x, mask=mask, **given)
    small = attention_test(model, x, mask=mask, batch_size=2, **given)
    alone = attention_test(model, x[1:2], mask=mask[1:2], **given)
    for name, curve in whole.curves.items():
        assert torch.allclose(curve, small.curves[name], atol=1e-5), name  # float32
        assert torch.allclose(curve[1:2], alone.curves[name], atol=1e-5), name


def test_the_encoder_runs_once_for_all_attentions():
    calls = []

    def encode(x, mask):
        calls.append(len(x))
        return x

    attention_test(Given(by_size, mean, encode), normal(2, 4, 1), samples=50, steps=20)
    # once for the states, once for the gradient, and with each of four words left out
    assert calls == [2, 2, 8]


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.ones(2, 3, 4).long()}, TypeError, INTEGERS),
        ({"x": torch.ones(2, 3, 4) / 0}, ValueError, "finite"),
        ({"x": torch.ones(0, 3, 4)}, ValueError, "empty"),
        ({"x": torch.ones(2, 1, 4)}, ValueError, "No input has two words"),
        ({"mask": torch.ones(2, 4).bool()}, ValueError, r"mask has shape \(2, 4\)"),
        ({"samples": 0}, ValueError, "0 permutations"),
        ({"candidates": 0}, ValueError, "0 candidates"),
        ({"steps": 0}, ValueError, "0 steps"),
        ({"change": 0.0}, ValueError, "between 0 and 1"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"model": nn.Linear(4, 2)}, TypeError, "has no way|parameter"),
        ({"model": Given(always(0.5, 0.2, 0.2), mean)}, ValueError, r"input 0 sums to 0\.9"),
        ({"model": Given(always(1.5, -0.5, 0.0), mean)}, ValueError, "sum to 1 over the words"),
        ({"model": Given(always(0.5, 0.5), mean)}, ValueError, r"shape \(2, 2\)"),
        (
            {"model": Given(always(0.5, 0.25, 0.25), mean), "mask": torch.eye(3)[:2] < 1},
            ValueError,
            "give the mask, and heed it",
        ),
        ({"model": Given(by_size, mean, lambda x, mask: x[:, :2])}, ValueError, "state per word"),
        ({"model": Given(by_size, lambda s, w: s)}, ValueError, "row of logits per input"),
        ({"model": Given(by_size, lambda s, w: w[:, 0])}, ValueError, "does not depend on x"),
    ],
)
def test_what_cannot_be_tested_is_refused(change, error, words):
    given = {"model": Given(by_size, mean), "x": torch.ones(2, 3, 4)} | QUICK | change
    with pytest.raises(error, match=words):
        attention_test(given.pop("model"), given.pop("x"), **given)


def test_a_reader_of_rows_of_pixels():
    """A second network: ten classes, and rows of pixels for words."""
    digits = load_digits()
    x = torch.tensor(digits.images / 16).float()
    labels = torch.tensor(digits.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AttentiveReader(2, 10, width=8)
    mask = torch.ones(len(x), 8).bool()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for rows in torch.arange(1600).split(100):
        states = model.encode(x[rows], mask[rows])
        answer = model.decode(states, model.attend(states, mask[rows]))
        optimiser.zero_grad()
        nn.functional.cross_entropy(answer, labels[rows]).backward()
        optimiser.step()
    found = attention_test(model.eval(), x[1600:1606], mask=mask[1600:1606], samples=20, steps=200)
    with torch.no_grad():
        states = model.encode(x[1600:1606], mask[:6])
        weights = model.attend(states, mask[:6])
        p, q = (
            model.decode(states, given).softmax(1)
            for given in (weights, torch.full_like(weights, 1 / 8))
        )
    assert torch.allclose(found.curves["uniform_change"], total_variation(p, q).double(), atol=1e-6)
    assert torch.allclose(found.curves["largest_weight"], weights.amax(1).double(), atol=1e-6)
    assert (found.curves["permuted_change"] > 0).all()
