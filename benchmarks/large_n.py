"""Terms of games of many players: time beside the evaluations, and how much is explained.

    python benchmarks/large_n.py [--quick]

The planted games answer at once, so that the time beside their evaluations is the method's own; a
planted term counts as found when its effect is within one per cent. On a network (needs UNMASK_DATA
and shapiq) reviews of films are strung together to sixty words, the players. All methods may ask
for as many coalitions; the share of the variance explained is on 1,000 uniform coalitions that none
of them saw. Of shapiq's methods the Fourier coefficients are taken before they are turned into an
index, which takes longer than all else. Times are the process's CPU seconds with one thread.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unmask import log_odds, masked, tokens
from unmask.game import Game
from unmask.interactions import large_n
from unmask.planted import planted_game
from unmask.results import Interactions

Found = TypeVar("Found")
WORDS = 60
BUDGET = 3000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="fewer seeds and reviews")
    quick = arguments.parse_args().quick
    torch.set_num_threads(1)
    planted(range(1 if quick else 5))
    if os.environ.get("UNMASK_DATA"):
        reviews(2 if quick else 20)


def planted(seeds: range) -> None:
    print("Planted games; medians over seeds (worst)")
    print(f"{'players':>7} {'AND':>4} {'OR':>4} {'budget':>7} {'asked':>14} {'s':>12} {'found':>6}")
    jobs = [(n, *kind, 20_000) for n in (100, 500, 1000) for kind in ((100, 0, 5), (50, 50, 5))]
    jobs += [(512, 20, 0, 4, 8192), (4000, 100, 0, 5, 20_000)]
    for n, ands, ors, largest, budget in jobs:
        asked, spent, found = [], [], []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            game, truth = planted_game(n, ands, ors, generator, largest=largest)
            terms, own = timed(game, lambda game, b=budget: large_n(game, budget=b))
            asked.append(terms.evaluations or 0)
            spent.append(own)
            found.append(recovered(truth, terms))
        print(
            f"{n:7d} {ands:4d} {ors:4d} {budget:7d} {statistics.median(asked):6.0f} ({max(asked)}) "
            f"{statistics.median(spent):5.2f} ({max(spent):.2f}) "
            f"{statistics.median(found):6.1%} ({min(found):.1%})",
            flush=True,
        )


def timed(game: Game, work: Callable[[Game], Found]) -> tuple[Found, float]:
    """What a method finds, and the seconds that were not the game's."""
    inside = 0.0

    def value(masks: Tensor) -> Tensor:
        nonlocal inside
        begin = time.process_time()
        values = game.value(masks)
        inside += time.process_time() - begin
        return values

    begin = time.process_time()
    found = work(Game(value, game.names))
    return found, time.process_time() - begin - inside


def recovered(truth: Interactions, terms: Interactions) -> float:
    """The share of the planted terms whose effect is within one per cent."""
    own = dict(listed(terms))
    near = [abs(own.get(key, 0.0) - e) <= 0.01 * abs(e) for key, e in listed(truth)]
    return sum(near) / len(near)


def listed(terms: Interactions) -> list[tuple[tuple[object, bool], float]]:
    sets = [tuple(row.nonzero()[:, 0].tolist()) for row in terms.members]
    return list(
        zip(zip(sets, terms.is_or.tolist(), strict=True), terms.effects.tolist(), strict=True)
    )


def reviews(count: int) -> None:
    from shapiq.approximator.sparse.proxyspex import ProxySPEX
    from shapiq.approximator.sparse.spex import SPEX

    ways: dict[str, Callable[[Game], Callable[[np.ndarray], np.ndarray]]] = {
        "ours": ours,
        "ProxySPEX": lambda game: of_shapiq(ProxySPEX, game),
        "SPEX": lambda game: of_shapiq(SPEX, game),
    }
    explained: dict[str, list[float]] = {name: [] for name in ways}
    near: dict[str, list[float]] = {name: [] for name in ways}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    random = np.random.default_rng(77)
    for game in games(count):
        tests = [random.random((1000, WORDS)) < share for share in (0.5, 0.9)]
        truths = [game(torch.from_numpy(test)).double().numpy() for test in tests]
        for name, way in ways.items():
            found, own = timed(game, way)
            spent[name].append(own)
            for test, truth, kept in zip(tests, truths, (explained, near), strict=True):
                error = ((truth - found(test)) ** 2).mean()
                kept[name].append(float(1 - error / truth.var()))
    print(f"\nReviews of {WORDS} words, {count} of them, {BUDGET} coalitions; medians")
    print(f"{'':>10} {'R2':>7} {'95 % over reviews':>20} {'R2, 90 % there':>15} {'s':>6}")
    for name in ways:
        low, high = interval(explained[name])
        print(
            f"{name:>10} {statistics.median(explained[name]):7.4f} {low:9.4f} to {high:7.4f} "
            f"{statistics.median(near[name]):15.4f} {statistics.median(spent[name]):6.2f}"
        )


def interval(values: list[float]) -> tuple[float, float]:
    """Of the median, over the inputs, by drawing them anew."""
    drawn = np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))
    low, high = np.quantile(np.median(np.array(values)[drawn], axis=1), (0.025, 0.975))
    return float(low), float(high)


def games(count: int) -> list[Game]:
    from unmask.zoo import sst2
    from unmask.zoo.texts import MASK

    exhibit = sst2()
    words = torch.cat(exhibit.inputs)
    made = []
    for i in range(count):
        x = words[i * WORDS : (i + 1) * WORDS]
        with torch.no_grad():
            target = int(exhibit.model(x[None]).argmax())
        players = tokens([str(place) for place in range(WORDS)])
        hidden = torch.full_like(x, MASK)
        made.append(masked(log_odds(exhibit.model, target), x, players, hidden))
    return made


def ours(game: Game) -> Callable[[np.ndarray], np.ndarray]:
    terms = large_n(game, budget=BUDGET)
    return lambda masks: terms(torch.from_numpy(masks)).numpy()


class _Caught(Exception):
    pass


def of_shapiq(kind: Callable[..., object], game: Game) -> Callable[[np.ndarray], np.ndarray]:
    """Its Fourier coefficients, caught on their way into an index."""
    from shapiq.approximator.sparse import base

    def caught(coefficients: object) -> None:
        raise _Caught(coefficients)

    def value(masks: np.ndarray) -> np.ndarray:
        return game(torch.from_numpy(np.ascontiguousarray(masks.astype(bool)))).double().numpy()

    given, base.fourier_to_moebius = base.fourier_to_moebius, caught
    try:
        kind(n=WORDS, random_state=0).approximate(BUDGET, value)
    except _Caught as found:
        coefficients = found.args[0]
    finally:
        base.fourier_to_moebius = given

    def explained(masks: np.ndarray) -> np.ndarray:
        signs = 1.0 - 2.0 * masks
        terms = (size * signs[:, list(one)].prod(1) for one, size in coefficients.items())
        return sum(terms, np.zeros(len(masks)))

    return explained


if __name__ == "__main__":
    main()
