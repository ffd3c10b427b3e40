"""Terms of games of many players: time beside the evaluations, and how much is explained.

    python benchmarks/large_n.py [--quick] [--workers 16] [--device cuda] [--file R.jsonl]
    python benchmarks/large_n.py --table R.jsonl

The planted games answer at once, so that the time beside their evaluations is the method's own; a
planted term counts as found when its effect is within one per cent. Times are the process's CPU
seconds with one thread. On a network (needs UNMASK_DATA, shapiq and lightgbm) reviews of films are
strung together to sixty words, the players, and all methods may ask for 3,000 coalitions; on five
digits of 16 patches (needs no data) for 2,000 of all 65,536. How they are judged:
`large_n_rivals.py`. Photographs: `large_n_images.py`.
"""

import os
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from typing import TypeVar

import torch
from large_n_rivals import options, raced, table
from torch import Tensor

from unmask import log_odds, masked, patches, tokens
from unmask.game import Game
from unmask.interactions import large_n
from unmask.planted import planted_game
from unmask.results import Interactions

Found = TypeVar("Found")
WORDS = 60


def main() -> None:
    parser = options(__doc__.splitlines()[0], budget=3000)
    parser.add_argument("--only", choices=["planted", "small", "reviews"], help="one part")
    given = parser.parse_args()
    if given.table:
        table(given.table)
        return
    torch.set_num_threads(1)
    if given.only in (None, "planted"):
        planted(range(1 if given.quick else 5))
    if given.only in (None, "small"):
        few = Namespace(**{**vars(given), "inputs": min(5, given.inputs), "budget": 2000})
        raced("digits", digit, few)
    if given.only in (None, "reviews") and os.environ.get("UNMASK_DATA"):
        if given.quick:
            given.inputs, given.budget = 2, 1000
        raced("reviews", review, given, tests=100 if given.quick else 1000)


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


def digit(number: int, device: str) -> Game:
    """The game that a small network plays on a digit in sixteen patches: all can be asked for."""
    from unmask.zoo import digits

    exhibit = digits()
    x = exhibit.inputs[number].to(device)
    score = log_odds(exhibit.model.to(device), exhibit.labels[number])
    grid = patches(tuple(x.shape), (4, 4))
    return masked(score, x, grid, exhibit.baseline(number).to(device))


def review(number: int, device: str) -> Game:
    """The game that the transformer plays on sixty words of reviews strung together."""
    from unmask.zoo import sst2
    from unmask.zoo.texts import MASK

    exhibit = sst2()
    model = exhibit.model.to(device)
    x = torch.cat(exhibit.inputs)[number * WORDS : (number + 1) * WORDS].to(device)
    with torch.no_grad():
        target = int(model(x[None]).argmax())
    players = tokens([str(place) for place in range(WORDS)])
    batch = 1024 if device.startswith("cuda") else None
    return masked(log_odds(model, target), x, players, torch.full_like(x, MASK), batch_size=batch)


if __name__ == "__main__":
    main()
