"""Sampled Shapley values beside shap, captum and shapiq, at equal numbers of evaluations.

    UNMASK_DATA=... OMP_NUM_THREADS=1 python benchmarks/shapley.py [--quick] [--time]

The error is the L2 distance to the exact values, relative to their norm; the median over the inputs
is printed. With 12 players (the facts of the adult census; patches of digits, on which nothing was
tried while the methods were made) the exact values come from all 4,096 coalitions; with 30 (every
column of the breast cancer data) from 131,072 pairs of coalitions and a weighted regression on all
sets of one and three players, which leaves an error of about 0.001.
Every method is asked for no more evaluations than the budget; what it takes is counted, and one
that takes more than one in a hundred above it is left out.

With --time the cost of a call is measured instead: CPU time of one thread beside a plain loop of
forward passes over as many rows that are ready in memory, both taking turns.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from values import BATCHES, lenet, loop, mlp

from unmask import Game, Players, features, log_odds, masked, patches, zoo
from unmask.methods.saliency import (
    kernel_shap,
    leverage_shap,
    permutation_shapley,
    shapley_exact,
    shapley_values,
)

BUDGETS = (128, 512, 1024, 2048)
PAIRS = 2**17
Estimate = Callable[[Game, int, int], np.ndarray]


class Counted:
    """A game that counts what it is asked for, and answers in any package's way."""

    def __init__(self, game: Game) -> None:
        self.asked = 0
        self.names = game.names
        self._game = game

    def __call__(self, masks: Tensor) -> Tensor:
        self.asked += len(masks)
        return self._game(masks)

    def of_numbers(self, rows: np.ndarray) -> np.ndarray:
        masks = torch.from_numpy(np.atleast_2d(rows) > 0.5)
        return self(masks).double().numpy()

    def of_tensors(self, rows: Tensor) -> Tensor:
        return self(rows > 0.5).double()


def ours() -> dict[str, Estimate]:
    def of(method: Callable) -> Estimate:
        def estimate(game: Game, budget: int, seed: int) -> np.ndarray:
            generator = torch.Generator().manual_seed(seed)
            return method(game, samples=budget, generator=generator).values[0].numpy()

        return estimate

    methods = (shapley_values, leverage_shap, kernel_shap, permutation_shapley)
    return {f"unmask {method.__name__}": of(method) for method in methods}


def of_shap() -> dict[str, Estimate]:
    import shap

    def kernel(game, budget, seed):
        np.random.seed(seed)
        explainer = shap.KernelExplainer(game.of_numbers, np.zeros((1, len(game.names))))
        rows = np.ones((1, len(game.names)))
        return explainer.shap_values(rows, nsamples=budget - 4, l1_reg=False, silent=True)[0]

    def permutation(game, budget, seed):
        n = len(game.names)
        explainer = shap.explainers.Permutation(game.of_numbers, np.zeros((1, n)), seed=seed)
        most = (budget - 4) // (2 * n + 1) * (2 * n + 1)
        return explainer(np.ones((1, n)), max_evals=most, silent=True).values[0]

    return {"shap Kernel": kernel, "shap Permutation": permutation}


def of_captum() -> dict[str, Estimate]:
    from captum.attr import KernelShap, ShapleyValueSampling

    def sampling(game, budget, seed):
        torch.manual_seed(seed)
        n = len(game.names)
        x = torch.ones(1, n)
        orders = (budget - 2) // n
        found = ShapleyValueSampling(game.of_tensors).attribute(x, x * 0, n_samples=orders)
        return found[0].double().numpy()

    def kernel(game, budget, seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        x = torch.ones(1, len(game.names))
        found = KernelShap(game.of_tensors).attribute(
            x, x * 0, n_samples=budget - 2, perturbations_per_eval=256
        )
        return found[0].double().numpy()

    return {"captum ShapleyValueSampling": sampling, "captum KernelShap": kernel}


def of_shapiq() -> dict[str, Estimate]:
    from shapiq import approximator as kinds

    def of(make: Callable) -> Estimate:
        def estimate(game, budget, seed):
            n = len(game.names)
            found = make(n, seed).approximate(budget, game.of_numbers)
            return np.array([found[(i,)] for i in range(n)])

        return estimate

    makers = {
        "KernelSHAP": lambda n, s: kinds.KernelSHAP(n, random_state=s),
        "KernelSHAP paired": lambda n, s: kinds.KernelSHAP(n, pairing_trick=True, random_state=s),
        "KernelSHAP paired, by leverage": lambda n, s: kinds.KernelSHAP(
            n, pairing_trick=True, sampling_weights=np.ones(n + 1), random_state=s
        ),
        "UnbiasedKernelSHAP": lambda n, s: kinds.UnbiasedKernelSHAP(
            n, pairing_trick=True, random_state=s
        ),
        "kADDSHAP": lambda n, s: kinds.kADDSHAP(n, max_order=2, pairing_trick=True, random_state=s),
        "RegressionFSII 2": lambda n, s: kinds.RegressionFSII(
            n, max_order=2, pairing_trick=True, random_state=s
        ),
        "SVARM": lambda n, s: kinds.SVARM(n, random_state=s),
        "SVARMIQ": lambda n, s: kinds.SVARMIQ(
            n, max_order=1, index="SII", pairing_trick=True, random_state=s
        ),
        "SHAPIQ": lambda n, s: kinds.SHAPIQ(
            n, max_order=1, index="SII", pairing_trick=True, random_state=s
        ),
        "StratifiedSampling": lambda n, s: kinds.StratifiedSamplingSV(n, random_state=s),
        "OwenSampling": lambda n, s: kinds.OwenSamplingSV(n, n_anchor_points=8, random_state=s),
        "PermutationSampling": lambda n, s: kinds.PermutationSamplingSV(n, random_state=s),
        # ProxySPEX is left out: two seconds a call, and an error of 0.15 at 512 on the census.
    }
    return {f"shapiq {name}": of(make) for name, make in makers.items()}


def played(exhibit: zoo.Exhibit, players: Callable[[int], Players], inputs: int) -> list[Game]:
    """The log-odds of the class that the network chooses, on some inputs."""
    games = []
    for i in range(inputs):
        x = exhibit.inputs[i]
        target = int(exhibit.model(x[None]).argmax())
        score = log_odds(exhibit.model, target)
        games.append(masked(score, x, players(i), exhibit.baseline(i)))
    return games


def nearly_exact(games: list[Game], pairs: int) -> Tensor:
    """Shapley values of many games of the same players, by a regression on sets of 1 and 3."""
    n = len(games[0].names)
    triples = torch.tensor(list(combinations(range(n), 3)))
    generator = torch.Generator().manual_seed(0)
    size = torch.randint(1, n, (pairs,), generator=generator)
    place = torch.rand(pairs, n, generator=generator).argsort(1).argsort(1)
    masks, weight = place < size[:, None], 1 / (size * (n - size)).double()
    odd = torch.stack([(game(masks) - game(~masks)).double() / 2 for game in games], 1)
    one = torch.ones(1, n, dtype=torch.bool)
    whole = torch.cat([(game(one) - game(~one)).double() / 2 for game in games])
    terms = n + len(triples)
    gram = 1e6 * weight.sum() * torch.ones(terms, terms, dtype=torch.float64)
    target = 1e6 * weight.sum() * whole.expand(terms, -1)
    for rows in torch.arange(pairs).split(2**13):
        z = 2 * masks[rows].float() - 1
        x = torch.cat([z, z[:, triples].prod(2)], 1)
        weighted = x * weight[rows, None].float()
        gram += (weighted.mT @ x).double()
        target = target + weighted.double().mT @ odd[rows]
    c = torch.linalg.solve(gram, target)
    values = 2 * c[:n]
    for k in range(3):
        values.index_add_(0, triples[:, k], 2 / 3 * c[n:])
    return values.mT


def errors(
    subject: str, games: list[Game], exact: Tensor, methods: dict[str, Estimate], budget: int
) -> None:
    for name, estimate in methods.items():
        found, spent, seconds = [], 0, time.process_time()
        try:
            for seed, (game, truth) in enumerate(zip(games, exact.numpy(), strict=True)):
                counted = Counted(game)
                values = estimate(counted, budget, seed)
                spent = max(spent, counted.asked)
                found.append(np.linalg.norm(values - truth) / np.linalg.norm(truth))
        except (ValueError, IndexError, ImportError, np.linalg.LinAlgError, KeyError) as reason:
            print(f"| {subject} | {budget} | {name} | failed: {str(reason)[:60]} |  |")
            continue
        seconds = (time.process_time() - seconds) / len(games)
        told = f"{statistics.median(found):.2g}" if spent <= 1.01 * budget else "over budget"
        line = (subject, budget, name, told, f"{1e3 * seconds:.0f}", spent)
        print("| " + " | ".join(map(str, line)) + " |", flush=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def times(quick: bool) -> None:
    """The cost of a call beside that of the forward passes alone."""
    torch.manual_seed(0)
    image = (1, 28, 28)
    subjects = [
        ("MLP, n = 14", mlp(14), features(14), (14,), (2048, 8192)),
        ("LeNet, n = 12", lenet(), patches(image, (3, 4)), image, (512, 2048)),
    ]
    methods = (kernel_shap, leverage_shap, permutation_shapley, shapley_values)
    print("| model | rows | method | of the forward passes |\n|---|---|---|---|")
    for name, model, players, shape, budgets in subjects:
        x, nothing = torch.randn(shape), torch.zeros(shape)
        n = len(players.names)
        game = masked(log_odds(model, 1), x, players, nothing)
        works: list[tuple[str, int, Callable[[], object]]] = [
            (method.__name__, rows, lambda m=method, r=rows, g=game: m(g, samples=r))
            for rows in budgets
            for method in methods
        ]
        for rows in budgets:
            masks = torch.rand(rows, n) < 0.5
            works.append((f"game of {rows} coalitions", rows, lambda m=masks, g=game: g(m)))
        works.append(("shapley_exact", 2**n, lambda g=game: shapley_exact(g)))
        works.append(
            ("shapley_values, all", 2**n, lambda g=game, r=2**n: shapley_values(g, samples=r))
        )
        for told, rows, work in works:
            ready = torch.where(players.cover(torch.rand(rows, n) < 0.5), x, nothing)

            def limit(batch: int, ready=ready, model=model) -> float:
                return seconds(lambda: loop(model, ready, batch))

            best = min(BATCHES, key=lambda batch: min(limit(batch) for _ in range(3)))
            work()
            ratios = [seconds(work) / limit(best) for _ in range(5 if quick else 31)]
            print(f"| {name} | {rows} | {told} | {statistics.median(ratios):.2f} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="fewer inputs")
    options.add_argument("--time", action="store_true", help="cost instead of accuracy")
    given = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if given.time:
        times(given.quick)
        return
    inputs = 8 if given.quick else 50
    adult, cancer = zoo.adult(), zoo.breast_cancer()
    small = played(adult, adult.players, inputs)
    digits = zoo.digits()
    unseen = played(digits, digits.players, inputs)
    large = played(cancer, lambda i: features(30), inputs)
    methods: dict[str, Estimate] = ours()
    for package in (of_shap, of_captum, of_shapiq):
        try:
            methods |= package()
        except ImportError:
            print(f"without {package.__name__.removeprefix('of_')}, which is not installed")
    print("| game | evaluations | method | median error | CPU ms | evaluated |")
    print("|---|---|---|---|---|---|")
    for subject, games in (("adult, n = 12", small), ("digits, n = 12", unseen)):
        exact = torch.cat([shapley_exact(game).values for game in games])
        for budget in BUDGETS:
            errors(subject, games, exact, methods, budget)
    exact = nearly_exact(large, PAIRS // (4 if given.quick else 1))
    for budget in BUDGETS:
        errors("breast cancer, n = 30", large, exact, methods, budget)


if __name__ == "__main__":
    main()
