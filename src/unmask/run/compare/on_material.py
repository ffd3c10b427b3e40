"""What a plan chooses for each input by itself, as one score, one baseline and one set of players.

Methods can only be compared on inputs of one shape, cut into the same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from unmask.players import Players, features, patches, tokens
from unmask.run.choices.choose_score import Reading
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import Subject, subject
from unmask.run.compare.compare import Words
from unmask.run.compare.on_texts import (
    embedded,
    embedding_layer,
    of_one_length,
    token_players,
    vectors,
    words_of,
)
from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened
from unmask.run.plan import Plan
from unmask.score import Score


@dataclass(frozen=True)
class Prepared:
    """All that `compare` needs.

    Args:
        score: of each input's own class.
        x: the inputs.
        baseline: what stands where a part is removed.
        players: the parts.
        data: all inputs that were read, and not only those that are compared.
        words: what a person calls them.
    """

    score: Score
    x: Shaped[Tensor, "batch *input"]
    baseline: Shaped[Tensor, "*background"]
    players: Players
    data: Shaped[Tensor, "rows *input"]
    words: Words


def prepared(plan: Plan, opened: Opened, material: Material, numbers: Sequence[int]) -> Prepared:
    """Make the choices of a plan for inputs that are compared on.

    Inputs that the model fails on are left out, and the notes say why.

    Args:
        plan: what is chosen for each.
        opened: the model.
        material: the inputs.
        numbers: those that are compared on.
    """
    made: dict[int, Subject] = {}
    numbers, notes = of_one_length(material, numbers)
    for number in numbers:
        try:
            made[number] = subject(Scene(opened, material, number), plan)
        except Exception as error:  # of an input or of the user's model; the rest goes on
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            notes.append(f"{material.titles[number]} is left out: {reason}")
    if not made:
        first = notes[-len(numbers)].partition(": ")[2].rstrip(".")
        raise ValueError(
            f"The model fails on every input ({len(numbers)} tried). The first said: {first}. "
            "Give inputs in the shape and scale that it was trained on."
        )
    inputs = [one.scene.x for one in made.values()]
    shapes = {tuple(x.shape) for x in inputs}
    if len(shapes) > 1:
        raise ValueError(
            "Methods are compared on inputs of one shape, but these have "
            f"{', '.join(map(str, sorted(shapes)))}. Give inputs of one size, such as images "
            "brought to it with --size."
        )
    first = next(iter(made.values()))
    players, told = _players(first, [one.players for one in made.values()])
    notes += told
    baselines = [one.baseline for one in made.values()]
    baseline = baselines[0]
    if not all(one.shape == baseline.shape and torch.equal(one, baseline) for one in baselines):
        baseline = torch.stack(baselines).double().mean(0).to(baseline.dtype)
        notes.append("Baseline: the mean of those of the inputs, so that all are compared alike.")
    readings = [one.reading for one in made.values()]
    score = together(readings, plan.score.name)
    x = torch.stack(inputs)
    data = torch.stack(
        [one for one in material.inputs if one.shape == x.shape[1:] and _finite(one)]
    )
    pieces: tuple[tuple[str, ...], ...] = ()
    if x.ndim == 2 and not x.is_floating_point():
        ids, layer = x, embedding_layer(score.model, x)
        if layer is not None and isinstance(score.model, nn.Module):
            x, data = vectors(score.model, layer, ids), vectors(score.model, layer, data)
            baseline = vectors(score.model, layer, baseline.reshape(-1, ids.shape[1]))
            baseline = baseline[0] if len(baseline) == 1 else baseline
            score = replace(score, model=embedded(score.model, layer, ids))
        players = token_players(x, ids)
        pieces = tuple(words_of(one.view, players) for one in made.values())
    return Prepared(
        score=score,
        x=x,
        baseline=baseline,
        players=players,
        data=data,
        words=Words(
            tuple(material.titles[number] for number in made),
            tuple(_said(reading) for reading in readings),
            "text" if pieces else material.kind,
            tuple(notes),
            pieces,
        ),
    )


def together(readings: Sequence[Reading], name: str) -> Score:
    """One score of several inputs, each read for its own class.

    Args:
        readings: of each input.
        name: of the score.
    """
    targets = sorted({reading.target for reading in readings})
    scores = [next(r.score for r in readings if r.target == target) for target in targets]
    place = torch.tensor([targets.index(reading.target) for reading in readings])

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        own = place.to(output.device)
        own = own if rows is None else own[rows.to(output.device)]
        every = torch.stack([score.read(output, None) for score in scores])
        return every.gather(0, own[None])[0]

    called = scores[0].name if len(scores) == 1 else f"{_kind(scores[0])} the predicted class"
    return Score(scores[0].model, read, called, len(readings))


def _kind(score: Score) -> str:
    """The words of a score's name before its class."""
    head, of, _ = score.name.rpartition(" of ")
    return f"{head}{of.rstrip()}"


def _players(first: Subject, everyone: Sequence[Players]) -> tuple[Players, list[str]]:
    """The players of the first input, if they are those of all; else all there are."""
    players = first.players
    alike = all(
        one.names == players.names and torch.equal(one.owner, players.owner) for one in everyone
    )
    if alike:
        return players, []
    x = first.scene.x
    if x.ndim == 1 and x.is_floating_point():
        columns = first.scene.material.columns or len(x)
        return features(columns), ["Players: all columns, as those of the inputs differ."]
    if x.ndim == 1:
        return tokens(len(x)), ["Players: all tokens, as those of the inputs differ."]
    return patches(x.shape, (3, 4)), ["Players: 3 x 4 patches, as those of the inputs differ."]


def _said(reading: Reading) -> str:
    if reading.probability is None:
        return reading.prediction
    return f"{reading.prediction} ({100 * reading.probability:.1f} %)"


def _finite(x: Tensor) -> bool:
    return not x.is_floating_point() or bool(x.isfinite().all())
