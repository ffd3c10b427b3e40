"""All coalitions of many inputs: read at once, input by input, and by a plain loop.

The tables that `concept_difficulty`, `bayesian_concepts` and `layerwise_knowledge` rest on.
Ratios are CPU time of one thread to that of a forward loop over as many rows, in turns within one
process, the median over rounds. The loop runs the model on ready rows of the same batch and does
nothing else. The last columns are whole methods, per row of their tables.

    OMP_NUM_THREADS=1 python benchmarks/many_tables.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from unmask import log_odds, masked, predicted, zoo
from unmask.masking import cached_rows
from unmask.methods.dynamics import concept_difficulty, layerwise_knowledge
from unmask.methods.dynamics.tables import hidden_for, tables
from unmask.zoo import Exhibit

INPUTS = 8
DRAWS = 4


def measure(exhibit: Exhibit, rounds: int) -> None:
    x, players = torch.stack(exhibit.inputs[:INPUTS]), exhibit.players(0)
    baseline = exhibit.baseline(0)
    classes = predicted(exhibit.model, x)
    score = log_odds(exhibit.model, classes)
    rows = INPUTS * 2 ** len(players.names)
    size = cached_rows(x[0])
    ready = x.repeat(-(-size // INPUTS), *[1] * (x.ndim - 1))[:size].contiguous()
    learned = torch.stack(exhibit.inputs[INPUTS:])
    labels = torch.tensor((exhibit.labels or ())[INPUTS:])

    @torch.no_grad()
    def plain() -> None:
        for _ in range(rows // size):
            exhibit.model(ready)

    def at_once() -> None:
        hidden = hidden_for(x, baseline[None])
        tables(lambda some, source: score(some, rows=source)[:, None], x, players, hidden)

    def one_by_one() -> None:
        for i, one in enumerate(x):
            masked(log_odds(exhibit.model, int(classes[i])), one, players, baseline).table()

    def difficulty() -> None:
        concept_difficulty(score, x, players=players, baseline=baseline, noise=0.05, samples=DRAWS)

    def layers() -> None:
        layerwise_knowledge(
            exhibit.model, x, data=learned, labels=labels, players=players, baseline=baseline
        )

    runs: dict[str, tuple[Callable[[], None], int]] = {
        "plain": (plain, 1),
        "at once": (at_once, 1),
        "one by one": (one_by_one, 1),
        "concept_difficulty": (difficulty, DRAWS),
        "layerwise_knowledge": (layers, 1),
    }
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, share) in runs.items():
            start = time.process_time()
            run()
            spent[name].append((time.process_time() - start) / share)
    base = spent["plain"]
    ratios = (
        statistics.median(a / b for a, b in zip(spent[name], base, strict=True)) for name in runs
    )
    told = " | ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"| {exhibit.name} | {rows} | {1e6 * statistics.median(base) / rows:.1f} | {told} |")


def main() -> None:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(
        "| network | rows | CPU us a row | plain | at once | one by one | concept_difficulty "
        "| layerwise_knowledge |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for exhibit in (zoo.breast_cancer(), zoo.digits()):
        measure(exhibit, rounds)


if __name__ == "__main__":
    main()
