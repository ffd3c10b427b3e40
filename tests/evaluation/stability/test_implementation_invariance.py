import pytest
import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from unmask import Attribution, log_odds, logit, predicted, zoo
from unmask.evaluation import implementation_invariance
from unmask.methods.saliency import gradient, input_x_gradient, integrated_gradients, lrp
from unmask.methods.saliency.propagation.rules import Rules, alpha_beta


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double().eval()


def normalised():
    """A network with batch normalisation, and the same with it merged into its convolution."""
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        )
    )
    with torch.no_grad():
        network[1].running_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
        network[1].running_var.copy_(torch.tensor([0.5, 2.0, 1.5, 0.7]))
        network[1].weight.copy_(torch.tensor([1.5, -0.5, 2.0, 1.0]))
    merged = nn.Sequential(fuse_conv_bn_eval(network[0], network[1]), *network[2:])
    return network, merged


def split():
    """A linear layer, and the same as the product of two."""
    network = seeded(lambda: nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)))
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).double())[
        0
    ]
    first, second = nn.Linear(16, 8).double(), nn.Linear(8, 8, bias=False).double()
    with torch.no_grad():
        first.weight.copy_(turn @ network[0].weight)
        first.bias.copy_(turn @ network[0].bias)
        second.weight.copy_(turn.T)
    return network, nn.Sequential(first, second, *network[1:])


@pytest.mark.parametrize(("make", "shape"), [(normalised, (1, 6, 6)), (split, (16,))])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_gradients_do_not_see_how_a_function_is_computed(make, shape, batch_size):
    network, rewritten = make()
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(2)).double()
    target = predicted(network, x)

    def paths(score, x):
        return integrated_gradients(score, x, baseline=torch.zeros_like(x[0]))

    for explain in (gradient, input_x_gradient, paths):
        rating = implementation_invariance(
            logit(network, target), x, rewritten=logit(rewritten, target), explain=explain,
            batch_size=batch_size,
        )  # fmt: skip
        assert (rating.values < 1e-6).all()
        assert not rating.higher_is_better


def by_sign(score, x):
    return lrp(score, x, rules=Rules(alpha_beta(), alpha_beta()))


def test_rules_layer_by_layer_do():
    network, rewritten = split()
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(2)).double()
    rating = implementation_invariance(
        logit(network, 0), x, rewritten=logit(rewritten, 0), explain=by_sign
    )
    one, other = (by_sign(logit(model, 0), x).values for model in (network, rewritten))
    expected = [
        float(max(abs(a - b) for a, b in zip(p, q, strict=True)) / max(abs(a) for a in p))
        for p, q in zip(one, other, strict=True)
    ]
    assert rating.values.tolist() == pytest.approx(expected, rel=1e-12)
    assert rating.mean > 0.01


def test_what_says_nothing_is_undefined():
    score = logit(lambda x: x, 0)
    rating = implementation_invariance(
        score, torch.ones(1, 2), rewritten=score, explain=lambda score, x: Attribution(0 * x)
    )
    assert rating.undefined == 1


def test_another_function_is_refused():
    x = torch.ones(2, 3)
    score = logit(lambda x: x, 0)

    def explain(score, x):
        return Attribution(x)

    def asked(message, kind=ValueError, **options):
        with pytest.raises(kind, match=message):
            implementation_invariance(score, x, **({"explain": explain} | options))

    asked("is another function", rewritten=logit(lambda x: 1.01 * x, 0))
    asked("is of 3 inputs", rewritten=logit(lambda x: x, torch.tensor([0, 0, 0])))
    models = iter([x, x[:, :2]])
    asked("in the same way", rewritten=score, explain=lambda s, x: Attribution(next(models)))


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_a_real_network_whose_outputs_are_doubled_and_halved(name):
    found = getattr(zoo, name)()
    x = torch.stack(found.inputs[:8])
    rewritten = nn.Sequential(found.model, Times(2.0), Times(0.5))
    target = predicted(found.model, x)
    for explain in (gradient, input_x_gradient):
        rating = implementation_invariance(
            log_odds(found.model, target), x, rewritten=log_odds(rewritten, target), explain=explain
        )
        assert (rating.values < 1e-6).all()


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x
