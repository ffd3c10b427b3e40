"""A million terms of a run: written as they come, told in advance, read, asked and drawn.

Seconds of CPU of one thread and, in brackets, of the clock, medians over rounds; the effects are
random, so that nothing compresses them. The peers are what one would write without this room: one
`pandas.read_parquet` of the same files, and pandas's own grouping of them. With an address such as
s3://bucket/run the parts are in that store.

    OMP_NUM_THREADS=1 python benchmarks/store.py [rounds] [address]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas
import torch

from unmask.lattice import coalitions
from unmask.plot import plot, plot_orders
from unmask.results import Interactions
from unmask.store import frame, query, size_of
from unmask.store.explanations import Explanation, table_of, write_explanations
from unmask.store.places import Place
from unmask.store.tables import TERMS, part

PLAYERS, INPUTS, GROUP = 10, 1000, 8


def explained(number: int, players: int) -> Explanation:
    """A term of every coalition, with effects that fall off by order as those of networks do."""
    members = coalitions(players)
    generator = torch.Generator().manual_seed(number)
    effects = torch.randn(len(members), generator=generator, dtype=torch.float64)
    terms = Interactions(
        members,
        torch.rand(len(members), generator=generator) < 0.5,
        effects * torch.exp(-members.sum(1).double()),
        0.0,
        tuple(f"player {i}" for i in range(players)),
    )
    return Explanation(number, 0, "and_or", terms)


def written(run: Place, found: list[Explanation]) -> None:
    for first in range(0, len(found), GROUP):
        with part(run, TERMS, first).written() as draft:
            write_explanations(found[first : first + GROUP], draft)


def timed(what: Callable[[], object], rounds: int) -> str:
    cpu, clock = [], []
    for _ in range(rounds):
        before = time.process_time(), time.perf_counter()
        what()
        cpu.append(time.process_time() - before[0])
        clock.append(time.perf_counter() - before[1])
    return f"{statistics.median(cpu):6.2f} s ({statistics.median(clock):.2f})"


def main(rounds: int, address: str | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Place(address or str(Path(folder, "run")))
        found = [explained(number, PLAYERS) for number in range(INPUTS)]
        rows = INPUTS * 2**PLAYERS
        told = size_of([PLAYERS] * INPUTS, 1)
        print(f"{rows:,} rows of {INPUTS} inputs, {PLAYERS} players, {GROUP} inputs in a file")
        print("written, with the disk      ", timed(lambda: written(run, found), 1))
        print("  of that, rows from tensors", timed(lambda: [*map(table_of, found)], 1))
        if run.local is not None:
            size = sum(file.stat().st_size for file in (run.local / TERMS).iterdir())
            print(f"  {size / 1e6:.1f} MB; told in advance: at most {told.tables / 1e6:.1f} MB")
            print("pandas.read_parquet         ", timed(lambda: peer(run.local), rounds))
        print("frame(run), salient         ", timed(lambda: frame(run.url), rounds))
        print(f"  {len(frame(run.url)):,} rows")
        everything = {"everything": True}
        print("frame(run, everything=True) ", timed(lambda: frame(run.url, **everything), rounds))
        sums = 'SELECT "order", sum(abs(effect)) s, count(*) n FROM terms GROUP BY ALL'
        print("query: strength by order    ", timed(lambda: query(run.url, sums), rounds))
        pair = "SELECT sum(effect) FROM terms WHERE list_contains(members, 'player 3')"
        print("query: terms with a player  ", timed(lambda: query(run.url, pair), rounds))
        print("plot of a million terms     ", timed(lambda: plot(many()), 1))
        print("plot_orders of them         ", timed(lambda: plot_orders(many()), 1))
        print("  of both, making them      ", timed(many, 1))


def peer(run: Path | None) -> pandas.DataFrame:
    assert run is not None
    return pandas.read_parquet(run / TERMS)


def many() -> Interactions:
    return explained(0, 20).terms


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2] if len(sys.argv) > 2 else None)
