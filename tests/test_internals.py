import pytest
import torch
from hypothesis import given
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Score, log_odds, logit
from unmask.internals import (
    admit,
    admit_any,
    edit,
    frozen,
    layer,
    module_of,
    plain,
    record,
    refuse_broken,
    value_and_gradient,
)


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_layers_are_found_by_name():
    network = relu_network([4, 5, 3], seed=0)
    assert layer(network, "2") is network[2]
    assert layer(network, "") is network
    with pytest.raises(ValueError, match=r"Layer 'layer5' is not in the model. The nearest .*'0'"):
        layer(network, "layer5")
    with pytest.raises(ValueError, match=r"Linear that holds no layers of its own"):
        layer(network[0], "0")


def test_the_module_behind_a_score():
    network = relu_network([4, 3], seed=0)
    assert module_of(logit(network, 0), "lrp") is network
    with pytest.raises(TypeError, match=r"lrp needs the layers of the model, but .* a function"):
        module_of(logit(lambda x: x, 0), "lrp")


def test_recording_and_editing_leave_no_hook():
    network = relu_network([4, 5, 3], seed=0)
    x = torch.randn(2, 4, dtype=torch.float64)
    clean = network(x)
    with record(network, ["0", "1"]) as seen:
        network(x)
    assert torch.equal(seen["0"], x @ network[0].weight.T + network[0].bias)
    assert torch.equal(seen["1"], seen["0"].clamp_min(0))
    with edit(network, {"1": lambda output: 0 * output}):
        assert torch.equal(network(x), network[2].bias.expand(2, 3))
    assert torch.equal(network(x), clean)
    assert hooks(network) == 0


def test_errors_leave_no_hook_either():
    network = relu_network([4, 5, 3], seed=0)
    x = torch.randn(2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="not in the model"), record(network, ["0", "9"]):
        pass
    with pytest.raises(RuntimeError), record(network, ["0"]), edit(network, {"1": lambda o: o}):
        network(x[:, :2])
    assert hooks(network) == 0
    recurrent = nn.LSTM(3, 4)
    with pytest.raises(TypeError, match="puts out a tuple"), record(recurrent, [""]):
        recurrent(torch.zeros(2, 3))
    assert hooks(recurrent) == 0


def test_frozen_spares_parameters_and_restores_what_was():
    network = relu_network([4, 5, 3], seed=0)
    network[2].bias.requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()]
    with frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == before
    with pytest.raises(RuntimeError, match="inside"), frozen(network):
        raise RuntimeError("inside")
    assert [p.requires_grad for p in network.parameters()] == before
    with frozen(lambda x: x):
        pass


@given(networks(), tensors(3, 4))
def test_gradients_are_slopes(network, x):
    score = logit(network, 1)
    values, gradient = value_and_gradient(score, x)
    assert torch.allclose(values, network(x)[:, 1])
    step = 1e-6
    slopes = torch.zeros_like(x)
    for i in range(4):
        ahead, behind = x.clone(), x.clone()
        ahead[:, i] += step
        behind[:, i] -= step
        slopes[:, i] = (network(ahead) - network(behind))[:, 1].detach() / (2 * step)
    # At a kink of a ReLU the slope from both sides is between the two.
    inside = network[0](x).abs().min(1).values > 1e-4
    assert torch.allclose(gradient[inside], slopes[inside], atol=1e-5)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_gradients_leave_no_trace_and_come_from_any_mode(made, asked, grad):
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    values = torch.tensor([[1.0, -1.0, 2.0, 3.0]])
    with torch.inference_mode(made):
        x = values.clone()
    with torch.inference_mode(asked), torch.set_grad_enabled(grad):
        found, gradient = value_and_gradient(logit(network, 2), x)
    expected = network[1].weight[2].detach() * torch.tensor([1.0, 0.0, 1.0, 1.0])
    assert torch.allclose(gradient[0], expected)
    assert not found.requires_grad
    assert torch.equal(x, values)
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_rows_choose_the_class_of_each_row():
    network = relu_network([4, 3], seed=0)
    x = torch.randn(3, 4, dtype=torch.float64)
    rows = torch.tensor([1, 0, 1])
    _, gradient = value_and_gradient(logit(network, torch.tensor([0, 2])), x, rows)
    assert torch.equal(gradient, network[0].weight[[2, 0, 2]].detach())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: torch.ones(len(x), 2), "does not depend on x"),
        (lambda x: x.detach(), "does not depend on x"),
        (lambda x: (0 * x).sqrt(), "gradient of the logit of class 0 at input 0 is not finite"),
        (lambda x: x * torch.nan, "value of the logit of class 0 at input 0 is not finite"),
    ],
)
def test_a_missing_or_broken_gradient_is_an_error(model, words):
    with pytest.raises(ValueError, match=words):
        value_and_gradient(logit(model, 0), torch.ones(2, 2))


def test_a_model_that_only_reads_its_parameters_has_no_gradient_of_the_input():
    linear = nn.Linear(2, 2)
    model = nn.Sequential(linear)
    score = Score(model, lambda output, rows: linear.bias.sum().expand(len(output)))
    with pytest.raises(ValueError, match="does not depend on x"):
        value_and_gradient(score, torch.ones(2, 2))


@pytest.mark.parametrize("check", [admit, lambda model, _: module_of(model, "lrp")])
def test_a_model_is_no_score(check):
    """Under test the type checker may come first; it says the same in its own words."""
    with pytest.raises(TypeError, match=r"Say which number of a model is meant|Type-check error"):
        check(relu_network([4, 3], seed=0), torch.ones(2, 4))


def test_methods_of_gradients_admit_batches_of_real_numbers():
    score = log_odds(relu_network([4, 3], seed=0, dtype=torch.float32), 0)
    admit(score, torch.ones(2, 4))
    for broken in (torch.ones(0, 4), torch.tensor([[torch.nan] * 4])):
        with pytest.raises(ValueError, match=r"empty|finite"):
            admit(score, broken)
    with pytest.raises(TypeError):
        admit(score, torch.ones(2, 4, dtype=torch.long))


def test_what_is_plain_can_be_asked_for_a_gradient_and_shares_memory_where_it_may():
    with torch.inference_mode():
        made = torch.ones(2)
        assert not plain(made).is_inference()
        assert plain(made).tolist() == [1, 1]
    x = torch.ones(2, requires_grad=True)
    assert not plain(2 * x).requires_grad
    assert plain(x).data_ptr() == x.data_ptr()


def test_broken_scores_are_refused_with_the_first_of_them():
    score = logit(lambda x: x, 0)
    refuse_broken(score, torch.ones(3))
    broken = torch.tensor([1.0, torch.inf, torch.nan])
    with pytest.raises(ValueError, match=r"class 0 of 2 of 3 changed inputs is not finite: inf\."):
        refuse_broken(score, broken)


@pytest.mark.parametrize("door", [admit, admit_any])
def test_a_score_of_other_inputs_is_refused(door):
    score = logit(torch.nn.Linear(3, 2), torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"is of 3 inputs, but x holds 2\. Give one class"):
        door(score, torch.ones(2, 3))
    door(score, torch.ones(3, 3))


def test_token_ids_are_admitted_where_no_gradient_is_taken():
    score = logit(lambda x: x.float(), 0)
    admit_any(score, torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(TypeError):
        admit(score, torch.ones(2, 3, dtype=torch.long))
