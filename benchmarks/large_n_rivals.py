"""Explanations of games of many players from as many coalitions, ours and shapiq's, on real inputs.

What `large_n.py` (sentences) and `large_n_images.py` (photographs) share. Every method may ask for
as many coalitions, and is judged by the share of the variance that it explains on coalitions that
none of them saw, uniform ones (of at most 16 players all there are) and such as hold 90 % of the
players. Of shapiq's methods the Fourier
coefficients are taken before they are turned into an index, which takes longer than all else; that
is in their favour. Each has run once on a small game of as many players before it is timed, as
theirs compile code on first use. Seconds are CPU seconds of a process that has one core; those of
the model count apart. An input's answers are appended to a file as they come, one JSON line per
method, and what stands there already is not done again.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unmask.game import Game
from unmask.interactions import large_n
from unmask.lattice import coalitions

Found = TypeVar("Found")
Explained = Callable[[np.ndarray], np.ndarray]
SMALL = 16
SHARES = {"uniform": 0.5, "near full": 0.9}


@dataclass(frozen=True)
class Job:
    """One method on one input: `kind` of inputs, the `number` of this one, and the `way`."""

    kind: str
    number: int
    way: str
    budget: int
    tests: int
    device: str


def options(description: str, budget: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few inputs, coalitions and tests")
    parser.add_argument("--inputs", type=int, default=20, help="how many inputs")
    parser.add_argument("--budget", type=int, default=budget, help="coalitions for each method")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one core")
    parser.add_argument("--device", default="cpu", help="where the model runs: cpu or cuda")
    parser.add_argument("--file", type=Path, help="JSON lines; what is there is not done again")
    parser.add_argument("--table", type=Path, help="print the table of such a file, do nothing")
    return parser


def raced(
    kind: str, make: Callable[[int, str], Game], given: argparse.Namespace, tests: int = 1000
) -> None:
    """Run all methods on all inputs, and print the table."""
    file = given.file or Path(f"large_n-{kind}.jsonl")
    done = {
        (r["kind"], r["number"], r["way"], r["budget"], r["tests"])
        for r in read(file)
        if "error" not in r
    }
    # Those that take longest come first, so that no core waits for the last of them.
    jobs = [
        Job(kind, number, way, given.budget, tests, given.device)
        for way in ("ProxySPEX", "SPEX", "ours")
        for number in range(given.inputs)
        if (kind, number, way, given.budget, tests) not in done
    ]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with file.open("a", encoding="utf-8") as lines:
        if given.workers == 1:
            for job in jobs:
                _written(lines, done_alone(make, job))
        else:
            make(0, "cpu")  # a network that must be trained first is trained once
            with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
                parts = [(make, job) for job in jobs]
                for record in pool.imap_unordered(_done_in_pool, parts):
                    _written(lines, record)
                pool.close()
                pool.join()
    table(file)


def _written(lines, record: dict) -> None:
    lines.write(json.dumps(record) + "\n")
    lines.flush()
    said = record.get("error") or " ".join(f"{k} {record['R2'][k]:.4f}" for k in SHARES)
    print(f"{record['kind']} {record['number']:3d} {record['way']:>9}  {said}", flush=True)


def _done_in_pool(given: tuple[Callable[[int, str], Game], Job]) -> dict:
    return done_alone(*given)


def done_alone(make: Callable[[int, str], Game], job: Job) -> dict:
    """A record of what one method explains of one input; of an error, what it was."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    record: dict = asdict(job)
    try:
        game = make(job.number, job.device)
        n = len(game.names)
        record["players"] = n
        warm(n, job.way)
        clock = Clock(game)
        begin = time.process_time()
        explained, own = WAYS[job.way](clock.game(), job.budget)
        record["seconds"] = time.process_time() - begin - clock.seconds
        record["seconds of the model"] = clock.seconds
        record["asked"] = clock.asked
        record.update(own)
        random = np.random.default_rng((77, job.number))
        record["R2"] = {}
        for name, share in SHARES.items():
            masks = random.random((job.tests, n)) < share
            if n <= SMALL and share == 0.5:  # then all there are
                masks = coalitions(n).numpy()
            truth = game(torch.from_numpy(masks)).double().cpu().numpy()
            error = ((truth - explained(masks)) ** 2).mean()
            record["R2"][name] = float(1 - error / truth.var())
    except Exception as error:  # a rival's failure is an answer too
        record["error"] = f"{type(error).__name__}: {error}"[:500]
    return record


class Clock:
    """What the evaluations of a game take, and how many they are."""

    def __init__(self, game: Game) -> None:
        self.inner, self.seconds, self.asked = game, 0.0, 0

    def game(self) -> Game:
        return Game(self._value, self.inner.names)

    def _value(self, masks: Tensor) -> Tensor:
        begin = time.process_time()
        values = self.inner.value(masks)
        if values.is_cuda:
            torch.cuda.synchronize()  # what waits later would count as the method's
        self.seconds += time.process_time() - begin
        self.asked += len(masks)
        return values


def ours(game: Game, budget: int) -> tuple[Explained, dict]:
    terms = large_n(game, budget=budget)
    own = {
        "residual": terms.residual,
        "residual near full": terms.residual_near_full,
        "terms": len(terms.effects),
    }
    device = terms.effects.device
    return lambda masks: terms(torch.from_numpy(masks).to(device)).cpu().numpy(), own


class _Caught(Exception):
    pass


def of_shapiq(name: str, game: Game, budget: int) -> tuple[Explained, dict]:
    """Its Fourier coefficients, caught on their way into an index."""
    from shapiq.approximator.sparse import base
    from shapiq.approximator.sparse.proxyspex import ProxySPEX
    from shapiq.approximator.sparse.spex import SPEX

    def caught(coefficients: object) -> None:
        raise _Caught(coefficients)

    def value(masks: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.ascontiguousarray(masks.astype(bool)))
        return game(given).double().cpu().numpy()

    given, base.fourier_to_moebius = base.fourier_to_moebius, caught
    try:
        kind = {"SPEX": SPEX, "ProxySPEX": ProxySPEX}[name]
        kind(n=len(game.names), random_state=0).approximate(budget, value)
    except _Caught as found:
        coefficients = found.args[0]
    finally:
        base.fourier_to_moebius = given

    def explained(masks: np.ndarray) -> np.ndarray:
        signs = 1.0 - 2.0 * masks
        terms = (size * signs[:, list(one)].prod(1) for one, size in coefficients.items())
        return sum(terms, np.zeros(len(masks)))

    return explained, {"terms": len(coefficients)}


WAYS: dict[str, Callable[[Game, int], tuple[Explained, dict]]] = {
    "ours": ours,
    "ProxySPEX": lambda game, budget: of_shapiq("ProxySPEX", game, budget),
    "SPEX": lambda game, budget: of_shapiq("SPEX", game, budget),
}
_WARM: set[tuple[int, str]] = set()


def warm(n: int, way: str) -> None:
    """What is compiled, imported and tabulated on first use."""
    if (n, way) not in _WARM:
        _WARM.add((n, way))
        few = 12 if way == "ProxySPEX" else n  # its trees have nothing to compile
        WAYS[way](Game(lambda m: m[:, :3].sum(1).double() ** 2, tuple("a" * few)), 512 + 8 * few)


def read(file: Path) -> list[dict]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def table(file: Path) -> None:
    records = read(file)
    kinds = sorted({(r["kind"], r["budget"], r["tests"]) for r in records})
    for kind, budget, tests in kinds:
        these = [
            r for r in records if (r["kind"], r["budget"], r["tests"]) == (kind, budget, tests)
        ]
        well = [r for r in these if "error" not in r]
        right = {(r["number"], r["way"]) for r in well}  # what failed may have been tried again
        wrong = [r for r in these if "error" in r and (r["number"], r["way"]) not in right]
        numbers = {r["number"] for r in these}
        print(
            f"\n{kind}: {len(numbers)} inputs, {budget} coalitions; medians (95 % over inputs); "
            f"R2 on {tests} coalitions of either kind, of 16 players on all for uniform"
        )
        heads = ("R2, uniform", "R2, 90 % present", "s", "s of model", "asked", "failed")
        print(f"{'':>9} {heads[0]:>24} {heads[1]:>24} " + " ".join(f"{h:>10}" for h in heads[2:]))
        for way in WAYS:
            rows = [r for r in well if r["way"] == way]
            if not rows:
                continue
            told = " ".join(f"{with_interval([r['R2'][k] for r in rows]):>24}" for k in SHARES)
            spent, model, asked = (
                statistics.median(r[k] for r in rows)
                for k in ("seconds", "seconds of the model", "asked")
            )
            failed = sum(r["way"] == way for r in wrong)
            print(f"{way:>9} {told} {spent:10.1f} {model:10.1f} {asked:10.0f} {failed:10d}")
        mine = {r["number"]: r for r in well if r["way"] == "ours"}
        for way in list(WAYS)[1:]:
            pairs = [
                (mine[r["number"]], r) for r in well if r["way"] == way and r["number"] in mine
            ]
            for name in SHARES:
                more = [one["R2"][name] - two["R2"][name] for one, two in pairs]
                if more:
                    ahead = f"{sum(difference > 0 for difference in more)} of {len(more)}"
                    print(f"ours - {way}, {name}: {with_interval(more)}, ahead on {ahead}")
        for r in wrong:
            print(f"{r['way']} failed on {r['number']}: {r['error']}")


def with_interval(values: list[float]) -> str:
    """The median, and its interval over the inputs by drawing them anew."""
    drawn = np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))
    low, high = np.quantile(np.median(np.array(values)[drawn], axis=1), (0.025, 0.975))
    return f"{statistics.median(values):.4f} ({low:.4f}, {high:.4f})"
