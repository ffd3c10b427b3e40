import math

import numpy as np
import pytest
import torch

from unmask import features, masked
from unmask.interactions import Snapshot, and_interaction
from unmask.methods.dynamics import learning_curves, learning_epochs
from unmask.planted import one_of_each, planted_concepts, planted_terms, terms_of
from unmask.results import Interactions
from unmask.score import Score
from unmask.zoo.mlp import MLP
from unmask.zoo.training import fresh


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scaled(terms, factors):
    return Interactions(
        terms.members, terms.is_or, terms.effects * factors, terms.empty, terms.names
    )


def grown(truth, when, steps):
    """Terms that come in at a step of their own, each at once."""
    return [
        Snapshot(
            step, tuple(scaled(one, (step >= at)) for one, at in zip(truth, when, strict=True))
        )
        for step in steps
    ]


STEPS = (0, 3, 9, 20, 50, 110)


def drawn(inputs=4):
    generator = seeded(5)
    truth = [planted_terms(5, 6, 4, generator) for _ in range(inputs)]
    places = [torch.randint(len(STEPS), (10,), generator=generator) for _ in truth]
    return truth, [torch.tensor(STEPS)[place] for place in places]


@pytest.mark.parametrize("given", [True, False])
def test_each_concept_is_found_where_it_came_in(given):
    truth, when = drawn()
    history = grown(truth, when, STEPS)
    found = learning_epochs(history, truth=truth if given else None, tau=0.0)
    late = {}
    for one, at in zip(truth, when, strict=True):
        for order, step in zip(one.order.tolist(), at.tolist(), strict=True):
            late.setdefault(order, []).append(math.log(1 + step))
    orders = sorted(late)
    assert found.curves["order"].tolist() == orders
    assert found.curves["concepts"].tolist() == [len(late[k]) for k in orders]
    assert found.curves["learned"].tolist() == [1] * len(orders)
    expected = [math.exp(sum(late[k]) / len(late[k])) - 1 for k in orders]
    assert found.curves["step"].tolist() == pytest.approx(expected)
    pairs = np.array([(k, one) for k in orders for one in late[k]])
    correlation = np.corrcoef(pairs.T)[0, 1]
    assert found.numbers["correlation"] == pytest.approx(correlation)
    assert found.numbers["correlation_low"] < correlation < found.numbers["correlation_high"]
    assert found.numbers["checkpoints"] == 6


def test_what_was_never_learned_has_no_step():
    truth = [terms_of("abc", ands={("a",): 2.0, ("a", "b"): 1.0, ("a", "b", "c"): 0.01})]
    history = [
        Snapshot(0, (scaled(truth[0], 0.0),)),
        Snapshot(7, (scaled(truth[0], torch.tensor([0.6, 0.4, 1.0])),)),
    ]
    found = learning_epochs(history, truth=truth)  # the third is no salient term
    assert found.curves["order"].tolist() == [1, 2]
    assert found.curves["learned"].tolist() == [1, 0]
    assert found.curves["step"][0] == pytest.approx(7)
    assert found.curves["step"][1].isnan()
    assert math.isnan(found.numbers["correlation"])
    assert math.isnan(found.numbers["correlation_low"])
    assert found.numbers["ordered"] == 0
    half = learning_epochs(history, truth=truth, fraction=0.4)
    assert half.curves["learned"].tolist() == [1, 1]


def test_a_turned_concept_is_not_learned():
    truth = [terms_of("ab", ands={("a",): 1.0}, ors={("a", "b"): -1.0})]
    history = [Snapshot(0, (scaled(truth[0], 0.0),)), Snapshot(5, (scaled(truth[0], -1.0),))]
    found = learning_epochs(history, truth=truth)
    assert found.curves["learned"].tolist() == [0, 0]


def test_a_concept_once_learned_counts_even_if_it_goes():
    truth = [terms_of("ab", ands={("a", "b"): -1.0})]
    history = [
        Snapshot(t, (scaled(truth[0], f),)) for t, f in ((0, 0.0), (4, 0.7), (9, 0.1), (15, 0.8))
    ]
    found = learning_epochs(history, truth=truth)
    assert found.curves["step"].tolist() == pytest.approx([4])


def test_curves_follow_their_definition():
    truth, _ = drawn(3)
    generator = seeded(1)
    factors = [[torch.rand(10, generator=generator) for _ in truth] for _ in STEPS]
    history = [
        Snapshot(step, tuple(scaled(one, f) for one, f in zip(truth, row, strict=True)))
        for step, row in zip(STEPS, factors, strict=True)
    ]
    found = learning_curves(history, truth=truth, tau=0.4)
    assert found.curves["step"].tolist() == list(STEPS)
    concepts = 0
    for k in range(1, 6):
        power, along, size, scale = 0.0, [0.0] * 6, [0.0] * 6, [0.0] * 6
        for i, one in enumerate(truth):
            largest = float(one.effects.abs().max())
            effects, orders = one.effects.tolist(), one.order.tolist()
            for j, (aim, order) in enumerate(zip(effects, orders, strict=True)):
                concept = order == k and abs(aim) >= 0.4 * largest
                concepts += concept
                power += concept * aim**2
                for t in range(6):
                    now = aim * float(factors[t][i][j])
                    along[t] += concept * now * aim
                    size[t] += (order == k) * abs(now)
            for t in range(6):
                scale[t] += abs(float((one.effects * factors[t][i]).sum()))
        if power:
            expected = [one / power for one in along]
            assert found.curves[f"order_{k}"].tolist() == pytest.approx(expected)
        else:
            assert f"order_{k}" not in found.curves
        strength = [one / all_ for one, all_ in zip(size, scale, strict=True)]
        assert found.curves[f"strength_{k}"].tolist() == pytest.approx(strength)
    assert found.numbers["concepts"] == concepts


@pytest.mark.parametrize("method", [learning_epochs, learning_curves])
def test_what_is_refused(method):
    one = terms_of("ab", ands={("a",): 1.0})
    with pytest.raises(ValueError, match="history is empty"):
        method([])
    with pytest.raises(ValueError, match="its steps are"):
        method([Snapshot(4, (one,)), Snapshot(4, (one,))])
    with pytest.raises(ValueError, match="1 and 2 explanations"):
        method([Snapshot(0, (one,)), Snapshot(4, (one, one))])
    with pytest.raises(ValueError, match="1 and 2 explanations"):
        method([Snapshot(0, (one,))], truth=[one, one])
    with pytest.raises(ValueError, match="tau is a share"):
        method([Snapshot(0, (one,))], tau=1.5)
    with pytest.raises(ValueError, match="the last checkpoint has no term on any input"):
        method([Snapshot(0, (one,)), Snapshot(4, (terms_of("ab", ands={}),))])
    with pytest.raises(ValueError, match="truth has no term on any input"):
        method([Snapshot(0, (one,))], truth=[terms_of("ab", ands={})])
    with pytest.raises(ValueError, match="fraction of its effect"):
        learning_epochs([Snapshot(0, (one,))], fraction=0.0)


def pilot(seed, epochs):
    """A network that learns one concept of each order, and how much of each after every epoch."""
    data = planted_concepts(10, one_of_each(4), 700, seeded(seed))
    model = fresh(lambda: MLP((10, 128, 128, 1)), seed).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = seeded(seed)
    yield data, model
    for _ in range(epochs):
        for rows in torch.randperm(700, generator=generator).split(100):
            loss = (model(data.inputs[rows])[:, 0] - data.labels[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield data, model


def test_concepts_of_more_inputs_are_learned_later():
    """Eight seeds: orders 1 to 4 at epochs 3, 8-9, 20-32 and 32-43, as published in its kind."""
    for seed in range(8):
        learned = torch.stack([data.learned(model) for data, model in pilot(seed, 50)])
        epochs = [int((curve >= 0.5).nonzero()[0, 0]) for curve in learned.T]
        assert epochs == sorted(set(epochs)), seed


def test_the_same_is_seen_in_the_interactions():
    """Beside zeros, which are none of its inputs, the network has the planted terms all the same.

    Not of its planted size, though: of an effect of two players up to twice that.
    """
    history, truth = [], []
    for epoch, (data, model) in enumerate(pilot(2, 60)):
        if epoch not in (0, 1, 2, 4, 6, 9, 13, 20, 28, 40, 60):
            continue
        x = data.inputs[:8]
        score = Score(model, lambda output, rows: output[:, 0])
        games = [masked(score, row, features(10), torch.zeros(10)) for row in x]
        history.append(Snapshot(epoch, tuple(and_interaction(game) for game in games)))
        truth = [
            Interactions(data.members, torch.zeros(4).bool(), row.double(), 0.0, games[0].names)
            for row in data.products(x)
        ]
    found = learning_epochs(history, truth=truth)
    steps = found.curves["step"].tolist()
    assert steps == sorted(set(steps))
    assert found.numbers["ordered"] == 1
    assert found.numbers["correlation_low"] > 0.9
    assert found.curves["learned"][:3].tolist() == [1, 1, 1]
    curves = learning_curves(history, truth=truth).curves
    half_way = [float(curves[f"order_{k}"][5]) for k in range(1, 5)]  # at epoch 9
    assert half_way[1] > 0.8
    assert max(half_way[2:]) < 0.2
