import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask.operations import KINDS, Operation, Replaced, UnsupportedLayer, affine, place

X = torch.linspace(-2, 2, 48, dtype=torch.float64).view(2, 4, 6)


def seen(function, *kinds):
    """The operations of some kinds that a function calls, in order."""
    met = []

    def note(operation):
        met.append(operation)
        return operation()

    with Replaced(dict.fromkeys(kinds or set(KINDS.values()), note)):
        value = function()
    return met, value


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: functional.relu(x), "relu"),
        (lambda x: x.relu(), "relu"),
        (lambda x: nn.ReLU()(x), "relu"),
        (lambda x: x.clone().relu_(), "relu"),
        (lambda x: nn.ReLU(inplace=True)(x.clone()), "relu"),
        (lambda x: functional.relu6(x), "clamp"),
        (lambda x: nn.Hardtanh(inplace=True)(x.clone()), "clamp"),
        (lambda x: nn.GELU()(x), "curve"),
        (lambda x: functional.silu(x.clone(), inplace=True), "curve"),
        (lambda x: functional.tanh(x), "curve"),
        (lambda x: x**2, "curve"),
        (lambda x: x * x, "product"),
        (lambda x: x.clone().mul_(x), "product"),
        (lambda x: 2 / x, "quotient"),
        (lambda x: x / 2, "quotient"),
        (lambda x: x @ x.mT, "contraction"),
        (lambda x: torch.einsum("bij,bkj->bik", x, x), "contraction"),
        (lambda x: functional.softmax(x, -1), "softmax"),
        (lambda x: nn.LayerNorm(6).double()(x), "normalisation"),
        (lambda x: nn.RMSNorm(6).double()(x), "normalisation"),
        (lambda x: functional.normalize(x), "normalisation"),
        (lambda x: nn.BatchNorm1d(4).double().eval()(x), "batch_norm"),
        (lambda x: nn.Linear(6, 3).double()(x), "affine"),
        (lambda x: nn.Conv1d(4, 3, 2).double()(x), "affine"),
        (lambda x: nn.ConvTranspose1d(4, 3, 2).double()(x), "affine"),
        (lambda x: torch.addmm(x[0, :, :4], x[0], x[1].T), "affine"),
        (lambda x: functional.max_pool1d(x, 2), "maximum"),
        (lambda x: nn.MaxPool1d(2)(x), "maximum"),
        (lambda x: functional.adaptive_max_pool1d(x, 2), "maximum"),
        (lambda x: x.amax(-1), "maximum"),
        (lambda x: nn.LSTM(6, 3).double()(x)[0], "recurrent"),
        (lambda x: nn.GRUCell(6, 3).double()(x[0]), "recurrent"),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), "attention"),
        (lambda x: nn.AvgPool1d(2)(x), "linear"),
        (lambda x: torch.cat([x, x]), "linear"),
        (lambda x: x + 1, "linear"),
    ],
)
def test_every_spelling_is_met_once_and_means_the_same(function, kind):
    torch.manual_seed(0)
    expected = function(X)
    torch.manual_seed(0)
    met, found = seen(lambda: function(X), kind)
    assert [operation.kind for operation in met] == [kind]
    assert torch.equal(found, expected)


def test_an_operation_in_place_is_handed_on_out_of_place_and_written_back():
    before, after = [], X.clone()

    def double(operation):
        before.append(operation.args[0].clone())
        return 2 * operation()

    with Replaced({"relu": double}):
        result = after.relu_()
    assert result is after
    assert torch.equal(before[0], X)
    assert torch.equal(after, 2 * X.clamp(min=0))


def test_a_handler_is_not_met_by_itself():
    with Replaced({"relu": lambda operation: torch.relu(operation()) + 1}):
        assert torch.equal(torch.relu(X), X.clamp(min=0) + 1)
    assert torch.equal(torch.relu(X), X.clamp(min=0))


def test_arguments_are_found_however_they_were_given():
    for given in (((X, 2), {}), ((X,), {"dim": 2})):
        operation = Operation("softmax", "softmax", torch.softmax, *given)
        assert operation.argument(1, "dim") == 2
    assert Operation("", "", torch.cat, ([X, X],)).tensors()[1] is X


def test_unknown_operations_are_told_of_where_they_matter():
    def refuse(operation):
        raise UnsupportedLayer(operation.name)

    moving = X.clone().requires_grad_()
    with Replaced({"unknown": refuse}):
        assert (moving * 2).sum().requires_grad
        assert moving.shape == X.shape
        assert moving.mT.requires_grad
        torch.fft.fft(X)
        torch.arange(3)
    with pytest.raises(UnsupportedLayer, match="fft_fft"), Replaced({"unknown": refuse}):
        torch.fft.fft(moving)
    assert issubclass(UnsupportedLayer, TypeError)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda bias: nn.Linear(6, 3, bias=bias),
        lambda bias: nn.Conv1d(4, 6, 3, padding=1, groups=2, bias=bias),
        lambda bias: nn.Conv1d(4, 6, 3, padding="same", padding_mode="circular", bias=bias),
        lambda bias: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, bias=bias),
    ],
)
def test_an_affine_operation_comes_apart_and_together(layer, bias):
    layer = layer(bias).double()
    met, found = seen(lambda: layer(X), "affine")
    parts = affine(met[0])
    assert torch.equal(parts.apply(parts.input, parts.weight, parts.bias), found)
    assert torch.equal(parts.weight, layer.weight)
    assert (parts.bias is not None) == bias
    twice = parts.apply(parts.input, 2 * parts.weight, None)
    once = parts.apply(parts.input, parts.weight, None)
    assert torch.allclose(twice, 2 * once)


def test_addmm_comes_apart():
    b, a, w = X[0, :, :3], X[0], X[1].T[:, :3]
    met, found = seen(lambda: torch.addmm(b, a, w), "affine")
    parts = affine(met[0])
    assert torch.equal(parts.apply(a, w, b), found)
    assert torch.allclose(parts.apply(a, w, None) + b, found)


def test_parameters_ask_for_no_gradient():
    layer, tied = nn.Linear(6, 6).double(), nn.Parameter(X[0].clone())
    met, value = seen(lambda: layer(X) @ tied.T + torch.cat([tied, tied]).sum())
    assert not any(operation.differentiable for operation in met)
    assert not value.requires_grad
    assert layer.weight.requires_grad
    assert tied.requires_grad
    met, value = seen(lambda: layer(X.clone().requires_grad_()))
    assert value.requires_grad


@pytest.mark.parametrize("weights", [True, False])
def test_a_layer_of_attention_is_met_as_what_it_is_made_of(weights):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, batch_first=True).double().eval()
    x = X.clone().requires_grad_()
    expected = layer(x, x, x, need_weights=weights)[0]
    kinds = set(KINDS.values()) - {"attention_layer"}
    met, (found, _) = seen(lambda: layer(x, x, x, need_weights=weights), *kinds)
    names = [operation.name for operation in met]
    assert names.count("linear") >= 2
    assert ("softmax" in names) == weights
    assert ("scaled_dot_product_attention" in names) != weights
    assert torch.allclose(found, expected, atol=1e-15)
    whole, _ = seen(lambda: layer(x, x, x), *KINDS.values())
    assert "multi_head_attention_forward" in [operation.name for operation in whole]


def test_the_place_is_the_layer_at_work():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.ReLU(), nn.Linear(6, 2)).double()

        def forward(self, x):
            return torch.relu(self.inner(x))

    model, places = Deep(), []

    def note(operation):
        places.append(place(model))
        return operation()

    with Replaced({"relu": note, "affine": note}):
        model(X)
        torch.relu(X)
    assert places == ["inner.0", "inner.1", "Deep", "the model"]


def test_a_handler_that_fails_leaves_no_mode():
    def fail(operation):
        raise RuntimeError("out of paper")

    def run():
        with Replaced({"relu": fail}):
            torch.relu(X)

    with pytest.raises(RuntimeError, match="out of paper"):
        run()
    assert torch.equal(torch.relu(X), X.clamp(min=0))


def test_a_handler_keeps_the_input_of_an_operation_in_place():
    seen = []

    def keep(operation):
        seen.append(operation)
        return operation()

    x = torch.tensor([-1.0, 2.0])
    with Replaced({"relu": keep}):
        y = x.clone()
        y.relu_()
    assert y.tolist() == [0, 2]
    assert seen[0].args[0].tolist() == [-1, 2]  # as it was, though the model has written over it
    assert seen[0].target is y


def test_a_handler_may_see_to_operations_in_place_itself():
    seen = []

    def run(operation):
        seen.append(operation.in_place)
        return operation()

    x = torch.tensor([-1.0, 2.0])
    with Replaced({"relu": run}, as_called=frozenset({"relu"})):
        x.relu()
        y = x.clone()
        assert torch.nn.functional.relu(y, inplace=True) is y
        assert y.clone().sub_(1).relu_().tolist() == [0, 1]
    assert seen == [False, True, True]
    assert y.tolist() == [0, 2]
