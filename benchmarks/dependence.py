"""Dependence on a column and its importance, beside plain loops of forward passes.

A perceptron with two hidden layers on tables of 8 to 128 columns. The plain forward runs the
model on ready batches of as many rows: nothing can be faster. The loop is what one would write:
for each value a copy of the table with one column set. scikit-learn runs its brute-force method,
on the same network. CPU time of one thread, all taking turns, medians over rounds, as ratios to
the plain forward.

    OMP_NUM_THREADS=1 python benchmarks/dependence.py
"""

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as of_scikit_learn
from torch import Tensor, nn

from unmask import Score
from unmask.methods.saliency import (
    ice,
    ice_derivative,
    partial_dependence,
    permutation_importance,
    shapley_feature_importance,
)

ROWS, POINTS, ROUNDS = 2000, 100, 7


class Wrapped(RegressorMixin, BaseEstimator):
    """A network as scikit-learn likes it."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self.network = network
        self.fitted_ = True

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Wrapped":
        return self

    @torch.no_grad()
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.network(torch.as_tensor(x))[:, 0].numpy()


@torch.no_grad()
def forward(network: nn.Module, data: Tensor, inputs: int) -> None:
    """Ready batches of 1,024 rows, until that many have been run."""
    batches = data.split(1024)
    done = 0
    while done < inputs:
        for batch in batches:
            network(batch)
            done += len(batch)


@torch.no_grad()
def loop(network: nn.Module, data: Tensor, values: Tensor) -> list[float]:
    """For each value a copy of the table."""
    average = []
    for value in values:
        changed = data.clone()
        changed[:, 0] = value
        average.append(float(network(changed)[:, 0].mean()))
    return average


def timed(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def measure(width: int) -> None:
    torch.manual_seed(0)
    layers = (nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    network = nn.Sequential(*layers).eval()
    data, y = torch.randn(ROWS, width), torch.randn(ROWS)
    score = Score(network, lambda output, rows: output[:, 0])

    def squared(output: Tensor, rows: Tensor | None) -> Tensor:
        return (output[:, 0] - (y if rows is None else y[rows])) ** 2

    error = Score(network, squared, "squared error", targets=ROWS)
    values = partial_dependence(score, data, feature=0, steps=POINTS).points[:, 0]
    few = data[:, : min(width, 8)]
    small = nn.Sequential(nn.Linear(few.shape[1], 64), *layers[1:]).eval()
    saved = Score(small, squared, "squared error", targets=ROWS)
    runs: dict[str, Callable[[], object]] = {
        "plain forward": lambda: forward(network, data, ROWS * POINTS),
        "loop over the grid": lambda: loop(network, data, values),
        "partial_dependence": lambda: partial_dependence(score, data, feature=0, steps=POINTS),
        "ice": lambda: ice(score, data, feature=0, steps=POINTS),
        "ice_derivative": lambda: ice_derivative(score, data, feature=0, steps=POINTS),
        "scikit-learn, brute": lambda: of_scikit_learn(
            Wrapped(network), data.numpy(), [0], method="brute", kind="average"
        ),
        "permutation_importance, as many rows": lambda: permutation_importance(
            error, data, samples=max(1, POINTS // width)
        ),
        "SFIMP of 8 columns, per as many rows": lambda: shapley_feature_importance(
            saved, few, samples=1
        ),
    }
    spent = timed(runs)
    plain = spent["plain forward"]
    inputs = {
        "permutation_importance, as many rows": ROWS * (1 + width * max(1, POINTS // width)),
        "SFIMP of 8 columns, per as many rows": ROWS * (2 ** few.shape[1] + 1),
    }
    for name, seconds in spent.items():
        ratio = seconds / plain * ROWS * POINTS / inputs.get(name, ROWS * POINTS)
        print(f"| {width} | {name} | {ratio:.2f} | {1e3 * seconds:.1f} |", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| columns | method | ratio to the plain forward | CPU ms |")
    print("|---|---|---|---|")
    for width in (8, 32, 128):
        measure(width)


if __name__ == "__main__":
    main()
