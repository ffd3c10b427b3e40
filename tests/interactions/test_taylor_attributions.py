import pytest
import torch
from torch import nn

from exhibits import exhibit
from strategies import relu_network
from unmask import features, logit, loss, masked
from unmask.interactions import ALLOCATIONS, principles, taylor_attributions, taylor_effects
from unmask.methods.saliency import (
    deeplift,
    deeplift_reveal_cancel,
    input_x_gradient,
    integrated_gradients,
    lrp,
    occlusion,
    shapley_exact,
)
from unmask.planted import Polynomial, linear_network
from unmask.results import Attribution

F = Polynomial({(1, 0, 0): 2.0, (0, 2, 0): 1.0, (1, 1, 0): 3.0, (2, 1, 1): 1.0})
X = torch.tensor([[1.0, 2.0, 3.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)
OWN = ("gradient_x_input", "integrated_gradients", "occlusion", "shapley")


def test_of_a_polynomial_with_one_term_a_set_it_says_what_the_closed_forms_say():
    effects = taylor_effects(logit(F, 0), X[:1], baseline=ZERO, degree=4)
    found = taylor_attributions(logit(F, 0), X[:1], baseline=ZERO).numbers
    for name in OWN:
        closed = principles(effects, ALLOCATIONS[name]).numbers
        assert found[f"{name}_unrelated"] == pytest.approx(closed["unrelated"], abs=1e-12)
        assert found[f"{name}_incomplete"] == pytest.approx(closed["incomplete"], abs=1e-12)


def test_the_numbers_of_the_fixture():
    """Effects 2 and 4, 6, 6 of orders 1, 2, 3; in gradient x input they count by degree."""
    found = taylor_attributions(logit(F, 0), X[:1], baseline=ZERO)
    assert found.curves["strength"].tolist() == pytest.approx([6 / 18, 6 / 18, 6 / 18])
    assert found.numbers["occlusion_incomplete"] == pytest.approx(1)
    assert found.numbers["gradient_x_input_incomplete"] == pytest.approx(28 / 18)
    handed = found.curves["gradient_x_input_handed_out"].tolist()
    assert handed == pytest.approx([(2 * 2 + 4 * 8) / 20, 2, 4])
    assert found.curves["occlusion_handed_out"].tolist() == pytest.approx([1, 2, 3])
    for name in OWN:
        assert found.curves[f"{name}_to_others"].abs().max() < 1e-12


def test_its_own_methods_are_those_of_the_library():
    """Each, given from outside, is measured the same."""
    network = relu_network([3, 6, 2], 3, kink=nn.Tanh)

    def by_shapley(score, x):
        rows = [shapley_exact(masked(score, row, features(3), ZERO)).values for row in x]
        return Attribution(torch.cat(rows))

    found = taylor_attributions(
        logit(network, 1),
        X,
        baseline=ZERO,
        attributions={
            "a": input_x_gradient,
            "b": lambda s, x: integrated_gradients(s, x, baseline=ZERO, steps=32),
            "c": lambda s, x: occlusion(s, x, baseline=ZERO, window=1),
            "d": by_shapley,
        },
    )
    for given, own in zip("abcd", OWN, strict=True):
        for name in ("unrelated", "incomplete", "incomplete_low", "incomplete_high"):
            same = found.numbers[f"{own}_{name}"]
            assert found.numbers[f"{given}_{name}"] == pytest.approx(same, abs=1e-9), (given, name)
        for name in ("handed_out", "to_others"):
            curve, same = found.curves[f"{given}_{name}"], found.curves[f"{own}_{name}"]
            assert torch.allclose(curve, same, atol=1e-7), (given, name)


def test_a_method_that_pays_outsiders_is_found_out():
    def evenly(score, x):
        change = (score(x) - score(torch.zeros_like(x))).detach()
        return Attribution(change[:, None].expand(-1, 3) / 3)

    found = taylor_attributions(logit(F, 0), X[:1], baseline=ZERO, attributions={"evenly": evenly})
    assert found.curves["evenly_to_others"].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert found.numbers["evenly_incomplete"] == pytest.approx(0, abs=1e-12)
    assert found.numbers["evenly_unrelated"] == pytest.approx(1 / 3)


def test_a_linear_model_leaves_nothing_to_disagree_about():
    model = linear_network(torch.tensor([2.0, -1.0, 0.5]).double())
    found = taylor_attributions(logit(model, 0), X, baseline=ZERO).numbers
    for name in OWN:
        assert found[f"{name}_unrelated"] == pytest.approx(0, abs=1e-12)
        assert found[f"{name}_incomplete"] == pytest.approx(0, abs=1e-12)


def test_another_point_for_nothing_is_seen():
    """LRP starts from zero: about another baseline it hands out the constant."""
    network = relu_network([3, 6, 2], 3)
    score = logit(network, 1)
    at_zero = taylor_attributions(score, X, baseline=ZERO, attributions={"lrp": lrp}).numbers
    elsewhere = taylor_attributions(score, X, baseline=X[1] + 1, attributions={"lrp": lrp}).numbers
    assert at_zero["lrp_unrelated"] == pytest.approx(0, abs=1e-9)
    assert elsewhere["lrp_unrelated"] > 0.1


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_and_classes_of_their_own(batch_size):
    network = relu_network([3, 6, 3], 2)
    together = taylor_attributions(
        loss(network, torch.tensor([0, 2])), X, baseline=ZERO, batch_size=batch_size
    )
    for row, label in enumerate((0, 2)):
        alone = taylor_attributions(loss(network, label), X[row : row + 1], baseline=ZERO)
        both = taylor_attributions(loss(network, torch.tensor([label] * 2)), X[[row] * 2],
                                   baseline=ZERO)  # fmt: skip
        assert torch.allclose(alone.curves["strength"], both.curves["strength"])
    whole = taylor_attributions(loss(network, torch.tensor([0, 2])), X, baseline=ZERO)
    for name, value in whole.numbers.items():
        assert together.numbers[name] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("steps", [2, 50])
def test_no_more_rows_at_a_time_than_told(steps):
    """Nodes of the integral, inputs and masks do not add up in memory."""
    network, seen = relu_network([3, 6, 3], 2), []
    network[1].register_forward_hook(lambda _, given, out: seen.append(len(out)))
    x = X.repeat(20, 1)
    taylor_attributions(logit(network, 0), x, baseline=ZERO, steps=steps, batch_size=3)
    assert max(seen) == 3
    taylor_effects(logit(network, 0), x, baseline=ZERO, degree=3, batch_size=3)
    assert max(seen) == 3


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_real_networks(name):
    """What is proven of the methods holds on networks that were trained."""
    subject = exhibit(name)
    baseline, few = subject.baseline(0), 2
    x = torch.stack(subject.inputs[:few])
    players = subject.players(0)
    # Half as many players, as each method is run on all masks.
    owner = torch.where(players.owner < 0, -1, players.owner // 2)
    players = type(players)(owner, players.names[: int(owner.max()) + 1])
    model = subject.model.double()
    try:
        found = taylor_attributions(
            subject.score(model, 1),
            x.double(),
            baseline=baseline.double(),
            players=players,
            attributions={
                "rescale": lambda s, x: deeplift(s, x, baseline=baseline.double()),
                "cancel": lambda s, x: deeplift_reveal_cancel(s, x, baseline=baseline.double()),
            },
        ).numbers
    finally:
        model.float()
    for method in (*OWN, "rescale", "cancel"):
        assert found[f"{method}_unrelated"] == pytest.approx(0, abs=1e-6), method
    for method in ("shapley", "rescale", "cancel"):
        assert found[f"{method}_incomplete"] == pytest.approx(0, abs=1e-6), method
    assert found["integrated_gradients_incomplete"] < 0.5 < found["gradient_x_input_incomplete"]
    assert found["occlusion_incomplete"] > 0.5


def test_an_exception_leaves_no_trace():
    network = relu_network([3, 6, 2], 3)
    network[0].weight.requires_grad_(False)

    def broken(score, x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        taylor_attributions(logit(network, 1), X, baseline=ZERO, attributions={"broken": broken})
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True]
    assert not any(module._forward_hooks for module in network.modules())


def test_bad_input():
    score = logit(F, 0)
    wide = logit(lambda x: x.sum(1), 0)
    with pytest.raises(ValueError, match="at most 12"):
        taylor_attributions(wide, torch.ones(1, 13), baseline=torch.zeros(13))
    with pytest.raises(ValueError, match=r"2\^13 masked inputs"):
        taylor_attributions(wide, torch.ones(1, 13), baseline=torch.zeros(13), players=features(13))
    with pytest.raises(ValueError, match="one baseline here"):
        taylor_attributions(score, X, baseline=X)
    with pytest.raises(ValueError, match="players of one input"):
        taylor_attributions(score, X, baseline=ZERO, players=features(2))
    with pytest.raises(ValueError, match="'odd' returned"):
        taylor_attributions(
            score, X, baseline=ZERO, attributions={"odd": lambda s, x: Attribution(x[:, :1])}
        )
    with pytest.raises(ValueError, match="nodes"):
        taylor_attributions(score, X, baseline=ZERO, steps=0)


def test_every_input_is_explained_in_its_own_class():
    """The first class has effects 1 and 2 of single columns, the second one of 2 of both."""
    score = logit(
        lambda x: torch.stack([x[:, 0] + x[:, 1], x[:, 0] * x[:, 1]], 1), torch.tensor([0, 1])
    )
    x = torch.tensor([[1.0, 2.0]] * 2, dtype=torch.float64)
    found = taylor_attributions(score, x, baseline=torch.zeros(2), batch_size=3)
    assert found.curves["strength"].tolist() == pytest.approx([3 / 5, 2 / 5])
    assert found.numbers["gradient_x_input_incomplete"] == pytest.approx(2 / 5)
