import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from unmask import Players, Score, zoo
from unmask.evaluation import roar
from unmask.methods.saliency import input_x_gradient
from unmask.results import Attribution

WEIGHTS = torch.tensor([2.0, -2.0, 1.5, 1.5] + [0.0] * 16)


def logistic(x, labels, generator):
    """What scikit-learn finds, as a network of two outputs."""
    flat = x.flatten(1).double().numpy()
    found = LogisticRegression(max_iter=1000).fit(flat, labels.numpy())
    network = nn.Sequential(nn.Flatten(), nn.Linear(flat.shape[1], len(found.classes_)))
    rows, bias = torch.tensor(found.coef_), torch.tensor(found.intercept_)
    if len(rows) == 1:
        rows, bias = torch.cat([-rows / 2, rows / 2]), torch.cat([-bias / 2, bias / 2])
    with torch.no_grad():
        network[1].weight.copy_(rows)
        network[1].bias.copy_(bias)
    return network.to(x.dtype).eval()


def four_of_twenty(seed=0):
    """Twenty normal columns, of which four tell the class, but for some noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4000, 20, generator=generator)
    noise = 0.3 * torch.randn(4000, generator=generator)
    labels = (x @ WEIGHTS + noise > 0).long()
    return {
        "data": x[:3000],
        "labels": labels[:3000],
        "test": x[3000:],
        "test_labels": labels[3000:],
    }


def true(score, x):
    return Attribution(x * WEIGHTS)


def test_taking_what_matters_leaves_chance():
    """The numbers of one draw were 0.972 untouched, 0.617, 0.487 and 0.493 in the true order, and
    0.912, 0.861 and 0.727 at random. An accuracy of 1000 inputs is known to 0.016."""
    found = roar(**four_of_twenty(), explain=true, train=logistic, shares=(0.1, 0.2, 0.5))
    assert found.numbers["untouched"] == pytest.approx(0.972, abs=0.02)
    assert found.curves["accuracy"].tolist() == pytest.approx([0.617, 0.487, 0.493], abs=0.05)
    assert found.curves["random"].tolist() == pytest.approx([0.912, 0.861, 0.727], abs=0.05)
    assert found.curves["share"].tolist() == [0.1, 0.2, 0.5]
    below = (found.curves["random"] - found.curves["accuracy"]).mean()
    assert found.numbers["below_random"] == pytest.approx(float(below), abs=1e-9)
    assert found.numbers["below_random_low"] > 0.2
    assert found.numbers["test_inputs"] == 1000
    assert found.numbers["chance"] == pytest.approx(0.5, abs=0.05)


def test_signed_values_tell_the_class_by_the_mask():
    """0.508 of a mask by size, 0.777 of a mask by sign."""
    case = four_of_twenty()
    by_size = roar(**case, explain=true, train=logistic, shares=(0.2,))
    by_sign = roar(**case, explain=true, train=logistic, shares=(0.2,), absolute=False)
    assert float(by_size.curves["mask_leakage"]) == pytest.approx(0.508, abs=0.05)
    assert float(by_sign.curves["mask_leakage"]) == pytest.approx(0.777, abs=0.05)


def test_what_is_kept_when_the_least_relevant_go():
    found = roar(
        **four_of_twenty(), explain=true, train=logistic, shares=(0.5, 0.8), ascending=True
    )
    assert (found.curves["accuracy"] > 0.95).all()
    assert found.numbers["below_random_high"] < -0.05


def test_a_random_explanation_takes_no_more_than_chance_does():
    def at_random(score, x):
        drawn = torch.rand(x.shape, generator=torch.Generator().manual_seed(len(x)))
        return Attribution(drawn)

    found = roar(**four_of_twenty(), explain=at_random, train=logistic, shares=(0.1, 0.2, 0.5))
    low, high = found.numbers["below_random_low"], found.numbers["below_random_high"]
    assert low - 0.02 < 0 < high + 0.02  # the bands know nothing of the draw of the order


def test_it_follows_the_definition():
    case = four_of_twenty(1)
    found = roar(**case, explain=true, train=logistic, shares=(0.2,))
    mean = case["data"].mean(0)

    def without(x):
        rows = x.clone()
        for row in rows:
            order = sorted(range(20), key=lambda i: (-abs(float(row[i] * WEIGHTS[i])), i))
            for i in order[:4]:
                row[i] = mean[i]
        return rows

    network = logistic(without(case["data"]), case["labels"], None)
    right = network(without(case["test"])).argmax(1) == case["test_labels"]
    assert float(found.curves["accuracy"]) == pytest.approx(float(right.double().mean()), abs=1e-9)


def test_images_are_filled_by_the_mean_of_their_channel():
    """Of a picture whose left half tells the class, pixels are taken with all their channels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, 2, 4, generator=generator)
    x[:, 1] += 5
    labels = torch.arange(300) % 2
    x[:, :, :, :2] += 2.0 * labels.view(-1, 1, 1, 1)
    seen = []

    def watched(data, classes, source):
        seen.append(data)
        return logistic(data, classes, source)

    left = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(2, 2, 4)
    pixels = Players(torch.arange(8).view(2, 4).expand(2, 2, 4).clone(), tuple("abcdefgh"))
    found = roar(
        *(x[:200], labels[:200]),
        test=x[200:],
        test_labels=labels[200:],
        explain=lambda score, x: Attribution(left.expand_as(x)),
        train=watched,
        players=pixels,
        shares=(0.5,),
    )
    base, taken, _, mask = seen
    assert torch.equal(base, x[:200])
    mean = x[:200].mean((0, 2, 3))
    assert torch.equal(taken[..., :2], mean.view(1, 2, 1, 1).expand(200, 2, 2, 2))
    assert torch.equal(taken[..., 2:], x[:200, ..., 2:])
    assert torch.equal(mask[0], 1 - left)
    assert found.numbers["untouched"] > 0.9
    assert float(found.curves["accuracy"]) < 0.65
    assert float(found.curves["mask_leakage"]) == pytest.approx(0.5)  # the same for every input


def test_trainings_of_a_repeat_begin_alike():
    draws = []

    def watched(data, classes, source):
        draws.append(float(torch.rand((), generator=source)))
        return logistic(data, classes, source)

    case = four_of_twenty()
    found = roar(**case, explain=true, train=watched, shares=(0.2, 0.5), repeats=3)
    assert found.numbers["repeats"] == 3
    assert len(draws) == 3 * (1 + 3 * 2)
    assert sorted(draws.count(one) for one in set(draws)) == [7, 7, 7]


def test_the_first_network_is_explained_for_the_class_it_chooses():
    """Of one's own class a network of two outputs says the opposite of the other's."""
    case = four_of_twenty()
    scores = []

    def explain(score, x):
        assert isinstance(score, Score)
        scores.append(score(x))
        return true(score, x)

    roar(**case, explain=explain, train=logistic, shares=(0.2,), batch_size=500)
    assert len(scores) == 8
    assert (torch.cat(scores) >= 0).all()


def test_without_a_test_some_of_the_data_is_held_out():
    case = four_of_twenty()
    found = roar(case["data"], case["labels"], explain=true, train=logistic, shares=(0.2,))
    assert found.numbers["test_inputs"] == 750
    assert float(found.curves["accuracy"]) == pytest.approx(0.5, abs=0.06)
    fewer = roar(
        case["data"], case["labels"], explain=true, train=logistic, shares=(0.2,), held_out=0.1
    )
    assert fewer.numbers["test_inputs"] == 300


def test_one_test_input_has_no_interval():
    case = four_of_twenty() | {"test": torch.ones(1, 20), "test_labels": torch.tensor([1])}
    found = roar(**case, explain=true, train=logistic, shares=(0.2,))
    assert "untouched" in found.numbers
    assert "untouched_low" not in found.numbers
    assert "accuracy_low" not in found.curves


def test_the_callers_modes_do_not_reach_the_training():
    def train(data, labels, generator):
        network = nn.Linear(20, 2)
        nn.functional.cross_entropy(network(data), labels).backward()
        with torch.no_grad():
            network.weight -= network.weight.grad
        return network.eval()

    with torch.random.fork_rng(), torch.inference_mode():
        made = four_of_twenty()  # in inference mode, so that nothing could be learnt from it
        found = roar(**made, explain=true, train=train, shares=(0.2,))
    assert np.isfinite(list(found.numbers.values())).all()


def test_an_error_in_the_training_is_the_callers():
    def broken(data, labels, generator):
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        roar(**four_of_twenty(), explain=true, train=broken)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(3).long()}, "3000 inputs, but labels of shape"),
        ({"data": torch.full((3000, 20), torch.nan)}, "The data must be finite"),
        ({"test_labels": None}, "A test is inputs and their classes"),
        ({"test": torch.ones(1000, 19)}, "Give inputs of the same shape"),
        ({"test": None, "test_labels": None, "held_out": 0.0}, "makes 0 to test on"),
        ({"test": None, "test_labels": None, "held_out": 1.0}, "makes 3000 to test on"),
        ({"repeats": 0}, "0 repeats train nothing"),
        ({"shares": (0.0,)}, "Shares of the players lie above 0"),
        ({"batch_size": 0}, "A batch of 0 inputs"),
        ({"explain": lambda score, x: Attribution(x[:, :3])}, "Give a value per position"),
    ],
)
def test_broken_calls_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        roar(**({"explain": true, "train": logistic} | four_of_twenty() | change))


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"made a function|returned a function"):
        roar(**four_of_twenty(), explain=true, train=lambda x, y, generator: true)


def test_columns_that_a_disease_is_told_by():
    table = zoo.breast_cancer()
    x = torch.stack(table.inputs)
    found = roar(
        *(x, torch.tensor(table.labels)),
        explain=lambda score, x: input_x_gradient(score, x),
        train=logistic,
        shares=(0.3, 0.9),
    )
    assert found.numbers["untouched"] > 0.9
    assert found.curves["accuracy"][1] <= found.numbers["untouched"]


def test_handwritten_digits():
    digits = zoo.digits()
    x, labels = torch.stack(digits.inputs), torch.tensor(digits.labels)
    found = roar(
        *(x, labels), explain=input_x_gradient, train=logistic, shares=(0.5,), held_out=0.4
    )
    assert found.numbers["untouched"] > 0.8
    assert found.numbers["untouched_low"] < found.numbers["untouched"]
