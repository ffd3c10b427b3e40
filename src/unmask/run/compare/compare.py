"""Compare explanations: every method that fits, on the same inputs, metrics and random draws."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from unmask import admission
from unmask.baselines import blur
from unmask.evaluation import Explain
from unmask.evaluation.trial import admit_trial
from unmask.internals import admit_any
from unmask.masking import cached_rows
from unmask.players import Players
from unmask.run.compare.comparison import Comparison, Cost, Subject
from unmask.run.compare.conclude import conclude, least
from unmask.run.compare.criteria import Bench, Measure, measures
from unmask.run.compare.explainers import Lineup, Supplies, explainers, told, tried_on
from unmask.run.compare.record import About, Record, as_kept
from unmask.run.compare.rivals import RANDOM, WORDS, rivals
from unmask.run.compare.work import DRAWS, Report, Work
from unmask.run.engine import Engine, Serial
from unmask.run.explainer import Step
from unmask.run.folder import Failure
from unmask.run.lock import locked
from unmask.run.models.opened import digest_of_module
from unmask.score import Score

Methods = Sequence[str] | Mapping[str, Explain]


@dataclass(frozen=True)
class Words:
    """What a person calls the inputs.

    Args:
        titles: of each.
        said: what the model says of each.
        kind: table, image, text or given.
        notes: what the reader must know of how they were chosen.
        pieces: what the players say in each input, where that differs, as the words of a text.
    """

    titles: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    kind: str = "given"
    notes: tuple[str, ...] = ()
    pieces: tuple[tuple[str, ...], ...] = ()


def compare(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    *,
    baseline: Shaped[Tensor, "*background"],
    players: Players,
    methods: Methods | None = None,
    data: Shaped[Tensor, "rows *input"] | None = None,
    labels: Tensor | None = None,
    layer: str | None = None,
    budget: float | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    words: Words | None = None,
    engine: Engine | None = None,
    listen: Callable[[Step], None] | None = None,
    announce: Callable[[Cost], None] | None = None,
) -> Comparison:
    """Explain inputs by every method that fits, rate the explanations, and say whom to believe.

    All methods face the same inputs, removals and draws, at the resolution of the players. What
    fails on some inputs is tried on each alone, and the rest goes on without them. In a folder the
    same call goes on where it stopped, and gives the same bits; no other process can work there
    meanwhile.

    Args:
        score: what is explained.
        x: the inputs; eight at least for any verdict.
        baseline: what stands where a part is removed; with one axis more, a set of them.
        players: the parts, two at least.
        methods: names of the catalogue, or functions by name; by default all that fit.
        data: inputs that methods may learn from; by default those that are explained.
        labels: their classes.
        layer: for activation maps; by default the last that is laid out like a picture.
        budget: passes of one input through the model that the whole may take.
        folder: where all is kept: a new or empty one, or that of the same comparison.
        seed: of all random draws.
        batch_size: inputs in one call of the model.
        words: what a person calls the inputs.
        engine: spreads the methods; by default one after the other.
        listen: is told of every step.
        announce: is told what it will take, before it begins.
    """
    admit_trial(score, x, players, batch_size)
    admission.backgrounds_for(x[0], baseline)
    if budget is not None and not budget > 0:
        raise ValueError(
            f"The budget is {budget} passes through the model. Give a number above zero, or none."
        )
    words = words or Words()
    rows, values, failures = _usable(score, x, words, batch_size)
    score, x = score.at(rows), x[rows]
    titles = tuple(_title(words, i) for i in rows.tolist())
    said = tuple(words.said[i] for i in rows.tolist()) if words.said else ()
    pieces = tuple(words.pieces[i] for i in rows.tolist()) if words.pieces else ()
    second, called = other_filling(x, seed)
    bench = Bench(score, x, players, baseline, second, seed, batch_size)
    supplies = Supplies(
        baseline, players, x if data is None else data, labels, layer, None, seed, batch_size
    )
    references = rivals(x, baseline)
    settings = as_kept(
        {"methods": None if methods is None else sorted(methods), "layer": layer, "budget": budget}
        | {"seed": seed, "batch_size": batch_size, "score": score.name, "players": players.names}
    )
    hashes = _hashes(score, x, baseline, players, supplies)
    record = None if folder is None else Record(Path(folder))
    with nullcontext() if record is None else locked(record.path):
        about = record.begun(settings, hashes) if record else None
        if about is None or record is None:
            lineup = _lineup(score, x, supplies, methods)
            taken, cost = _afforded(lineup, bench, tuple(references), budget)
            about = About(
                settings=settings,
                hashes=hashes,
                methods=tuple(lineup.explain),
                references=(RANDOM, *references),
                metrics=tuple(measure.metric for measure in taken),
                left_out=lineup.left_out,
                cost=cost,
                failures=tuple(failures),
                notes=words.notes,
                fillings=("the baseline", called),
            )
        else:
            lineup = _lineup(score, x, supplies, methods, about)
        few = torch.arange(about.cost.inputs, device=x.device)
        bench, values = bench.at(few), values[: len(few)]
        subject = Subject(
            score=score.name,
            titles=titles[: len(few)],
            names=players.names,
            owner=players.owner,
            x=bench.x,
            baseline=baseline,
            second=bench.second,
            values=values,
            said=said[: len(few)],
            kind=words.kind,
            pieces=pieces[: len(few)],
        )
        if announce is not None:
            announce(about.cost)
        if record is not None:
            _settle(record, about, subject)
        work = Work(
            bench,
            subject.titles,
            {**lineup.explain, **references},
            [measures()[metric.name] for metric in about.metrics],
            about.cost.explanation,
            record,
            listen,
        )
        reports: list[Report] = []
        for report in (engine or Serial()).map(work, [*about.methods, *about.references]):
            reports.append(report)
            work.told(report.name, len(reports))
        found = conclude(about, subject, reports, None if record is None else record.path)
        if record is not None:
            record.assemble(about.metrics, found.ratings)
        return found


def read_comparison(folder: str | Path) -> Comparison:
    """Read a comparison back from its folder, without the model.

    Args:
        folder: that `compare` finished.
    """
    record = Record(Path(folder))
    about, subject = record.about(), record.subject()
    count = len(subject.titles)
    reports = []
    for name in (*about.methods, *about.references):
        said = record.attribution(name, count)
        rated = {one.name: record.rating(name, one.name, count) for one in about.metrics}
        lacking = [metric for metric, kept in rated.items() if kept is None]
        if said is None or lacking:
            raise ValueError(
                f"The comparison in '{folder}' is not finished: {name} lacks "
                f"{'its explanation' if said is None else lacking[0]}. Repeat `unmask compare` "
                "with the same arguments: it goes on from there."
            )
        kept = {metric: one for metric, one in rated.items() if one is not None}
        failures = [*said[1], *(failure for one in kept.values() for failure in one[1])]
        ratings = {metric: one[0] for metric, one in kept.items()}
        reports.append(Report(name, said[0], ratings, tuple(failures), 0))
    return conclude(about, subject, reports, record.path)


def other_filling(x: Shaped[Tensor, "batch *input"], seed: int = 0) -> tuple[Tensor, str]:
    """What else may stand where a part is removed, of each input, and how it is called.

    A removed part leaves a hole that the model has never seen, so that no order of methods counts
    that holds under one filling only.

    Args:
        x: the inputs.
        seed: of the draws.
    """
    if x.ndim == 4 and x.is_floating_point():
        radius = max(1.0, min(x.shape[-2:]) / 8)
        return torch.stack([blur(one, radius) for one in x]), "the picture blurred"
    # The same part of another of the inputs: a value that is seen in the data, of nothing here.
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    donors = torch.empty_like(order)
    donors[order] = order.roll(1)
    return x[donors], "values of another input"


def _usable(
    score: Score, x: Tensor, words: Words, batch_size: int | None
) -> tuple[Int[Tensor, " rows"], Tensor, list[Failure]]:
    """The inputs that the model answers on, its scores, and the others with the reasons."""
    every = torch.arange(len(x), device=x.device)
    try:
        admit_any(score, x)
        parts = every.split(batch_size or cached_rows(x[0]))
        with torch.no_grad():
            values = torch.cat([score(x[some].clone(), some) for some in parts])
        if values.isfinite().all():
            return every, values, []
    except Exception:  # of an input or of the user's model: each is tried alone
        values = torch.empty(0)
    kept: list[int] = []
    scores: list[Tensor] = []
    failures: list[Failure] = []
    for i in every.tolist():
        try:
            one = score.at(every[i : i + 1])
            admission.finite("The input", x[i : i + 1])
            with torch.no_grad():
                value = one(x[i : i + 1].clone())
            admission.finite("The score", value)
        except Exception as error:
            failures.append(Failure(i, _title(words, i), None, told(error)))
            continue
        kept.append(i)
        scores.append(value)
    if not kept:
        raise ValueError(
            f"The model fails on every input ({len(x)} tried). The first said: "
            f"{failures[0].reason.rstrip('.')}. Give inputs in the shape and scale that it was "
            "trained on."
        )
    return every[kept], torch.cat(scores), failures


def _title(words: Words, i: int) -> str:
    return words.titles[i] if words.titles else f"input {i}"


def _lineup(
    score: Score, x: Tensor, supplies: Supplies, methods: Methods | None, about: About | None = None
) -> Lineup:
    """The methods that fit; of a comparison that goes on, those that did when it began."""
    if methods is not None and not methods:
        raise ValueError(
            "There are no methods to compare. Give one at least, or None for all that fit."
        )
    if isinstance(methods, Mapping):
        for name in methods:
            if not re.fullmatch(r"[\w-]+", name) or name in WORDS:
                raise ValueError(
                    f"A method is called {name!r}, which cannot name a folder here. Use letters, "
                    f"digits and underscores, and none of the references: {', '.join(WORDS)}."
                )
        if about is not None:
            return Lineup(methods, {}, about.cost.explanation)
        # One that fails is kept: that it does is what is to be found out.
        tried = {name: tried_on(explain, score, x, supplies) for name, explain in methods.items()}
        return Lineup(methods, {}, {name: passes for name, (_, passes) in tried.items()})
    names = methods if about is None else about.methods
    found = explainers(score, x, supplies, names=names, tried=about is None)
    if not found.explain:
        reasons = "; ".join(f"{name}: {why}" for name, why in [*found.left_out.items()][:3])
        raise ValueError(
            f"No method fits this model and its inputs ({reasons}). Choose others, or look at what "
            "they need with `unmask show`."
        )
    return found


def _afforded(
    lineup: Lineup, bench: Bench, references: Sequence[str], budget: float | None
) -> tuple[list[Measure], Cost]:
    """The metrics and the number of inputs that a budget allows, and what they take."""
    taken = [measure for measure in measures().values() if measure.fits(bench)]
    dropped: list[str] = []

    def cost(inputs: int) -> Cost:
        anew = sum(measure.anew(bench) for measure in taken)
        asks = sum(measure.asks(bench) for measure in taken)
        known = (*lineup.explain, *references)
        shown = {name: lineup.passes.get(name, 0.0) * anew + asks for name in known}
        shown[RANDOM] = DRAWS * asks
        explanation = {name: lineup.passes.get(name, 0.0) for name in shown}
        return Cost(explanation, shown, inputs, budget, tuple(dropped))

    if budget is None:
        return taken, cost(len(bench.x))
    enough = min(least(len(lineup.explain)), len(bench.x))  # for a verdict, or all there are
    while True:
        inputs = int(min(len(bench.x), budget / max(1.0, cost(1).total)))
        # A metric that explains anew is as dear as many inputs; the removals are kept to the last.
        dear = max(taken, key=lambda measure: measure.anew(bench))
        if inputs >= enough or not dear.anew(bench):
            return taken, cost(max(1, inputs))
        taken.remove(dear)
        dropped.append(dear.metric.name)


def _settle(record: Record, about: About, subject: Subject) -> None:
    """Begin a record, or see that the one that goes on is of the same scores."""
    if record.begun(about.settings, about.hashes) is None:
        record.begin(about, subject)
        return
    before = record.subject().values
    now = subject.values.detach().cpu()
    if before.shape != now.shape or not torch.allclose(before.double(), now.double(), rtol=1e-3):
        raise ValueError(
            f"'{record.path}' is a comparison of other scores: the model gives other numbers for "
            "the same inputs. Choose another folder, or delete this one."
        )


def _hashes(
    score: Score, x: Tensor, baseline: Tensor, players: Players, supplies: Supplies
) -> dict[str, str]:
    model = score.model
    named: dict[str, Any] = {
        "inputs": x,
        "baseline": baseline,
        "parts": players.owner,
        "data": supplies.data,
        "labels": supplies.labels,
    }
    found = {name: _digest(value) for name, value in named.items() if value is not None}
    if isinstance(model, nn.Module):
        found["model"] = digest_of_module(model)
    return found


def _digest(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous()
    head = f"{plain.dtype} {tuple(plain.shape)}".encode()
    return hashlib.sha256(head + plain.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
