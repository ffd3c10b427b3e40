import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from randomized import count, seed
from unmask import log_odds, logit
from unmask.evaluation import data_randomization
from unmask.methods.saliency import gradient
from unmask.results import Attribution


def clouds(rows=40, wide=6, number=0):
    """Two classes that differ in the first feature alone."""
    x = torch.randn(rows, wide, generator=seed(number))
    labels = torch.arange(rows) % 2
    x[:, 0] = (2.0 * labels - 1) * (0.5 + x[:, 0].abs())
    return x, labels


def train(data, labels, generator):
    """Wide enough to know a few rows by heart."""
    model = nn.Sequential(nn.Linear(data.shape[1], 128), nn.ReLU(), nn.Linear(128, 2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(data), labels).backward()
        optimiser.step()
    return model.eval()


def test_a_gradient_tells_learnt_labels_from_memorised_ones():
    data, labels = clouds()
    other, _ = clouds(number=1)
    found = data_randomization(data, labels, explain=gradient, train=train, x=other, repeats=2)
    ceiling, permuted = found.curve.mean(0).tolist()
    assert permuted < ceiling - 0.2
    assert torch.equal(found.values, found.curve[:, 1])
    assert found.at.tolist() == [0, 1]
    assert not found.higher_is_better


def test_what_ignores_the_model_tells_nothing():
    data, labels = clouds()
    found = data_randomization(
        data, labels, explain=lambda _, x: Attribution(x.abs()), train=train, repeats=2
    )
    assert found.curve.flatten().tolist() == pytest.approx([1.0] * 80)


@pytest.mark.parametrize("repeats", [2, 3])
def test_a_slow_twin(repeats):
    data, labels = clouds(12)
    models, told = [], []

    def kept(data, labels, generator):
        models.append(train(data, labels, generator))
        told.append(labels)
        return models[-1]

    found = data_randomization(
        data, labels, explain=gradient, train=kept, repeats=repeats, reading=log_odds
    )
    assert len(models) == 2 * repeats
    assert all(torch.equal(one, labels) for one in told[::2])
    assert all(not torch.equal(one, labels) for one in told[1::2])
    assert all(torch.equal(one.bincount(), labels.bincount()) for one in told[1::2])
    pairs = [(i, i + 1) for i in range(repeats - 1)] + [(repeats - 1, 0)] * (repeats > 2)
    for i in range(12):
        y = int(models[0](data[i : i + 1]).argmax())
        maps = [gradient(log_odds(one, y), data[i : i + 1]).values[0].numpy() for one in models]
        permuted = [spearmanr(maps[2 * r], maps[2 * r + 1]).statistic for r in range(repeats)]
        ceiling = [spearmanr(maps[2 * a], maps[2 * b]).statistic for a, b in pairs]
        assert float(found.curve[i, 0]) == pytest.approx(sum(ceiling) / len(ceiling), abs=1e-6)
        assert float(found.values[i]) == pytest.approx(sum(permuted) / repeats, abs=1e-6)


def test_chance_comes_from_the_generator_and_stays_there():
    """Layers that are drawn by torch itself are drawn from the generator as well."""
    data, labels = clouds(8)

    def untrained(data, labels, generator):
        return nn.Linear(6, 2).eval()

    given = {"explain": gradient, "train": untrained, "min_train_accuracy": 0.0, "repeats": 2}
    before = torch.get_rng_state()
    one = data_randomization(data, labels, generator=seed(3), **given)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        same = data_randomization(data, labels, generator=seed(3), **given)
    other = data_randomization(data, labels, generator=seed(4), **given)
    assert torch.equal(one.values, same.values)
    assert not torch.equal(one.values, other.values)


def test_evaluations_are_counted():
    data, labels = clouds(8)
    found = data_randomization(data, labels, explain=count, train=train, repeats=2)
    assert found.evaluations == 4 * 8


def test_what_cannot_be_is_refused():
    data, labels = clouds(8)

    def call(data=data, labels=labels, **options):
        return data_randomization(
            data, labels, **{"explain": gradient, "train": train, "repeats": 2} | options
        )

    with pytest.raises(RuntimeError, match=r"did not learn its true labels.*100.0%.*Train for"):
        call(train=lambda *_: always_zero(), min_train_accuracy=1.0)
    with pytest.raises(RuntimeError, match="did not learn its permuted labels"):
        call(train=lambda data, _, __: by_first_feature())
    with pytest.raises(TypeError, match="train returned a function"):
        call(train=lambda *_: lambda x: x)
    with pytest.raises(ValueError, match="give no ceiling"):
        call(repeats=1)
    with pytest.raises(ValueError, match=r"8 rows of data, but labels of shape \(7,\)"):
        call(labels=labels[:7])
    with pytest.raises(ValueError, match="All 8 labels are the same"):
        call(labels=labels * 0)
    with pytest.raises(ValueError, match="The data must be finite"):
        call(data=data / 0)
    with pytest.raises(ValueError, match="batch normalisation in training"):
        call(train=lambda *_: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)))
    with pytest.raises(TypeError, match="returns an Attribution"):
        call(explain=lambda _, x: x)


def always_zero():
    model = nn.Linear(6, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    return model


def by_first_feature():
    model = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[:, 0] = torch.tensor([-1.0, 1.0])
    return model


def test_on_real_tables():
    from exhibits import exhibit

    shown = exhibit("breast_cancer")
    x, labels = torch.stack(shown.inputs[:60]), torch.tensor(shown.labels[:60])
    found = data_randomization(x, labels, explain=gradient, train=train, reading=logit, repeats=2)
    ceiling, permuted = found.curve.nanmean(0).tolist()
    assert permuted < ceiling
