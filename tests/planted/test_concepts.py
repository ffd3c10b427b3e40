import math

import pytest
import torch
from torch import nn

from unmask import features, masked
from unmask.interactions import and_interaction
from unmask.planted import PlantedConcepts, one_of_each, planted_concepts
from unmask.regression import least_squares
from unmask.score import Score


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_inputs_are_different_signs_and_labels_are_sums_of_products():
    data = planted_concepts(5, [(0,), (1, 3), (0, 2, 4)], 20, seeded(), effects=[2.0, -1.0, 0.5])
    rows = data.inputs.tolist()
    assert len({tuple(row) for row in rows}) == 20
    assert {abs(number) for row in rows for number in row} == {1.0}
    for row, label in zip(rows, data.labels.tolist(), strict=True):
        assert label == 2 * row[0] - row[1] * row[3] + 0.5 * row[0] * row[2] * row[4]


def test_noise_is_added_to_the_labels():
    clean = planted_concepts(12, [(0, 1)], 4000, seeded())
    noisy = planted_concepts(12, [(0, 1)], 4000, seeded(), noise=0.5)
    assert torch.equal(clean.inputs, noisy.inputs)
    assert float((noisy.labels - clean.labels).std()) == pytest.approx(0.5, rel=0.04)


def test_what_is_learned_of_each_concept():
    data = planted_concepts(6, one_of_each(3), 10, seeded(), effects=[1.0, 2.0, -4.0])

    def model(x):
        return (3 + 0.25 * x[:, 0] + x[:, 1] * x[:, 2] + x[:, 0] * x[:, 5] - x[:, 3:].prod(1))[
            :, None
        ]

    assert data.learned(model).tolist() == [0.25, 0.5, 0.25]
    assert data.learned(lambda x: data.products(x) @ data.effects).tolist() == [1, 1, 1]


def test_concepts_are_and_terms_beside_zeros():
    data = planted_concepts(6, one_of_each(3), 3, seeded(), effects=[1.0, 2.0, -4.0])
    score = Score(lambda x: data.products(x) @ data.effects, lambda output, rows: output)
    for x in data.inputs:
        terms = and_interaction(masked(score, x, features(6), torch.zeros(6)))
        some = terms.effects != 0
        assert terms.members[some].tolist() == data.members.tolist()
        expected = (data.products(x[None])[0] * data.effects).tolist()
        assert terms.effects[some].tolist() == expected


def test_a_model_that_is_given_the_products_learns_all_orders_alike():
    """No order is favoured by the data or by how learning is measured."""
    data = planted_concepts(10, one_of_each(4), 1024, seeded())
    weights = nn.Parameter(torch.zeros(4))
    for _ in range(20):
        loss = (data.products(data.inputs) @ weights - data.labels).square().mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 0.05 * gradient
        learned = data.learned(lambda x, w=weights: data.products(x) @ w)
        assert learned.tolist() == pytest.approx([float(learned[0])] * 4, abs=1e-6)
    assert float(learned[0]) == pytest.approx(1 - 0.9**20, abs=1e-5)


def test_noise_of_the_inputs_shrinks_concepts_by_their_order():
    data = planted_concepts(10, one_of_each(4), 1024, seeded())
    noise, draws = 0.4, 200
    x = data.inputs.double().repeat(draws, 1)
    generator = seeded(1)
    x = x + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    weights = least_squares(data.products(x), data.labels.double().repeat(draws))
    expected = [(1 + noise**2) ** -order for order in (1, 2, 3, 4)]
    assert weights.tolist() == pytest.approx(expected, abs=0.01)  # 200,000 rows


@pytest.mark.parametrize(
    ("concepts", "samples", "effects", "words"),
    [
        ([(0, 4)], 3, None, "no set of inputs"),
        ([(0, 0)], 3, None, "no set of inputs"),
        ([()], 3, None, "no set of inputs"),
        ([(0,)], 17, None, "cannot be drawn"),
        ([(0,)], 0, None, "cannot be drawn"),
        ([(0,)], 3, [1.0, 2.0], "one number per concept"),
        ([(0,)], 3, [0.0], "one number per concept"),
    ],
)
def test_what_is_refused(concepts, samples, effects, words):
    with pytest.raises(ValueError, match=words):
        planted_concepts(4, concepts, samples, seeded(), effects=effects)


def test_concepts_of_growing_size_share_nothing():
    concepts = one_of_each(5)
    assert [len(concept) for concept in concepts] == [1, 2, 3, 4, 5]
    assert sorted(i for concept in concepts for i in concept) == list(range(15))


def test_there_is_always_a_truth_to_compare_with():
    data = planted_concepts(3, [(0, 1, 2)], 8, seeded())
    assert isinstance(data, PlantedConcepts)
    assert math.prod(data.labels.tolist()) == 1  # as many rows of either sign
