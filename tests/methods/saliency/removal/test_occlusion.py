import os
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Score, constant, features, log_odds, logit, masked
from unmask.methods.saliency import ablation, occlusion

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def slow_values(score, x, backgrounds, sides, steps):
    """The definition, one window, one background, one place after the other."""
    fixed = x.ndim - 1 - len(sides)
    values = torch.zeros(x.shape, dtype=torch.float64)
    for b, one in enumerate(x):
        drops = {}
        sizes = one.shape[fixed:]
        starts = [range(0, n - k + 1, s) for n, k, s in zip(sizes, sides, steps, strict=True)]
        for corner in product(*starts):
            drops[corner] = 0.0
            for background in backgrounds:
                row = one.clone()
                for place in product(*map(range, one.shape)):
                    if all(
                        c <= p < c + k for c, p, k in zip(corner, place[fixed:], sides, strict=True)
                    ):
                        row[place] = background[place]
                change = score(one[None], torch.tensor([b])) - score(row[None], torch.tensor([b]))
                drops[corner] += change.item() / len(backgrounds)
        for place in product(*map(range, one.shape)):
            over = [
                drop
                for corner, drop in drops.items()
                if all(c <= p < c + k for c, p, k in zip(corner, place[fixed:], sides, strict=True))
            ]
            values[(b, *place)] = sum(over) / len(over) if over else 0.0
    return values


@st.composite
def cases(draw):
    """Inputs of one to three axes, a window and a stride that fit."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axes = draw(st.integers(1, len(shape)))
    sides = tuple(draw(st.integers(1, size)) for size in shape[-axes:])
    steps = tuple(draw(st.integers(1, 3)) for _ in sides)
    x = draw(tensors(draw(st.integers(1, 3)), *shape))
    backgrounds = draw(tensors(draw(st.integers(1, 2)), *shape))
    return x, backgrounds, sides, steps


@settings(max_examples=40)
@given(cases(), st.integers(0, 99), st.sampled_from([None, 1, 3, 1000]))
def test_values_follow_the_definition(case, seed, batch_size):
    x, backgrounds, sides, steps = case
    network = nn.Sequential(nn.Flatten(), relu_network([x[0].numel(), 5, 3], seed))
    score = log_odds(network, torch.arange(len(x)))
    found = occlusion(
        score, x, baseline=backgrounds, window=sides, stride=steps, batch_size=batch_size
    )
    expected = slow_values(score, x, backgrounds, sides, steps)
    assert torch.allclose(found.values, expected, atol=1e-10)
    assert found.values.shape == x.shape
    assert found.gap is None


def test_a_sum_loses_what_the_window_hides():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    score = logit(lambda x: x.flatten(1).sum(1), 0)
    found = occlusion(score, x, baseline=torch.zeros(1, 4, 4), window=2, stride=2)
    blocks = [[10.0, 10.0, 18.0, 18.0]] * 2 + [[42.0, 42.0, 50.0, 50.0]] * 2
    assert found.values[0, 0].tolist() == blocks
    assert found.evaluations == 1 + 4


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4), (2, -6, 2)),
        (lambda x: x[:, 0] * x[:, 1], (2, 3), (6, 6)),
        (lambda x: x[:, 0] ** 2 * x[:, 1], (2, 3), (12, 12)),
        (lambda x: torch.relu(x[:, 0] + x[:, 1] - 1), (1, 1), (1, 1)),
        (lambda x: x[:, 0] - torch.relu(x[:, 0] - x[:, 1]), (3, 1), (1, 1)),
    ],
)
def test_a_window_of_one_leaves_one_out(function, x, expected):
    x = torch.tensor([x]).double()
    score, baseline = logit(function, 0), torch.zeros(x.shape[1]).double()
    assert occlusion(score, x, baseline=baseline, window=1).values.tolist() == [list(expected)]
    game = masked(score, x[0], features(x.shape[1]), baseline)
    assert ablation(game).values.tolist() == [pytest.approx(expected)]


def test_places_that_no_window_covers_get_zero():
    x = torch.ones(1, 7)
    score = logit(lambda x: x.sum(1), 0)
    found = occlusion(score, x, baseline=torch.zeros(7), window=2, stride=3)
    assert found.values.tolist() == [[2.0, 2.0, 0.0, 2.0, 2.0, 0.0, 0.0]]


def test_a_window_holds_all_channels_and_all_that_is_before_its_axes():
    x = torch.ones(2, 3, 4, 5)
    score = logit(lambda x: x.flatten(1).sum(1), 0)
    found = occlusion(score, x, baseline=constant(x[0]), window=(1,)).values
    assert found.unique().tolist() == [12.0]  # three channels of four rows, one column
    assert occlusion(score, x, baseline=constant(x[0]), window=1).values.unique().tolist() == [3.0]
    series = occlusion(score, x[:, :, 0], baseline=x[0, :, 0] * 0, window=2).values
    assert series.unique().tolist() == [6.0]
    tokens = occlusion(score, x[:, 0], baseline=x[0, 0] * 0, window=(2, 5)).values
    assert tokens.unique().tolist() == [10.0]


def test_where_the_input_is_the_baseline_the_model_is_not_asked():
    x = torch.zeros(1, 1, 6, 6)
    x[..., 0, 0] = 3.0
    seen = []

    def model(rows):
        seen.append(len(rows))
        return rows.flatten(1).sum(1)

    found = occlusion(logit(model, 0), x, baseline=torch.zeros(1, 6, 6), window=2, stride=2)
    assert sum(seen) == found.evaluations == 2
    expected = torch.zeros(6, 6)
    expected[:2, :2] = 3.0
    assert torch.equal(found.values[0, 0], expected)
    none = occlusion(logit(model, 0), 0 * x, baseline=torch.zeros(1, 6, 6), window=2)
    assert none.values.abs().max() == 0
    assert none.evaluations == 1


@pytest.mark.parametrize("batch_size", [1, 2, 7, None])
def test_no_more_rows_at_a_time_than_the_batch(batch_size):
    sizes = []
    model = relu_network([6, 8, 3], 0)

    def counted(x):
        sizes.append(len(x))
        return model(x)

    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).double()
    score = logit(counted, torch.tensor([0, 1, 2, 0, 1]))
    found = occlusion(score, x, baseline=constant(x[0]), window=2, batch_size=batch_size)
    assert max(sizes) <= (batch_size or 2048)
    assert sum(sizes) == found.evaluations == 5 + 5 * 5
    # Windows of different inputs share a batch.
    assert len(sizes) <= 1 + 1 + (30 // batch_size if batch_size else 0) + 1


def test_many_inputs_are_taken_in_parts(monkeypatch):
    module = __import__("sys").modules["unmask.methods.saliency.removal.occlusion"]
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0)).double()
    score = log_odds(relu_network([6, 8, 3], 0), torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    whole = occlusion(score, x, baseline=constant(x[0]), window=2)
    monkeypatch.setattr(module, "_WINDOWS", 12)
    parts = occlusion(score, x, baseline=constant(x[0]), window=2)
    assert torch.allclose(whole.values, parts.values, atol=1e-12)
    assert whole.evaluations == parts.evaluations


@given(networks(inputs=6), tensors(6), tensors(6))
def test_windows_side_by_side_are_players_left_out(network, x, baseline):
    score = log_odds(network, 0)
    found = occlusion(score, x[None], baseline=baseline, window=2, stride=2).values[0]
    pairs = features(6, {"a": [0, 1], "b": [2, 3], "c": [4, 5]})
    alone = ablation(masked(score, x, pairs, baseline)).values[0]
    assert torch.allclose(found[::2], alone, atol=1e-10)
    assert torch.equal(found[::2], found[1::2])


def test_token_ids_are_hidden_by_an_id():
    worth = torch.tensor([0.0, 5.0, -2.0, 1.0])
    score = logit(lambda ids: worth[ids].sum(1), 0)
    ids = torch.tensor([[1, 2, 3, 0]])
    found = occlusion(score, ids, baseline=torch.zeros(4, dtype=torch.long), window=1)
    assert found.values.tolist() == [[5.0, -2.0, 1.0, 0.0]]
    assert found.values.dtype == torch.float32


def test_a_model_may_write_on_its_input():
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(2)).double()
    network, before = relu_network([6, 3], 0), x.clone()
    there = log_odds(lambda x: network((2 * x).relu()), 1)
    here = log_odds(lambda x: network(x.mul_(2).relu_()), 1)
    expected = occlusion(there, x, baseline=constant(x[0]), window=2, batch_size=3).values
    found = occlusion(here, x, baseline=constant(x[0]), window=2, batch_size=3).values
    assert torch.equal(found, expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_have_the_type_of_the_input(dtype):
    x = torch.tensor([[2.0, 3.0]], dtype=dtype)
    found = occlusion(logit(lambda x: x[:, 0] * x[:, 1], 0), x, baseline=torch.zeros(2), window=1)
    assert found.values.dtype == dtype
    assert found.values.tolist() == [[6.0, 6.0]]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"window": 5}, ValueError, r"\(5, 5\) does not fit .*\(4, 4\)"),
        ({"window": 0}, ValueError, r"\(0, 0\) does not fit"),
        ({"window": ()}, ValueError, "0 sides.*between 1 and 3"),
        ({"window": (1, 1, 1, 1)}, ValueError, "4 sides.*between 1 and 3"),
        ({"stride": 0}, ValueError, "goes nowhere"),
        ({"stride": (1, 1, 1)}, ValueError, "as many as the window has sides"),
        ({"batch_size": 0}, ValueError, "batch of 0 inputs is too small"),
        ({"baseline": torch.zeros(3, 3)}, ValueError, r"\(3, 3\), one input \(1, 4, 4\)"),
        ({"baseline": torch.full((1, 4, 4), torch.nan)}, ValueError, "baseline must be finite"),
        ({"x": torch.zeros(0, 1, 4, 4)}, ValueError, "batch is empty"),
        ({"x": torch.full((2, 1, 4, 4), torch.inf)}, ValueError, r"inf at index \(0, 0, 0, 0\)"),
        ({"x": torch.zeros(2)}, ValueError, "each input is a single number"),
    ],
)
def test_what_cannot_be_occluded_is_refused(options, error, words):
    given = {"x": torch.ones(2, 1, 4, 4), "baseline": torch.zeros(1, 4, 4), "window": 2} | options
    with pytest.raises(error, match=words):
        occlusion(logit(lambda x: x.flatten(1).sum(1), 0), given.pop("x"), **given)


def test_scores_that_cannot_be_used_are_refused():
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"of 3 inputs.*holds 2"):
        occlusion(logit(nn.Linear(4, 2), torch.tensor([0, 1, 1])), x, baseline=0 * x[0], window=1)
    with pytest.raises(ValueError, match=r"batch normalisation in training"):
        occlusion(logit(nn.BatchNorm1d(4).train(), 0), x, baseline=0 * x[0], window=1)
    with pytest.raises(
        ValueError, match=r"logit of class 0 of 8 of 8 changed inputs is not finite: -inf"
    ):
        occlusion(logit(lambda x: (x.sum(1) - 3).log(), 0), x, baseline=0 * x[0], window=1)
    with pytest.raises(ValueError, match="Class 2 is out of range"):
        occlusion(logit(nn.Linear(4, 2), 2), x, baseline=0 * x[0], window=1)


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    network = nn.Sequential(nn.Flatten(), relu_network([2 * 6 * 5, 8, 3], 1))
    x = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(2)).double()
    target = torch.tensor([2, 0, 1])
    for side, stride in ((2, 1), (3, 3), (2, 2)):
        theirs = attr.Occlusion(network).attribute(
            x,
            sliding_window_shapes=(2, side, side),
            strides=(2, stride, stride),
            baselines=0.5,
            target=target,
        )
        found = occlusion(
            logit(network, target), x, baseline=constant(x[0], 0.5), window=side, stride=stride
        )
        # Where the stride leaves a rest, captum adds a window that is cut at the border.
        inner = [slice(None), slice(None)]
        for size in (6, 5):
            count, rest = divmod(size - side, stride)
            inner.append(slice((count + 1) * stride if rest else size))
        # It sums in float32.
        ours = found.values[tuple(inner)].float()
        assert torch.allclose(ours, theirs[tuple(inner)], atol=1e-6)


@REAL
def test_a_photo_is_told_by_its_object():
    from unmask.zoo import cifar10

    exhibit = cifar10()
    x = torch.stack(exhibit.inputs[:3])
    score = exhibit.score(exhibit.model, torch.tensor(exhibit.labels[:3]))
    found = occlusion(score, x, baseline=exhibit.baseline(0), window=8, stride=8)
    for i in range(3):
        row = x[i : i + 1].clone()
        row[..., 8:16, 16:24] = exhibit.baseline(0)[:, 8:16, 16:24]
        alone = exhibit.score(exhibit.model, exhibit.labels[i])
        with torch.no_grad():
            drop = alone(x[i : i + 1]) - alone(row)
        assert found.values[i, :, 8:16, 16:24].unique().tolist() == pytest.approx(
            [float(drop)], abs=1e-4
        )
    assert found.evaluations == 3 * 17


def test_the_ink_of_a_digit_matters_and_the_paper_does_not():
    from unmask.zoo import digits

    exhibit = digits()
    x = torch.stack(exhibit.inputs[:20])
    score = Score(exhibit.model, lambda out, rows: out.amax(1))
    values = occlusion(score, x, baseline=exhibit.baseline(0), window=1).values
    assert values[x == 0].abs().max() == 0
    assert values[x > 0].mean() > 0


@pytest.mark.gpu
def test_values_stay_on_their_device():
    network = nn.Sequential(nn.Flatten(), relu_network([2 * 6 * 5, 8, 3], 1))
    x = torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(2)).double()
    target = torch.tensor([2, 0, 1])
    expected = occlusion(logit(network, target), x, baseline=constant(x[0]), window=2)
    found = occlusion(
        logit(network.cuda(), target), x.cuda(), baseline=constant(x[0]).cuda(), window=2
    )
    assert found.values.is_cuda
    assert torch.allclose(found.values.cpu(), expected.values, atol=1e-9)
