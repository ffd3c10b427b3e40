"""Integrated gradients to a gap of one per cent, beside captum's default of 50 steps.

Two ReLU networks are trained on the 8x8 digits. Per test image: how many gradients until the wanted
gap is met, what gap that leaves, and how far the attributions are from those of a very fine rule,
as a share of their L1 norm. Time is CPU time of one thread, all methods taking turns.

    OMP_NUM_THREADS=1 python benchmarks/integrated_gradients.py
"""

import statistics
import time
import warnings
from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unmask import log_odds, predicted
from unmask.methods.saliency import integrated_gradients
from unmask.results import Attribution

INPUTS, ROUNDS, CAPTUM = 200, 5, 50


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    cnn = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    return {"MLP": mlp, "CNN": cnn}


def train(model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        for some in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[some]), y[some]).backward()
            optimiser.step()
    return model.eval()


def by_captum(score: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor) -> Attribution:
    values, left = IntegratedGradients(score).attribute(
        x, baseline[None], n_steps=CAPTUM, return_convergence_delta=True
    )
    return Attribution(values, gap=-left, evaluations=(CAPTUM + 2) * len(x))


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    y = torch.tensor(digits.target)
    test, baseline = x[-INPUTS:], torch.zeros(64)
    print(f"{INPUTS} images; medians over images; time per image")
    print("| network | method | points | gap | largest gap | error | CPU ms |")
    print("|---|---|---|---|---|---|---|")
    for name, model in networks().items():
        score = log_odds(train(model, x[:-INPUTS], y[:-INPUTS]), predicted(model, test))
        fine = integrated_gradients(score, test, baseline=baseline, steps=2000).values
        change = (score(test) - score(baseline.expand_as(test))).abs().detach()

        def gauss(n: int, score=score) -> Attribution:
            return integrated_gradients(score, test, baseline=baseline, steps=n)

        def adaptive(gap: float, score=score) -> Attribution:
            return integrated_gradients(score, test, baseline=baseline, gap=gap)

        def captum(score=score) -> Attribution:
            # captum repeats x once per step, so the class of each row repeats with it
            def repeated(rows: Tensor) -> Tensor:
                return score(rows, torch.arange(len(rows)) % INPUTS)

            return by_captum(repeated, test, baseline)

        methods = {
            f"captum, {CAPTUM} steps": captum,
            "gap 0.01": lambda adaptive=adaptive: adaptive(0.01),
            "gap 0.001": lambda adaptive=adaptive: adaptive(0.001),
            "Gauss, 16 nodes": lambda gauss=gauss: gauss(16),
            "Gauss, 50 nodes": lambda gauss=gauss: gauss(50),
        }
        spent = {method: [] for method in methods}
        results = {}
        for _ in range(ROUNDS):
            for method, run in methods.items():
                start = time.process_time()
                results[method] = run()
                spent[method].append(time.process_time() - start)
        for method, found in results.items():
            gap = (found.gap.abs() / change).tolist()
            error = ((found.values - fine).abs().sum(1) / fine.abs().sum(1)).tolist()
            points = found.evaluations / INPUTS
            if method.startswith("gap"):
                wanted = float(method.removeprefix("gap "))
                points = statistics.median(
                    integrated_gradients(
                        log_odds(model, predicted(model, one)), one, baseline=baseline, gap=wanted
                    ).evaluations
                    for one in test[:, None]
                )
            print(
                f"| {name} | {method} | {points:g} | {statistics.median(gap):.1e} | {max(gap):.1e} "
                f"| {statistics.median(error):.1e} | {1e3 * min(spent[method]) / INPUTS:.2f} |"
            )


if __name__ == "__main__":
    main()
