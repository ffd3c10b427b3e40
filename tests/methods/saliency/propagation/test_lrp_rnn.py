import pytest
import torch
from torch import nn

from exhibits import exhibit
from strategies import relu_network
from unmask import logit
from unmask.methods.saliency import lrp, lrp_rnn
from unmask.methods.saliency.propagation.rules import Rules, epsilon


class Reader(nn.Module):
    """A recurrent layer and a linear one that reads its last state, or all of its states."""

    def __init__(self, kind=nn.LSTM, whole=False, **options):
        super().__init__()
        self.whole = whole
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.rnn = kind(4, 5, batch_first=True, **options)
            self.head = nn.Linear(10 if options.get("bidirectional") else 5, 3, bias=False)
        self.double().eval()

    def forward(self, x):
        states = self.rnn(x)[0]
        return self.head(states.sum(1) if self.whole else states[:, -1])


def sequences(rows=2, tokens=6):
    return torch.randn(rows, tokens, 4, generator=torch.Generator().manual_seed(1)).double()


@torch.no_grad()
def slow_lstm(model, x, target, eps, bias_factor):
    """The recursion of Arras and others, one step of time after another."""
    rnn, steps, size = model.rnn, len(x), model.rnn.hidden_size
    w_x, w_h, b = rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0
    h, c = [torch.zeros(size).double()], [torch.zeros(size).double()]
    gates = []
    for t in range(steps):
        z = w_x @ x[t] + w_h @ h[-1] + b
        i, f, g, o = z.split(size)
        i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
        c.append(f * c[-1] + i * g.tanh())
        h.append(o * c[-1].tanh())
        gates.append((i, f, g))

    def shared(inputs, weight, z, bias, r, count, factor):
        """Of the relevance r of z, what goes to each input."""
        sign = torch.where(z >= 0, 1.0, -1.0).double()
        parts = torch.zeros(len(inputs)).double()
        for j in range(len(inputs)):
            for k in range(len(z)):
                spread = factor * (bias[k] + eps * sign[k]) / count
                parts[j] += (weight[k, j] * inputs[j] + spread) / (z[k] + eps * sign[k]) * r[k]
        return parts

    out = model.head.weight @ h[-1]
    only = slice(target, target + 1)
    r_h = shared(h[-1], model.head.weight[only], out[only], 0 * out[only], out[only], size, 0.0)
    r_c = torch.zeros(size).double()
    relevance = torch.zeros_like(x)
    rows = slice(2 * size, 3 * size)
    for t in range(steps - 1, -1, -1):
        i, f, g = gates[t]
        r_c = r_c + r_h
        r_g = i * g.tanh() / c[t + 1] * r_c
        r_c = f * c[t] / c[t + 1] * r_c
        count = x.shape[1] + (size if t else 0)  # the first state is zero, and takes no part
        relevance[t] = shared(x[t], w_x[rows], g, b[rows], r_g, count, bias_factor)
        r_h = shared(h[t], w_h[rows], g, b[rows], r_g, count, bias_factor)
    return relevance


@pytest.mark.parametrize(
    ("eps", "bias_factor"), [(0.0, 0.0), (1e-3, 0.0), (0.05, 1.0), (0.05, 0.3)]
)
def test_the_slow_twin_agrees(eps, bias_factor):
    model, x = Reader(), sequences()
    found = lrp_rnn(logit(model, 1), x, epsilon=eps, bias_share=bias_factor)
    for row, values in zip(x, found.values, strict=True):
        assert torch.allclose(values, slow_lstm(model, row, 1, eps, bias_factor), atol=1e-12)


@torch.no_grad()
def test_a_gated_unit_by_hand():
    # One step of one unit: n = tanh(w x + r u h), h' = (1 - z) n + z h, from a state of its own.
    cell = nn.GRUCell(1, 1).double()
    x, h = torch.tensor([[0.7]]).double(), torch.tensor([[-0.4]]).double()
    w_x, w_h, b_x, b_h = (p[:, 0] if p.ndim == 2 else p for p in cell.parameters())
    r = torch.sigmoid(w_x[0] * 0.7 + b_x[0] + w_h[0] * -0.4 + b_h[0])
    z = torch.sigmoid(w_x[1] * 0.7 + b_x[1] + w_h[1] * -0.4 + b_h[1])
    of_x, of_h, of_b = w_x[2] * 0.7, r * w_h[2] * -0.4, b_x[2] + r * b_h[2]
    n = torch.tanh(of_x + of_h + of_b)
    to_n = (1 - z) * n
    expected_x = to_n * of_x / (of_x + of_h + of_b)
    expected_h = z * -0.4 + to_n * of_h / (of_x + of_h + of_b)
    both = torch.cat([x, h], 1)[:, None]
    found = lrp_rnn(logit(lambda x: cell(x[:, 0, :1], x[:, 0, 1:]), 0), both, epsilon=0.0)
    assert found.values[0, 0].tolist() == pytest.approx([float(expected_x), float(expected_h)])


KINDS = pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])


@KINDS
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}], ids=str
)
def test_nothing_is_lost(kind, options):
    model, x = Reader(kind, whole=True, bias=False, **options), sequences()
    score = logit(model, torch.tensor([1, 2]))
    found = lrp_rnn(score, x, epsilon=0.0)
    assert torch.allclose(found.values.sum((1, 2)), score(x).detach(), atol=1e-12)
    model = Reader(kind, whole=True, **options)
    score = logit(model, torch.tensor([1, 2]))
    # What the linear layer behind keeps is its epsilon, and that is all.
    spread = lrp_rnn(score, x, epsilon=1e-9, bias_share=1.0)
    assert torch.allclose(spread.values.sum((1, 2)), score(x).detach(), atol=1e-7)
    assert lrp_rnn(score, x).gap.abs().max() > 1e-3  # without spreading, biases keep their part


@KINDS
def test_both_directions_and_a_batch_axis_behind_time(kind):
    class Turned(Reader):
        def forward(self, x):
            states = self.rnn(x.transpose(0, 1))[0]
            return self.head(states[-1])

    model, x = Reader(kind), sequences()
    turned = Turned(kind)
    turned.rnn.batch_first = False
    turned.load_state_dict(model.state_dict())
    one, other = (lrp_rnn(logit(m, 1), x).values for m in (model, turned))
    assert torch.allclose(one, other, atol=1e-12)
    # Of a backward layer: the forward one on the reversed sequence.
    both = Reader(kind, bidirectional=True, whole=True)
    state = both.state_dict()
    forward = {k: v for k, v in state.items() if k.startswith("rnn") and not k.endswith("_reverse")}
    for name in forward:
        state[name + "_reverse"] = forward[name]
    state["head.weight"] = torch.cat([model.head.weight, model.head.weight], 1)
    both.load_state_dict(state)
    x = torch.cat([x, x.flip(1)], 1)  # a palindrome
    values = lrp_rnn(logit(both, 1), x).values
    assert torch.allclose(values, values.flip(1), atol=1e-12)


def test_later_words_do_not_matter_to_an_earlier_state():
    model, x = Reader(), sequences()
    first = logit(lambda x: model.head(model.rnn(x)[0][:, 2]), 1)
    values = lrp_rnn(first, x).values
    assert (values[:, 3:] == 0).all()
    assert values[:, :3].abs().amin((1, 2)).min() > 0


def test_hidden_state_and_cell_are_handed_back_too():
    model, x = Reader(bias=False), sequences()
    score = logit(
        lambda x: torch.cat([state[0].sum(1, keepdim=True) for state in model.rnn(x)[1]], 1), 1
    )
    found = lrp_rnn(score, x, epsilon=0.0)
    assert torch.allclose(found.values.sum((1, 2)), score(x).detach(), atol=1e-12)


def test_without_recurrence_it_is_lrp():
    model = nn.Sequential(nn.Flatten(), *relu_network([12, 8, 3], seed=0))
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    rules = Rules(epsilon(0.01), epsilon(0.01))
    expected = lrp(logit(model, 1), x, rules=rules).values
    assert torch.allclose(lrp_rnn(logit(model, 1), x, epsilon=0.01).values, expected)


def test_plain_lrp_meets_recurrent_layers_by_the_same_rules():
    model, x = Reader(), sequences()
    expected = lrp_rnn(logit(model, 1), x, epsilon=1e-6).values
    assert torch.allclose(lrp(logit(model, 1), x).values, expected, atol=1e-9)


def test_refusals():
    model, x = Reader(), sequences()
    score = logit(model, 1)
    with pytest.raises(ValueError, match=r"2.0 is no share of what biases take\. Give"):
        lrp_rnn(score, x, bias_share=2.0)
    with pytest.raises(ValueError, match=r"epsilon .* is -1\.0\. Give"):
        lrp_rnn(score, x, epsilon=-1.0)

    def packed(x):
        lengths = torch.full((len(x),), x.shape[1])
        bag = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return model.head(model.rnn(bag)[1][0][-1])

    with pytest.raises(TypeError, match=r"no rule .* '_pack_padded_sequence'"):
        lrp_rnn(logit(packed, 1), x)
    projecting = nn.LSTM(4, 5, proj_size=3, batch_first=True).double().eval()
    with pytest.raises(ValueError, match=r"projects its states\. Use"):
        lrp_rnn(logit(lambda x: projecting(x)[0][:, -1], 1), x)
    dropping = nn.LSTM(4, 5, 2, dropout=0.5, batch_first=True).double()
    with pytest.raises(ValueError, match=r"dropout of 0.5 between .* Call model.eval\(\)"):
        lrp_rnn(logit(lambda x: dropping(x)[0][:, -1], 1), x)


def test_a_reader_that_was_trained_finds_the_word_that_counts():
    """The planted word decides the class; all others are noise."""
    generator = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(512, 8, 4, generator=generator)
    place = torch.randint(0, 8, (512,), generator=generator)
    labels = torch.randint(0, 2, (512,), generator=generator)
    x[torch.arange(512), place, 0] = 4.0 * (2 * labels - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.ModuleDict({"rnn": nn.LSTM(4, 16, batch_first=True), "head": nn.Linear(16, 2)})

    def run(x):
        return model["head"](model["rnn"](x)[0][:, -1])

    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(run(x), labels).backward()
        optimiser.step()
    model.zero_grad()
    sure = (run(x).argmax(1) == labels).nonzero()[:, 0][:64]
    assert len(sure) == 64
    found = lrp_rnn(logit(run, labels[sure]), x[sure]).values.sum(2)
    assert (found.argmax(1) == place[sure]).float().mean() > 0.9


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_rows_of_real_digits_as_words(name):
    """An untrained reader of real images, row by row: conservation on real numbers."""
    shown = exhibit(name)
    x = torch.stack(shown.inputs[:3])[:, 0].double()
    width = x.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = nn.LSTM(width, 8, bias=False, batch_first=True).double()
    score = logit(lambda x: reader(x)[0][:, -1], 3)
    found = lrp_rnn(score, x, epsilon=0.0)
    assert torch.allclose(found.values.sum((1, 2)), score(x).detach(), atol=1e-10)
    assert (found.values[x == 0] == 0).all()
