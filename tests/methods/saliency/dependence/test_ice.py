import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Score, log_odds, logit
from unmask.methods.saliency import ice, ice_derivative, partial_dependence

ROWS = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]]).double()
GRID = torch.tensor([0.0, 1.0, 2.0]).double()
PRODUCT = Score(lambda x: x[:, 0] + x[:, 0] * x[:, 1], lambda output, rows: output)
TABLE = torch.randn(30, 4, generator=torch.Generator().manual_seed(1)).double()


def test_the_example_of_two_columns():
    found = ice(PRODUCT, ROWS, feature=0, grid=GRID)
    assert found.curves.tolist() == [[0, 2, 4], [0, 3, 6], [0, 7, 14]]
    assert found.average.tolist() == [0, 4, 8]
    centred = ice(PRODUCT, ROWS, feature=0, grid=GRID, centre=1.0)
    assert centred.curves.tolist() == [[-2, 0, 2], [-3, 0, 3], [-7, 0, 7]]
    slopes = ice_derivative(PRODUCT, ROWS, feature=0, grid=GRID)
    assert slopes.curves.tolist() == [[2] * 3, [3] * 3, [7] * 3]
    assert slopes.average.tolist() == [4] * 3


def test_curves_are_those_of_a_plain_loop():
    model = relu_network([4, 9, 3], 2)
    score, grid = log_odds(model, 2), torch.tensor([-2.0, 0.0, 0.5]).double()
    found = ice(score, TABLE, feature=3, grid=grid, centre=0.25)
    for i, row in enumerate(TABLE):
        for k, value in enumerate([*grid, torch.tensor(0.25)]):
            asked = row.clone()
            asked[3] = value
            with torch.no_grad():
                expected = float(score(asked[None]))
            if k == 0:
                curve = []
            curve.append(expected)
        assert found.curves[i].tolist() == pytest.approx([c - curve[-1] for c in curve[:-1]])


def test_curves_of_an_additive_model_coincide_when_centred():
    additive = Score(lambda x: x[:, 0].exp() - 2 * x[:, 1] + x[:, 2] ** 3, lambda out, rows: out)
    found = ice(additive, TABLE, feature=0, centre=0.0)
    assert float((found.curves - found.curves[0]).abs().max()) < 1e-12
    slopes = ice_derivative(additive, TABLE, feature=0)
    assert float(slopes.curves.std(0).max()) < 1e-12
    assert torch.allclose(slopes.average, slopes.points[:, 0].exp(), atol=1e-12)


def test_the_spread_of_the_derivatives_shows_the_interaction():
    slopes = ice_derivative(PRODUCT, ROWS, feature=0, grid=GRID)
    assert slopes.curves.std(0).tolist() == pytest.approx([7**0.5] * 3)  # of 2, 3 and 7


def test_derivatives_are_the_limit_of_differences():
    smooth = relu_network([4, 9, 3], 3, kink=nn.Tanh)
    grid = torch.linspace(-1, 1, 401).double()
    curves = ice(logit(smooth, 1), TABLE, feature=2, grid=grid).curves
    slopes = ice_derivative(logit(smooth, 1), TABLE, feature=2, grid=grid).curves
    differences = torch.gradient(curves, spacing=(grid,), dim=1)[0]
    assert torch.allclose(slopes[:, 1:-1], differences[:, 1:-1], atol=1e-4)  # h^2 f''' / 6


def test_weights_count_for_the_average_alone():
    weights = torch.tensor([1.0, 0.0, 3.0])
    found = ice(PRODUCT, ROWS, feature=0, grid=GRID, weights=weights)
    assert found.curves.tolist() == [[0, 2, 4], [0, 3, 6], [0, 7, 14]]
    assert found.average.tolist() == pytest.approx([0, (2 + 21) / 4, (4 + 42) / 4])
    doubled = ROWS[[0, 2, 2, 2]]
    assert torch.allclose(
        partial_dependence(PRODUCT, doubled, feature=0, grid=GRID).average, found.average
    )


def test_two_columns_and_their_centre():
    grid = (GRID, torch.tensor([5.0, 6.0]).double())
    product = Score(lambda x: x[:, 0] * x[:, 1] + x[:, 2], lambda output, rows: output)
    found = ice(product, TABLE, feature=(0, 1), grid=grid, centre=(1.0, 1.0))
    expected = [a * b - 1 for a in (0, 1, 2) for b in (5, 6)]
    for curve in found.curves.tolist():
        assert curve == pytest.approx(expected)


def test_one_row_and_a_column_that_does_nothing():
    still = ice(logit(lambda x: x[:, 1], 0), ROWS, feature=0)
    assert still.curves.tolist() == [[1] * 3, [2] * 3, [6] * 3]
    single = ice(PRODUCT, ROWS[:1], feature=0, grid=GRID)
    assert single.curves.tolist() == [single.average.tolist()] == [[0, 2, 4]]


def test_what_cannot_be_centred_or_derived_is_refused():
    with pytest.raises(ValueError, match="a number for each of the 1 columns"):
        ice(PRODUCT, ROWS, feature=0, centre=(1.0, 2.0))
    with pytest.raises(ValueError, match="a number for each of the 1 columns"):
        ice(PRODUCT, ROWS, feature=0, centre=float("nan"))
    with pytest.raises(ValueError, match="does not depend on x"):
        ice_derivative(logit(lambda x: x.detach()[:, 0], 0), ROWS, feature=0)


def test_a_model_that_fails_half_way_is_left_as_it_was():
    model = relu_network([2, 4, 2], 0)
    calls = []

    def read(output, rows):
        calls.append(len(output))
        if len(calls) == 2:
            raise RuntimeError("out of paper")
        return output[:, 0]

    with pytest.raises(RuntimeError, match="out of paper"):
        ice_derivative(Score(model, read), ROWS, feature=0, batch_size=3)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


MEASURE = """
import torch
from peaks import peak
from unmask import logit
from unmask.methods.saliency import partial_dependence

torch.set_num_threads(1)
network = torch.nn.Linear(256, 2)

def run(n):
    data = torch.randn(n or 4000, 256)  # 4 MB
    return partial_dependence(logit(network, 0), data, feature=0).average

print(peak(run))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak")
def test_memory_is_that_of_a_batch_and_the_result():
    """All rows at all points are 400 MB."""
    given_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    folder = {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | given_back | folder,
    )
    assert float(done.stdout) < 40


def test_digits():
    from unmask.zoo import digits

    exhibit = digits()
    pictures = torch.stack(exhibit.inputs[:50])
    table = pictures.flatten(1)

    def model(x):
        return exhibit.model(x.view(len(x), *pictures.shape[1:]))

    middle = table.shape[1] // 2 + 4
    slopes = ice_derivative(logit(model, 0), table, feature=middle, grid=torch.tensor([0.25, 0.5]))
    step = 1e-3
    sides = ice(
        logit(model, 0), table, feature=middle, grid=torch.tensor([0.25 - step, 0.25 + step])
    )
    differences = sides.curves.diff(dim=1)[:, 0] / (2 * step)
    # Single precision, and some rows stand at a kink.
    near = (differences - slopes.curves[:, 0]).abs() < 0.05 * slopes.curves.abs().max() + 1e-3
    assert near.double().mean() > 0.9
