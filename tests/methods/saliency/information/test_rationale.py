import math
import os
from itertools import product

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from readers import reviews
from unmask.methods.saliency import HardKuma, Rationale, Reinforce, StraightThrough, rationale
from unmask.methods.saliency.information.selections import omega
from unmask.zoo.data import sentiments

INTEGERS = "embeddings|parameter|type"  # the others where types are checked at run time
TABLE = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))


def planted(texts, seed):
    """Of twenty words, a seventh kind is there if and only if the class is 1."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, 40, (texts, 20), generator=generator)
    labels = torch.randint(2, (texts,), generator=generator)
    place = torch.randint(20, (texts,), generator=generator)
    praised = labels == 1
    ids[torch.arange(texts)[praised], place[praised]] = 7
    return ids, labels


class Wants(nn.Module):
    """A selector whose logits are the first number of each word, times a parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()).double())

    def forward(self, x):
        return self.weight * x[..., 0]


class Sums(nn.Module):
    """A reader that adds up what is selected."""

    def __init__(self, column=1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1).double())
        self.column = column

    def forward(self, selected, z):
        return selected[..., self.column].sum(1, keepdim=True) * self.weight


# What a selection costs


def test_omega_by_hand():
    z, there = torch.tensor([[1.0, 1, 0, 1], [1, 1, 1, 1]]), torch.ones(2, 4).bool()
    assert omega(z, there, 1.0, 1.0).tolist() == [5, 4]  # 3 words and 2 breaks; 4 words and none
    assert omega(z, there, 0.5, 0.0).tolist() == [1.5, 2]


def test_omega_is_the_expectation_of_what_independent_choices_cost():
    share = torch.tensor([[0.3, 0.8, 0.5, 0.9]]).double()
    there = torch.tensor([[True, True, True, False]])
    expected = 0.0
    for z in product((0, 1), repeat=3):
        p = math.prod(q if one else 1 - q for q, one in zip((0.3, 0.8, 0.5), z, strict=True))
        expected += p * (
            0.7 * sum(z) + 1.1 * sum(a != b for a, b in zip(z[1:], z[:-1], strict=True))
        )
    assert omega(share, there, 0.7, 1.1).tolist() == pytest.approx([expected])


# Ways to learn choices


@pytest.mark.parametrize("selection", [Reinforce(), StraightThrough(0.5), HardKuma()])
def test_words_are_selected_as_often_as_is_said(selection):
    logits = torch.tensor([[-3.0, -1.0, 0.0, 2.0]]).double().expand(100_000, -1)
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)).double()
    z = selection.draw(logits, uniform)
    error = 4 * 0.5 / math.sqrt(100_000)
    assert torch.allclose((z > 1e-9).double().mean(0), selection.share(logits[0]), atol=error)
    assert z.min() >= 0
    assert z.max() <= 1 + 1e-9
    if isinstance(selection, HardKuma):
        likely = [(z[:, t] > 0.5).double().mean() > 0.5 for t in (1, 3)]
        assert likely == [False, True]  # as explain has it, from the sign of the logit
        assert 0.05 < (z[:, 2] == 1).double().mean() < 0.12  # a twelfth, by hand
    else:
        assert torch.allclose(z, z.round())


def test_choices_of_hard_kumaraswamy_have_their_slope():
    logits = torch.tensor([[-1.0, 0.3]]).double().requires_grad_()
    uniform = torch.tensor([[0.6, 0.4]]).double()
    torch.autograd.gradcheck(lambda one: HardKuma().draw(one, uniform), logits)
    torch.autograd.gradcheck(HardKuma().share, logits)


def test_the_slope_of_reinforce_is_that_of_the_expected_cost():
    """With all eight choices of three words enumerated, and a baseline far off."""
    x = torch.tensor([[[0.4, 1.0], [-0.7, -2.0], [1.2, 0.5]]]).double()
    label = torch.tensor([0.3]).double()
    model = Rationale(Wants(), Sums(), length=0.2, breaks=0.1).double()
    w = model.selector.weight
    p = (3 * torch.tanh(w * x[0, :, 0] / 3)).sigmoid()
    expected = omega(p[None], torch.ones(1, 3).bool(), 0.2, 0.1)[0]
    for z in product((0.0, 1.0), repeat=3):
        chosen = torch.tensor(z).double()
        probability = torch.where(chosen > 0, p, 1 - p).prod()
        expected = expected + probability * ((chosen * x[0, :, 1]).sum() - 0.3).square()
    (slope,) = torch.autograd.grad(expected, w)
    model.baseline.fill_(3.0)
    cost = model.cost(x, label, samples=400_000, generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(cost, w)
    assert float(found) == pytest.approx(float(slope), abs=0.02)  # four standard errors
    assert float(cost.detach()) == pytest.approx(float(expected.detach()), abs=0.02)
    assert float(model.baseline) == pytest.approx(2.7 + 0.1 * 1.5, abs=0.2)  # moved by a tenth


# A planted word


@pytest.fixture(scope="module", params=["reinforce", "straight through", "hard kumaraswamy"])
def found(request):
    ids, labels = planted(512, 1)
    selection, length = {
        "reinforce": (None, 0.01),
        "straight through": (StraightThrough(), 0.003),
        "hard kumaraswamy": (HardKuma(), 0.01),
    }[request.param]
    return rationale(
        TABLE[ids], labels=labels, steps=250, selection=selection, length=length, minibatch=64,
        samples=2,
    )  # fmt: skip


def test_a_planted_word_is_found(found):
    ids, labels = planted(512, 2)
    with torch.no_grad():
        right = found.model(TABLE[ids]).argmax(1) == labels
        z = found.model.explain(TABLE[ids])
    assert right.double().mean() > 0.98
    # Choices that are taught by the slope of others select some words too many.
    straight = isinstance(found.model.selection, StraightThrough)
    assert z.double().mean() < (0.25 if straight else 0.15)
    assert (z & (ids == 7)).any(1)[labels == 1].double().mean() > (0.8 if straight else 0.95)


def test_fidelity_and_text_tell_of_the_data(found):
    ids, labels = planted(512, 1)
    with torch.no_grad():
        right = (found.model(TABLE[ids]).argmax(1) == labels).double().mean()
        z = found.model.explain(TABLE[ids]).double()
    assert found.fidelity == pytest.approx(float(right))
    runs = float(z[:, 0].sum() + (z[:, 1:] > z[:, :-1]).sum())
    share, run = float(100 * z.mean()), float(z.sum()) / runs
    assert found.text == f"selects {share:.1f} % of the words, in runs of {run:.1f}"


def test_the_answer_is_made_of_the_selected_words_alone():
    ids, labels = planted(64, 3)
    model = rationale(TABLE[ids], labels=labels, steps=30).model
    x = TABLE[ids]
    with torch.no_grad():
        z = model.explain(x)
        hidden = torch.where(z[..., None], x, torch.zeros(()))
        assert torch.equal(model(x), model.reader(hidden, z.float()))


def test_numbers_are_predicted_with_squared_error():
    """y is 2 times the one word that counts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 5, 3, generator=generator)
    found = rationale(
        x, labels=2 * x[:, 2, 0], steps=400, length=0.02, breaks=0.0, selector=Places(5),
        reader=Sums(0).float(), rate=0.03,
    )  # fmt: skip
    assert found.model.explain(x)[0].tolist() == [False, False, True, False, False]
    # A word that is sometimes left out while the reader learns is given a little less than its due.
    weight = found.model.reader.weight.item()
    assert 1.5 < weight < 2.1
    spread = x[:, 2, 0].double() - x[:, 2, 0].double().mean()
    left = ((2 - weight) * x[:, 2, 0].double()).square().sum() / (4 * spread.square().sum())
    assert found.fidelity == pytest.approx(1 - float(left), abs=1e-4)


class Places(nn.Module):
    """A selector that knows places only."""

    def __init__(self, tokens):
        super().__init__()
        self.wish = nn.Parameter(torch.zeros(tokens))

    def forward(self, x):
        return self.wish.expand(len(x), -1)


# Padding


def test_padding_is_never_selected_and_costs_nothing():
    x = torch.tensor([[[2.0, 1.0], [2.0, 3.0], [9.0, 100.0]]]).double()
    mask = torch.tensor([[True, True, False]])
    model = Rationale(Wants(), Sums(), selection=StraightThrough(), length=0.3, breaks=0.7)
    assert model.explain(x, mask).tolist() == [[True, True, False]]
    assert model(x, mask).tolist() == [[4]]
    wild = x.clone()
    wild[0, 2] = -1000.0

    def cost(one):
        return model.cost(
            one, torch.tensor([4.0]).double(), mask=mask, samples=50,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    assert float(cost(x).detach()) == pytest.approx(float(cost(wild).detach()))


# Real data


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_a_few_words_tell_praise_from_blame():
    reader, ids, _ = reviews(10_000)
    labels = torch.tensor([label for text, label in sentiments("dev") if len(text) <= 14])
    found = rationale(
        reader.embedding(ids).detach(), labels=labels, mask=ids != 0, steps=120, length=0.03,
        samples=2, minibatch=100, selection=HardKuma(),
    )  # fmt: skip
    z = found.model.explain(reader.embedding(ids), ids != 0)
    assert found.fidelity > 0.8
    assert z.sum() < 0.3 * (ids != 0).sum()
    assert not z[ids == 0].any()


def test_a_few_rows_of_pixels_tell_a_digit():
    digits = load_digits()
    x, labels = torch.tensor(digits.images / 16).float(), torch.tensor(digits.target)
    found = rationale(
        x[:1000], labels=labels[:1000], steps=200, length=0.15, breaks=0.0, minibatch=100, samples=2
    )
    with torch.no_grad():
        right = found.model(x[1000:]).argmax(1) == labels[1000:]
    assert right.double().mean() > 0.75
    assert found.model.explain(x[1000:]).double().mean() < 0.6


# Traces


def test_given_networks_stay_as_they_are():
    ids, labels = planted(32, 1)
    before, state = torch.get_rng_state(), None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        selector, reader = nn.Linear(16, 1), Head()
    state = {name: value.clone() for name, value in selector.state_dict().items()}
    found = rationale(TABLE[ids], labels=labels, steps=40, selector=selector, reader=reader)
    assert all(torch.equal(value, state[name]) for name, value in selector.state_dict().items())
    assert not torch.equal(found.model.selector.weight, selector.weight)
    assert isinstance(found.model.reader, Head)
    assert selector.weight.grad is None
    assert torch.equal(torch.get_rng_state(), before)


class Head(nn.Linear):
    """A reader without an order of words."""

    def __init__(self):
        super().__init__(16, 2)

    def forward(self, selected, z):
        return super().forward(selected.sum(1))


def test_a_network_that_fails_leaves_chance_as_it_was():
    class Failing(Head):
        def forward(self, selected, z):
            raise RuntimeError("out of paper")

    ids, labels = planted(8, 1)
    reader, before = Failing(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of paper"):
        rationale(TABLE[ids], labels=labels, steps=2, reader=reader)
    assert torch.equal(torch.get_rng_state(), before)


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": torch.ones(4, 3, 16).long()}, TypeError, INTEGERS),
        ({"data": torch.ones(4, 3, 16) / 0}, ValueError, "finite"),
        ({"data": torch.ones(0, 3, 16)}, ValueError, "empty"),
        ({"labels": torch.zeros(3).long()}, ValueError, r"4 texts.*shape \(3,\)"),
        ({"labels": torch.full((4,), torch.nan)}, ValueError, "labels must be finite"),
        ({"mask": torch.ones(4, 2).bool()}, ValueError, r"mask has shape \(4, 2\)"),
        ({"mask": torch.arange(4)[:, None].expand(4, 3) > 0}, ValueError, "Text 0 has no word"),
        ({"length": -1.0}, ValueError, "reward what they should punish"),
        ({"breaks": -1.0}, ValueError, "reward what they should punish"),
        ({"samples": 0}, ValueError, "0 selections"),
        ({"steps": 0}, ValueError, "0 steps"),
        ({"rate": 0.0}, ValueError, "rate above 0"),
        ({"selector": nn.Linear(16, 2)}, ValueError, "one logit per word"),
        ({"labels": torch.full((4,), 2), "reader": Head()}, ValueError, "logit for each class"),
        ({"labels": torch.full((4,), -1)}, ValueError, "from -1"),
        ({"labels": torch.ones(4), "reader": Head()}, ValueError, "One number|one number per text"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, error, words):
    given = {"data": TABLE[planted(4, 1)[0]][:, :3], "labels": torch.tensor([0, 1, 1, 0])}
    given = given | {"steps": 2} | change
    with pytest.raises(error, match=words):
        rationale(given.pop("data"), **given)
