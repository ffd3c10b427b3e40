"""What explanations bring on real networks: shortcuts, wrong labels, pruning.

Digits of 8 x 8 pixels, MNIST, breast cancer and adult. Each claim comes from several trainings,
with Student's interval over them, and beside what needs no explanation. Prints Markdown.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/reward.py [shortcuts|labels|pruning]...
"""

import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unmask.evaluation import label_errors_found, prune_units, reward
from unmask.evaluation.retrained import over_repeats, retrained
from unmask.methods.saliency import gradient, input_x_gradient, integrated_gradients, right_reasons
from unmask.results import Attribution
from unmask.score import Score
from unmask.zoo.data import mnist_digits
from unmask.zoo.lenet import LeNet, SmallLeNet
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe, fresh, trained

Data = tuple[Tensor, Tensor]
REPEATS = 5
ROWS = 3000
"""Of MNIST and of adult."""


def by_integral(score: Score, x: Tensor) -> Attribution:
    return integrated_gradients(score, x, baseline=torch.zeros_like(x[0]), steps=16)


def by_gradient(score: Score, x: Tensor) -> Attribution:
    return gradient(score, x)


def of_inputs(score: Score, x: Tensor) -> Attribution:
    return Attribution(x.abs())


def digits() -> Data:
    from sklearn.datasets import load_digits

    table = load_digits()
    return (torch.tensor(table.images)[:, None] / 16).float(), torch.tensor(table.target)


def breast_cancer() -> Data:
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    x = torch.tensor(table.data).float()
    return (x - x.mean(0)) / x.std(0), torch.tensor(table.target)


def mnist() -> Data:
    images, labels = mnist_digits("train")
    return images[:ROWS, None] / 255, labels[:ROWS]


def adult() -> Data:
    from unmask.zoo.census import encoded
    from unmask.zoo.data import adult_rows

    rows = [row for row in adult_rows() if row["split"] == "train"][:ROWS]
    x = encoded(rows).inputs
    return x, torch.tensor([row["income"] == ">50K" for row in rows]).long()


def training(make: Callable[[], nn.Module], epochs: int, decay: float = 0.01):
    def train(data: Tensor, labels: Tensor, generator: torch.Generator) -> nn.Module:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        recipe = Recipe(epochs=epochs, batch_size=64, rate=4e-3, decay=decay, seed=seed)
        return trained(make, data, labels, recipe)

    return train


def correcting(make: Callable[[], nn.Module], steps: int):
    def correct(x: Tensor, y: Tensor, rejected: Tensor, generator: torch.Generator) -> nn.Module:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        found = right_reasons(
            fresh(make, seed), x, labels=y, annotation=rejected, steps=steps, minibatch=128,
            rate=4e-3, generator=generator,
        )  # fmt: skip
        assert isinstance(found.model, nn.Module)
        return found.model

    return correct


def written(numbers: dict[str, float], names: Sequence[str]) -> str:
    cells = []
    for name in names:
        value = numbers.get(name, float("nan"))
        low, high = (numbers.get(f"{name}_{end}") for end in ("low", "high"))
        around = "" if low is None else f" ({low:.2f} to {high:.2f})"
        cells.append(f"{value:.3f}{around}")
    return " | ".join(cells)


def table(title: str, rows: dict[str, dict[str, float]], names: Sequence[str]) -> None:
    print(f"\n### {title}\n\n| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for row, numbers in rows.items():
        print(f"| {row} | {written(numbers, names)} |")
    sys.stdout.flush()


def shortcuts() -> None:
    names = (
        "cost", "detection", "recall", "accuracy", "gain", "gain_by_chance", "gain_of_all",
        "simulation", "selection",
    )  # fmt: skip
    for name, (x, y), make, epochs in (
        ("digits", digits(), SmallLeNet, 8),
        ("MNIST, LeNet", mnist(), LeNet, 3),
    ):
        patch = torch.zeros(x.shape[1:], dtype=torch.bool)
        side = 3 if name == "digits" else 5
        patch[:, -side:, -side:] = True
        rows = {}
        for how, explain in (
            ("integrated gradients", by_integral),
            ("gradient", by_gradient),
            ("the input alone", of_inputs),
        ):
            for kind, correct in (
                ("exchanged", None),
                ("right reasons", correcting(make, epochs * len(x) // 128)),
            ):
                began = time.process_time()
                found = reward(
                    x, y, explain=explain, train=training(make, epochs), annotation=patch,
                    correct=correct, repeats=REPEATS, batch_size=256,
                )  # fmt: skip
                rows[f"{how}, {kind}"] = dict(found.numbers)
                print(f"<!-- {name} {how} {kind}: {time.process_time() - began:.0f} s -->")
        table(f"A shortcut in {name}, {REPEATS} trainings of each kind", rows, names)


def labels() -> None:
    names = (
        "found", "found_by_loss", "found_by_inputs", "found_by_chance", "advantage", "accuracy",
        "gain", "gain_by_loss", "gain_by_inputs", "gain_by_truth",
    )  # fmt: skip
    rows = {}
    for name, data, make, epochs in (
        ("digits, 4 epochs", digits, SmallLeNet, 4),
        ("digits, 30 epochs", digits, SmallLeNet, 30),
        ("breast cancer, 10 epochs", breast_cancer, lambda: MLP((30, 16, 2)), 10),
        ("breast cancer, 200 epochs", breast_cancer, lambda: MLP((30, 16, 2)), 200),
        ("MNIST, LeNet, 5 epochs", mnist, LeNet, 5),
        ("adult, 10 epochs", adult, None, 10),
    ):
        x, y = data()
        made = make or (lambda width=x.shape[1]: MLP((width, 32, 2)))
        found = label_errors_found(
            x, y, explain=by_integral, train=training(made, epochs), repeats=REPEATS,
            batch_size=512,
        )  # fmt: skip
        rows[name] = dict(found.numbers)
        table(f"Wrong labels, one in ten, {name}", {name: rows[name]}, names)
    table(f"All of them, {REPEATS} trainings each", rows, names)


def pruning() -> None:
    names = ("accuracy", "area", "area_by_output", "area_by_weights", "area_by_chance")
    gains = ("gain_over_output", "gain_over_weights", "gain_over_chance")
    for name, data, make, epochs, layers in (
        (
            "digits, SmallLeNet",
            digits,
            SmallLeNet,
            20,
            ("features.0", "features.3", "classifier.1"),
        ),
        ("digits, perceptron", _flat, lambda: MLP((64, 64, 32, 10)), 20, ("layers.0", "layers.2")),
        ("MNIST, LeNet", mnist, LeNet, 5, ("features.0", "features.3", "classifier.1")),
    ):
        x, y = data()
        held = len(x) // 2  # the network learns from the other half
        models = [
            retrained(training(make, epochs), x[held:], y[held:], seed) for seed in range(REPEATS)
        ]
        rows = {}
        for layer in layers:
            for how, explain in (("IG", by_integral), ("input x gradient", input_x_gradient)):
                found = [
                    prune_units(m, x[:held], labels=y[:held], layer=layer, explain=explain)
                    for m in models
                ]
                each = [{key: one.numbers[key] for key in (*names, *gains)} for one in found]
                rows[f"{layer}, {how}"] = over_repeats(each)
        table(f"Pruned: {name}, {REPEATS} networks", rows, (*names[:2], *gains))


def _flat() -> Data:
    x, y = digits()
    return x.flatten(1), y


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["shortcuts", "labels", "pruning"]
    for part in chosen:
        {"shortcuts": shortcuts, "labels": labels, "pruning": pruning}[part]()
