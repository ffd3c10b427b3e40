import pytest
import torch
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors
from torch import nn

from strategies import relu_network
from unmask import Attribution, log_odds, logit, predicted, zoo
from unmask.evaluation import neighbour_similarity, overlap
from unmask.methods.saliency import gradient, input_x_gradient


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cloud(rows, seed=0):
    return torch.randn(rows, 4, generator=seeded(seed)).double()


def network():
    return relu_network([4, 8, 3], seed=2, kink=nn.Tanh, dtype=torch.float64)


def slow(score, x, data, explain, neighbours, read=lambda x: x):
    """The mean over neighbours that scikit-learn finds, an input at a time."""
    model, places = score.model, read(data)
    classes, found = predicted(model, data), []
    for i in range(len(x)):
        one = score.at(torch.tensor([i]))
        others = [
            j for j in range(len(data))
            if classes[j] == model(x[i : i + 1]).argmax() and not torch.equal(data[j], x[i])
        ]  # fmt: skip
        if not others:
            found.append(float("nan"))
            continue
        k = min(neighbours, len(others))
        trees = NearestNeighbors(n_neighbors=k).fit(places[others].numpy())
        near = trees.kneighbors(read(x[i : i + 1]).numpy(), return_distance=False)[0]
        here = explain(one, x[i : i + 1]).values[0].numpy()
        alike = [
            spearmanr(here, explain(one, data[others[j]][None]).values[0].numpy()).statistic
            for j in near
        ]
        found.append(sum(alike) / len(alike))
    return found


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_it_is_what_a_loop_finds(own, batch_size):
    """With a class for all inputs, and one for each."""
    model, data = network(), cloud(30)
    x = torch.cat([data[:4], cloud(3, 1)])
    score = log_odds(model, predicted(model, x) if own else 1)
    rating = neighbour_similarity(
        score, x, data=data, explain=input_x_gradient, neighbours=3, batch_size=batch_size
    )
    expected = slow(score, x, data, input_x_gradient, 3)
    assert rating.values.tolist() == pytest.approx(expected, abs=1e-12)
    assert rating.higher_is_better


def test_neighbours_can_be_looked_for_in_a_layer():
    model, data = network(), cloud(30)
    score = logit(model, 1)
    asked = {"data": data, "explain": input_x_gradient, "neighbours": 3}
    rating = neighbour_similarity(score, data[:6], layer="0", **asked)
    expected = slow(score, data[:6], data, input_x_gradient, 3, lambda x: model[0](x).detach())
    assert rating.values.tolist() == pytest.approx(expected, abs=1e-12)
    assert not torch.allclose(rating.values, neighbour_similarity(score, data[:6], **asked).values)


def test_the_gradient_of_a_linear_model_is_the_same_for_all():
    data = cloud(20)
    asked = {"data": data, "explain": gradient}
    weights = cloud(4, 5)[:, :2]
    score = logit(lambda x: x @ weights, 1)
    assert neighbour_similarity(score, data, **asked).values.tolist() == pytest.approx([1] * 20)
    beyond = neighbour_similarity(score, data, beyond_chance=True, **asked)
    assert beyond.values.tolist() == pytest.approx([0] * 20)


def test_random_explanations_are_alike_by_chance_alone():
    data = torch.randn(60, 30, generator=seeded(0))
    chance = torch.randn(60, 30, generator=seeded(1))

    def explain(score, x):
        return Attribution(chance[(x[:, None] == data).all(2).int().argmax(1)])

    one_class = logit(lambda x: torch.stack([x[:, 0] * 0 + 1, x[:, 0] * 0], 1), 0)
    rating = neighbour_similarity(one_class, data, data=data, explain=explain, neighbours=5)
    assert abs(rating.mean) < 3 / (60 * 5) ** 0.5  # a tighter one would be over 29 numbers a pair


def test_those_that_a_group_explains_alike_are_told_from_chance():
    """Two clusters of one class, each explained in its own way: near is alike, random is half."""
    generator = seeded(0)
    place = torch.tensor([[0.0] * 4, [9.0] * 4]).repeat(20, 1)
    data = place + 0.1 * torch.randn(40, 4, generator=generator)
    ways = torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])

    def explain(score, x):
        return Attribution(ways[(x[:, 0] > 4).long()])

    one_class = logit(lambda x: torch.stack([x[:, 0] * 0 + 1, x[:, 0] * 0], 1), 0)
    asked = {"data": data, "explain": explain}
    near = neighbour_similarity(one_class, data, **asked)
    assert near.values.tolist() == pytest.approx([1] * 40)
    # Besides the 5 neighbours 14 others are alike (1) and 20 unlike (-1); all of them are drawn.
    beyond = neighbour_similarity(one_class, data, beyond_chance=True, samples=39, **asked)
    assert beyond.values.tolist() == pytest.approx([1 + 6 / 34] * 40)
    few = neighbour_similarity(
        one_class, data, data=data[:5], explain=explain, beyond_chance=True, neighbours=4
    )
    # The first five have four neighbours and no others; all further inputs have one left.
    assert few.undefined == 5


def test_a_class_of_its_own_has_no_neighbours():
    model = nn.Identity()
    data = torch.tensor([[2.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    rating = neighbour_similarity(
        logit(model, 0), data, data=data, explain=lambda score, x: Attribution(x)
    )
    assert rating.values.isnan().tolist() == [False, False, True]


def test_overlap_counts_the_strongest_that_are_shared():
    one = torch.tensor([[5.0, -4.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    other = torch.tensor([[-9.0, 0.0, 8.0, 7.0], [0.0, 0.0, 1.0, 1.0]])
    assert overlap(2)(one, other).tolist() == [0.5, 0.0]
    assert overlap(3)(one, other).tolist() == pytest.approx([2 / 3, 2 / 3])
    rating = neighbour_similarity(
        logit(lambda x: x * 0, 0), one, data=torch.cat([one, other]), neighbours=3,
        explain=lambda score, x: Attribution(x), similarity=overlap(2),
    )  # fmt: skip
    # {0,1} with {0,1}, {0,2}, {2,3}; and {0,1} with {0,1}, {0,2}, {2,3}.
    assert rating.values.tolist() == [0.5, 0.5]


def test_broken_questions_are_refused():
    data = cloud(6)
    score = logit(network(), 1)

    def asked(message, kind=ValueError, **options):
        given = {"data": data, "explain": gradient} | options
        with pytest.raises(kind, match=message):
            neighbour_similarity(score, data[:2], **given)

    asked("`neighbours`", neighbours=0)
    asked("`samples`", beyond_chance=True, samples=-1)
    asked("same kind|Type-check error", (ValueError, TypeError), data=torch.ones(3, 5).double())
    asked("The data must be finite", data=data / 0)
    asked("The batch is empty", data=data[:0])
    asked("nowhere", layer="nowhere")
    asked("strongest 9 parts", similarity=overlap(9))
    with pytest.raises(ValueError, match="`most`"):
        overlap(0)


def test_an_error_in_the_model_leaves_no_hook():
    class Fussy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            y = self.layer(x)
            if len(x) == 5:
                raise RuntimeError("five are too many")
            return y

    model = Fussy().double()
    with pytest.raises(RuntimeError, match="five"):
        neighbour_similarity(
            logit(model, 0), cloud(2), data=cloud(5), explain=gradient, layer="layer"
        )
    assert not model.layer._forward_hooks


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_on_real_networks_neighbours_are_more_alike_than_others(name):
    found = getattr(zoo, name)()
    data = torch.stack(found.inputs[:100])
    score = logit(found.model, predicted(found.model, data))
    rating = neighbour_similarity(
        score, data, data=data, explain=input_x_gradient, beyond_chance=True
    )
    low, _ = rating.interval()
    assert low > 0  # over 100 inputs
