import pytest
import torch
from torch import nn

from unmask.zoo.lenet import LeNet, SmallLeNet
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe, Words, trained
from unmask.zoo.transformer import TransformerClassifier


def task():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] * x[:, 1] > 0).long()


def test_a_network_learns_what_no_linear_one_can():
    x, labels = task()
    model = trained(lambda: MLP((4, 16, 2)), x[:200], labels[:200], Recipe(60, 20, 1e-2))
    assert (model(x[200:]).argmax(1) == labels[200:]).float().mean() > 0.9
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_seed_alone_decides_even_with_dropout():
    def make():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))

    def weights(seed, disturbance):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(disturbance)
            before = torch.get_rng_state()
            model = trained(make, *task(), Recipe(2, seed=seed))
            assert torch.get_rng_state().equal(before)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert weights(1, 10).equal(weights(1, 20))
    assert not weights(1, 10).equal(weights(2, 10))


def test_training_works_where_gradients_are_off():
    with torch.no_grad():
        first = trained(lambda: MLP((4, 2)), *task(), Recipe(1))
    second = trained(lambda: MLP((4, 2)), *task(), Recipe(1))
    assert first.layers[0].weight.equal(second.layers[0].weight)


def test_words_are_hidden_but_never_the_padding():
    ids = torch.tensor([[5, 6, 7, 8, 9, 0, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0]]).repeat(500, 1)
    words = Words(padding=0, mask=1, hidden=0.5)
    changed = words(ids, torch.Generator().manual_seed(0))
    assert changed.shape == (1000, 5)  # what is padding in all of them is cut off
    assert ((changed == 0) == (ids[:, :5] == 0)).all()
    kept = changed == ids[:, :5]
    assert (changed[~kept] == 1).all()
    share = (changed == 1).sum() / (ids != 0).sum()
    assert share.item() == pytest.approx(0.25, abs=0.03)
    assert words.lengths(ids)[:2].tolist() == [5, 2]


def test_padding_does_not_change_a_text():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TransformerClassifier(20, 3, width=8, heads=2).double().eval()
        nn.init.normal_(model.position)
    short, long = torch.tensor([[4, 5, 6]]), torch.tensor([[7, 8, 9, 10, 11]])
    both = torch.tensor([[4, 5, 6, 0, 0], [7, 8, 9, 10, 11]])
    apart = torch.cat([model(short), model(long)])
    assert torch.allclose(model(both), apart, rtol=0, atol=1e-12)
    assert not torch.allclose(model(short), model(short.flip(1)), atol=1e-3)


def test_lenets_have_the_shapes_of_their_images():
    assert LeNet()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert sum(p.numel() for p in LeNet().parameters()) == 61_706  # LeCun et al. 1998, fully joined
    assert SmallLeNet()(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
