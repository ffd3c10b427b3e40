import os
from math import exp, log, sqrt

import pytest
import torch
from torch import nn

from unmask import log_odds, logit, predicted
from unmask.methods.saliency import information_bottleneck
from unmask.methods.saliency.activation_maps.rest_of_model import rest_of_model


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            *(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3)),
        ).double()


def slow_map(model, x, data, target, seeds, *, beta, rate, sigma):
    """One input by itself, unit by unit where it can be; Adam written out."""
    with torch.no_grad():
        r, all_r = model[:2](x[None])[0], model[:2](data)
    mean, deviation = all_r.mean(0), all_r.std(0).clamp_min(0.01)
    alive = ((all_r != 0).double().mean(0) >= 0.01).double()
    rows, columns = r.shape[1:]
    reach = round(2 * sigma)
    weights = {
        (a, b): exp(-(a * a + b * b) / (2 * sigma**2))
        for a in range(-reach, reach + 1)
        for b in range(-reach, reach + 1)
    }
    total = sum(weights.values())

    def blurred(y):
        out = torch.zeros_like(y)
        for i in range(rows):
            for j in range(columns):
                for (a, b), weight in weights.items():
                    row, column = min(max(i + a, 0), rows - 1), min(max(j + b, 0), columns - 1)
                    out[:, i, j] += weight / total * y[:, row, column]
        return out

    def nats(part):
        scaled = part * (r - mean) / deviation
        return -0.5 * (1 + ((1 - part) ** 2).log() - scaled**2 - (1 - part) ** 2) * alive

    alpha = torch.full_like(r, 5.0)
    first, second = torch.zeros_like(r), torch.zeros_like(r)
    for step, of_step in enumerate(seeds, 1):
        alpha.requires_grad_()
        part = blurred(alpha.sigmoid())
        cost = beta * nats(part).mean()
        for seed in of_step:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(r.shape, generator=generator, dtype=r.dtype)
            z = (part * r + (1 - part) * (mean + deviation * noise)) * alive
            output = model[2:](z[None])[0]
            cost = cost - (output.log_softmax(0)[target]) / len(of_step)
        (gradient,) = torch.autograd.grad(cost, alpha)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        move = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        alpha = alpha.detach() - rate * move
    return nats(blurred(alpha.sigmoid())).sum(0) / log(2)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_the_definition(batch_size):
    model, data = network(), drawn(30, 1, 4, 5)
    with torch.no_grad():
        model[0].bias[2] = -50.0  # a dead unit: shut off, and worth no bits
    x, targets = drawn(2, 1, 4, 5, seed=1), torch.tensor([2, 0])
    found = information_bottleneck(
        log_odds(model, targets),
        x,
        data=data,
        layer="1",
        beta=4.0,
        steps=3,
        samples=4,
        rate=0.7,
        upsample=False,
        generator=torch.Generator().manual_seed(9),
        batch_size=batch_size,
    )
    generator = torch.Generator().manual_seed(9)
    seeds = torch.randint(2**62, (3, 4), generator=generator).tolist()
    for i in range(2):
        expected = slow_map(
            model, x[i], data, int(targets[i]), seeds, beta=4.0, rate=0.7, sigma=1.0
        )
        assert torch.allclose(found.values[i, 0], expected, atol=1e-8)
    assert found.gap is None


def single():
    """A unit that is its input, of mean 0 and deviation 1 over the data."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(1, 1)).double()
    data = torch.tensor([1 / sqrt(2), -1 / sqrt(2)]).double().view(2, 1, 1, 1)
    return model, data


@pytest.mark.parametrize(
    ("rate", "bits"),
    # Adam's first step is its rate: lambda falls from sigmoid(5) to sigmoid(5 - rate).
    [(5.0, 1.180337), (1000.0, 0.0)],
)
def test_the_bits_of_one_unit(rate, bits):
    model, data = single()
    x = torch.full((1, 1, 1, 1), 2.0).double()
    found = information_bottleneck(
        log_odds(model, 1), x, data=data, layer="0", beta=1e6, steps=1, rate=rate
    )
    assert float(found.values) == pytest.approx(bits, abs=1e-6)


def test_a_high_price_leaves_nothing():
    model, data = network(), drawn(50, 1, 4, 5)
    x = drawn(3, 1, 4, 5, seed=1)
    found = information_bottleneck(
        log_odds(model, 1), x, data=data, layer="1", beta=1e6, upsample=False
    )
    assert found.values.mean() / 3 < 1e-3  # bits per unit, of three channels
    kept = [
        float(
            information_bottleneck(
                log_odds(model, 1), x, data=data, layer="1", beta=beta
            ).values.sum()
        )
        for beta in (0.0, 1.0, 100.0)
    ]
    assert kept[0] > kept[1] > kept[2] > 0


def test_without_a_price_the_loss_does_not_rise():
    """With beta = 0 all steps serve the score: the mean loss under fresh noise falls."""
    model, data, x = network(1), drawn(50, 1, 4, 5), drawn(4, 1, 4, 5, seed=1)
    target = predicted(model, x)
    with torch.no_grad():
        r = model[:2](x)
        mean, deviation = model[:2](data).mean(0), model[:2](data).std(0)
        noise = mean + deviation * drawn(2000, 1, *mean.shape, seed=5)
    # Without blur and with steps far too small to move, one bit map shows where lambda started;
    # lambda is read back from the bits of a single channel, which grow with it.
    one = nn.Sequential(*model[:2], _Kept(0), *model[2:])
    score = log_odds(one, target)
    options = {"data": data, "layer": "2", "beta": 0.0, "blur": 0.0, "upsample": False}
    bits = information_bottleneck(score, x, **options, rate=0.5).values[:, 0]
    scaled = ((r - mean) / deviation.clamp_min(0.01))[:, 0]
    low, high = torch.zeros_like(bits), torch.full_like(bits, 1 - 1e-9)
    for _ in range(60):
        part = (low + high) / 2
        nats = -0.5 * (1 + ((1 - part) ** 2).log() - (part * scaled) ** 2 - (1 - part) ** 2)
        low, high = (
            torch.where(nats < bits * log(2), part, low),
            torch.where(nats < bits * log(2), high, part),
        )

    def losses(part):
        z = torch.zeros(2000, 4, *mean.shape).double()
        z[:, :, 0] = part * r[:, 0] + (1 - part) * noise[:, :, 0]
        output = model[2:](z.flatten(0, 1)).unflatten(0, (2000, 4))
        return -output.log_softmax(-1)[:, range(4), target].mean(0)

    with torch.no_grad():
        before, after = losses(torch.tensor(5.0).double().sigmoid()), losses((low + high) / 2)
    assert (after < before).all()


class _Kept(nn.Module):
    """Lets one channel through."""

    def __init__(self, channel):
        super().__init__()
        self.channel = channel

    def forward(self, x):
        return x * (torch.arange(x.shape[1]) == self.channel).view(-1, 1, 1)


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_what_the_network_does_not_read_holds_no_bits(blur):
    torch.manual_seed(0)
    head = nn.Linear(2 * 8 * 12, 2).double()
    with torch.no_grad():
        head.weight.view(2, 2, 8, 12)[:, :, :, 6:] = 0
        head.weight *= 3
    model = nn.Sequential(nn.Conv2d(1, 2, 1).double(), nn.Flatten(), head)
    data, x = drawn(200, 1, 8, 12), drawn(3, 1, 8, 12, seed=1)
    found = information_bottleneck(
        log_odds(model, predicted(model, x)), x, data=data, layer="0", beta=1.0, blur=blur, steps=50
    )
    right = found.values[..., 6 + 2 * int(blur) :].sum((1, 2, 3))
    assert (right < 0.01 * found.values.sum((1, 2, 3))).all()


def test_stretched_bits_add_up():
    model, data, x = network(), drawn(30, 1, 8, 10), drawn(2, 1, 8, 10, seed=1)
    model = nn.Sequential(model[0], nn.ReLU(), nn.MaxPool2d(2), *model[2:])
    options = {"data": data, "layer": "2", "beta": 1.0}
    small = information_bottleneck(log_odds(model, 1), x, **options, upsample=False).values
    large = information_bottleneck(log_odds(model, 1), x, **options).values
    assert small.shape == (2, 1, 4, 5)
    assert large.shape == (2, 1, 8, 10)
    # at twice the size every pixel of the layer counts four times, but near the border
    assert torch.allclose(large.sum((1, 2, 3)), small.sum((1, 2, 3)), rtol=1e-9)


def test_the_model_sees_no_more_than_a_batch_and_little_of_its_beginning():
    rows = {"first": [], "last": []}

    class Seen(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            rows[self.name].append(len(x))
            return x

    model = network()
    model = nn.Sequential(nn.Sequential(Seen("first"), *model[:2]), Seen("last"), *model[2:])
    data, x = drawn(20, 1, 4, 5), drawn(6, 1, 4, 5, seed=1)
    found = information_bottleneck(
        log_odds(model, 1), x, data=data, layer="0", steps=7, samples=10, batch_size=4
    )
    assert max(rows["last"]) <= 4
    assert sum(rows["first"]) == 20 + 6
    assert sum(rows["last"]) == found.evaluations == 20 + 6 * (1 + 2 + 70)


def test_inputs_do_not_disturb_each_other():
    model, data, x = network(), drawn(30, 1, 4, 5), drawn(3, 1, 4, 5, seed=1)
    together = information_bottleneck(log_odds(model, 1), x, data=data, layer="1").values
    alone = information_bottleneck(log_odds(model, 1), x[1:2], data=data, layer="1").values
    assert torch.allclose(together[1:2], alone, atol=1e-9)
    other = torch.Generator().manual_seed(5)
    moved = information_bottleneck(
        log_odds(model, 1), x, data=data, layer="1", generator=other
    ).values
    assert not torch.allclose(moved, together, atol=1e-6)


def test_constant_units_and_tiny_layers():
    model, data = single()
    x = torch.ones(1, 1, 1, 1).double()
    still = information_bottleneck(log_odds(model, 1), x, data=0 * data, layer="0")
    assert float(still.values) == 0.0  # never anything but zero on the data
    found = information_bottleneck(log_odds(model, 1), x, data=0 * data + 1, layer="0")
    assert found.values.isfinite().all()


def test_what_is_refused():
    model, data, x = network(), drawn(30, 1, 4, 5), drawn(2, 1, 4, 5)
    score = log_odds(model, 1)
    given = {"data": data, "layer": "1"}
    for wrong in (
        {"beta": -1.0},
        {"steps": 0},
        {"samples": 0},
        {"rate": 0.0},
        {"blur": -1.0},
        {"beta": float("nan")},
    ):
        with pytest.raises(ValueError, match=r"No bottleneck comes of .* Give at least 1 step"):
            information_bottleneck(score, x, **given, **wrong)
    with pytest.raises(ValueError, match=r"batch of 0 inputs is too small"):
        information_bottleneck(score, x, **given, batch_size=0)
    with pytest.raises(ValueError, match=r"data have shape \(30, 1, 5, 5\), the inputs"):
        information_bottleneck(score, x, data=drawn(30, 1, 5, 5), layer="1")
    with pytest.raises(ValueError, match=r"data have shape \(1, 1, 4, 5\).*two images"):
        information_bottleneck(score, x, data=data[:1], layer="1")
    with pytest.raises(ValueError, match="data must be finite"):
        information_bottleneck(score, x, data=data / 0, layer="1")
    with pytest.raises(ValueError, match=r"Layer 'middle' is not in the model"):
        information_bottleneck(score, x, data=data, layer="middle")
    with pytest.raises(
        ValueError, match=r"shape \(15, 40\).*Name a convolutional layer\.|\(\d+, 40"
    ):
        information_bottleneck(score, x, data=data, layer="4")
    with pytest.raises(TypeError, match=r"information_bottleneck needs the layers"):
        information_bottleneck(log_odds(lambda x: x, 1), x, **given)
    cut = nn.Sequential(*model[:2], nn.Identity(), *model[2:])
    cut[2].forward = lambda x: x.detach()
    with pytest.raises(ValueError, match=r"does not depend on layer '1' by any differentiable"):
        information_bottleneck(logit(cut, 1), x, **given)
    root = type(score)(model, lambda output, rows: (output[:, 0] - output[:, 0].detach()).sqrt())
    with pytest.raises(ValueError, match=r"noisy layer, or its gradient, is not finite. Look"):
        information_bottleneck(root, x, **given)


def test_a_failing_model_is_left_as_it_was():
    class Fragile(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.calls = nn.Conv2d(1, 2, 1).double(), 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 6:
                raise RuntimeError("no more")
            return self.conv(x).mean((2, 3))

    model, x = Fragile(), drawn(2, 1, 4, 5)
    with pytest.raises(RuntimeError, match="no more"):
        information_bottleneck(logit(model, 1), x, data=drawn(3, 1, 4, 5), layer="conv")
    assert not model.conv._forward_hooks
    assert "forward" not in vars(model.conv)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_resnet_keeps_what_it_needs():
    """On photos the bits lie where hiding them costs the class most."""
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    from unmask.zoo import cifar10

    exhibit = cifar10()
    data = torch.stack(exhibit.inputs)
    x = data[:30]
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    values = information_bottleneck(score, x, data=data, layer="layer2", batch_size=200).values
    assert (values >= -1e-6).all()
    most = values.flatten(1).argsort(dim=1, descending=True)
    grey, falls = exhibit.baseline(0), []
    for places in (most[:, :256], most[:, -256:]):
        hidden = torch.zeros(len(x), 1024, dtype=torch.bool).scatter(1, places, True)
        with torch.no_grad():
            falls.append(
                (score(x) - score(torch.where(hidden.view(-1, 1, 32, 32), grey, x))).mean()
            )
    assert falls[0] > 1.5 * falls[1]


def test_a_small_lenet_reads_the_ink():
    from unmask.zoo import digits

    exhibit = digits()
    data = torch.stack(exhibit.inputs)
    score = log_odds(exhibit.model, predicted(exhibit.model, data[:10]))
    rest = rest_of_model(score, data[:10], "features.1")
    assert not rest.reaches
    values = information_bottleneck(score, data[:10], data=data, layer="features.1").values
    inked = (data[:10] > 0).float()
    on = (values * inked).sum() / inked.sum()
    assert on > (values * (1 - inked)).sum() / (1 - inked).sum()
