"""Every method that explains single inputs, as a function of a score and inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from unmask import catalogue
from unmask.catalogue import Entry
from unmask.evaluation import Explain, on_trial
from unmask.evaluation.passes import passes_of
from unmask.masking import masked
from unmask.players import Players
from unmask.results import Attribution
from unmask.run.nearest import nearest
from unmask.score import Score

MOST_PLAYERS = 12
"""Players of which all coalitions are asked for; a method that needs all of more is left out."""
TRIES = 3
"""Inputs on which a method is tried before it is left out."""
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "rise": {"samples": 1000},
    "meaningful_perturbation": {"steps": 100},
    "extremal_perturbation": {"steps": 100},
    "mutual_information_saliency": {"steps": 100},
    "second_order": {"steps": 50},
}
"""Where the usual settings would take most of a comparison's time for one method."""
EXHAUSTIVE = ("shapley_exact", "smallest_flipping_set")
"""Methods of a game that ask for all coalitions, however many players there are."""


@dataclass(frozen=True)
class Lineup:
    """The methods that fit a model and its inputs.

    Args:
        explain: by name, a function of any score of the same kind (of other weights, or read for
            other classes) and of any inputs of the same shape. The same call gives the same answer.
        left_out: the others that give attributions, each with the reason.
        passes: of one input through the model that each explanation of one takes.
    """

    explain: Mapping[str, Explain]
    left_out: Mapping[str, str] = field(default_factory=dict)
    passes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Supplies:
    """What methods may ask for besides a score and inputs.

    Args:
        baseline: what stands where a part is removed.
        players: who owns which position.
        data: inputs to learn from; None where there are none.
        labels: their classes.
        layer: of the activation maps; None for the last one that is laid out like a picture.
        window: the side of a box that is hidden; None for an eighth of a picture, or one column.
        seed: of the random draws.
        batch_size: inputs in one call of the model.
    """

    baseline: Shaped[Tensor, "*background"]
    players: Players
    data: Shaped[Tensor, "rows *input"] | None = None
    labels: Tensor | None = None
    layer: str | None = None
    window: int | None = None
    seed: int = 0
    batch_size: int | None = None


def explainers(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    supplies: Supplies,
    *,
    names: Sequence[str] | None = None,
    tried: bool = True,
) -> Lineup:
    """The methods of the catalogue that explain these inputs of this model, each tried on one.

    Methods of a game play one for each input; what they say has a column per player. What a
    method raises on every input that it is tried on is the reason for which it is left out.

    Args:
        score: what is explained; methods that need gradients or layers find out for themselves.
        x: the inputs.
        supplies: what methods may ask for.
        names: the methods that are wanted; by default all.
        tried: whether each is tried; False where it is known that they fit.
    """
    known = {name: entry for name, entry in catalogue.methods().items() if _explains(entry)}
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"There is no method {name!r} that gives attributions. {nearest(name, known)}"
            )
    supplies = replace(
        supplies,
        layer=supplies.layer or _last_picture(score, x),
        window=supplies.window or _window(x),
    )
    explain: dict[str, Explain] = {}
    left_out: dict[str, str] = {}
    passes: dict[str, float] = {}
    for name, entry in known.items():
        if names is not None and name not in names:
            continue
        reason = _unsuited(entry, x, supplies)
        if reason is None:
            found = partial(_explained, entry, supplies)
            reason, cost = tried_on(found, score, x, supplies) if tried else (None, 0.0)
            if reason is None:
                explain[name], passes[name] = found, cost
        if reason is not None:
            left_out[name] = reason
    return Lineup(explain, left_out, passes)


def pooled(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    attribution: Attribution,
    players: Players,
    baseline: Shaped[Tensor, "*background"],
) -> Float[Tensor, "batch players"]:
    """What an attribution says of each player, so that fine and coarse maps can be compared.

    Args:
        score: what was explained.
        x: the inputs.
        attribution: shaped like them, or with a column per player.
        players: who owns which position.
        baseline: what stands where a part is removed.
    """
    return on_trial(score, x, players, baseline).of(attribution)


def _explains(entry: Entry) -> bool:
    return entry.result is Attribution and entry.family != "evaluation"


def _unsuited(entry: Entry, x: Tensor, supplies: Supplies) -> str | None:
    """Why a method cannot be tried at all; None where it can."""
    subject = "x" if "x" in entry.needs else "game"
    if subject not in entry.needs:
        return "It explains a set of data as a whole, and not each input."
    if subject == "game":
        count = len(supplies.players.names)
        if entry.name in EXHAUSTIVE and count > MOST_PLAYERS:
            return f"It asks for all coalitions of {count} players; at most {MOST_PLAYERS} here."
        return None
    shape = getattr(entry.call.__annotations__.get("x"), "dim_str", "")
    axes, floating = x.ndim, x.is_floating_point()
    if shape == "batch channels height width" and axes != 4:
        return f"It explains pictures, but an input has the shape {tuple(x.shape[1:])}."
    if "tokens" in shape.split() and not (axes == 3 or (axes == 2 and not floating)):
        return f"It explains sequences, but an input has the shape {tuple(x.shape[1:])}."
    if shape == "batch columns" and axes != 2:
        return f"It explains rows of a table, but an input has the shape {tuple(x.shape[1:])}."
    if not shape.startswith("batch"):
        return f"It explains one [{shape}] at a time, and not a batch of inputs."
    held = _held(supplies)
    lacking = [name for name in entry.needs if name not in ("score", "model", "x", *held)]
    if lacking:
        meaning = catalogue.VOCABULARY.get(lacking[0], "an argument of its own")
        return f"It needs {lacking[0]!r}, {meaning}, and there is none."
    return None


def _held(supplies: Supplies) -> dict[str, object]:
    """The supplies by their names in the vocabulary, as far as there are any."""
    named = {
        "baseline": supplies.baseline,
        "players": supplies.players,
        "data": supplies.data,
        "labels": supplies.labels,
        "layer": supplies.layer,
        "window": supplies.window,
        "generator": torch.Generator().manual_seed(supplies.seed),  # anew: every call draws alike
        "batch_size": supplies.batch_size,
    }
    return {name: value for name, value in named.items() if value is not None}


def _explained(entry: Entry, supplies: Supplies, score: Score, x: Tensor) -> Attribution:
    """Call a method: once on the batch, or on the game of each input."""
    if "game" in entry.needs:
        return _of_games(entry, supplies, score, x)
    held = _held(supplies) | {"score": score, "model": score.model, "x": x}
    # What a method can do without it chooses best itself, except for who plays.
    spared = ("data", "labels", "layer", "baseline", "window")
    held = {
        name: value for name, value in held.items() if name in entry.needs or name not in spared
    }
    options = dict(OPTIONS.get(entry.name, {}))
    if "stride" in entry.options and supplies.window is not None:
        options["stride"] = supplies.window
    return catalogue.fill(entry, held, options)


def _of_games(entry: Entry, supplies: Supplies, score: Score, x: Tensor) -> Attribution:
    found = []
    for i in range(len(x)):
        game = masked(
            score.at(torch.tensor([i], device=x.device)),
            x[i],
            supplies.players,
            supplies.baseline,
            batch_size=supplies.batch_size,
        )
        found.append(catalogue.fill(entry, _held(supplies) | {"game": game}))
    evaluations = [one.evaluations for one in found if one.evaluations is not None]
    return Attribution(
        values=torch.cat([one.values for one in found]),
        gap=_together([one.gap for one in found]),
        names=supplies.players.names,
        evaluations=sum(evaluations) if len(evaluations) == len(found) else None,
        errors=_together([one.errors for one in found]),
    )


def _together(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def tried_on(
    explain: Explain, score: Score, x: Tensor, supplies: Supplies
) -> tuple[str | None, float]:
    """The reason why a method fails on all of some inputs, or None and what it asks of one.

    Args:
        explain: the method.
        score: what is explained.
        x: the inputs, of which the first few are tried.
        supplies: who plays, and against which baseline.
    """
    reason = "There is no input to try it on."
    for i in range(min(TRIES, len(x))):
        row = torch.tensor([i], device=x.device)
        try:
            one = score.at(row), x[i : i + 1]
            passes, values = passes_of(score.at(row), x[i : i + 1].clone(), explain)
            made = Attribution(values)
            pooled(*one, made, supplies.players, supplies.baseline)  # refuses another shape
        except Exception as error:  # whatever a method or a model of the user's may raise
            reason = told(error)
            continue
        return None, float(passes.units)
    return reason, 0.0


def told(error: Exception) -> str:
    """An error in one line; what is no refusal is called by its name.

    Args:
        error: that was caught.
    """
    text = " ".join(str(error).split()) or "no reason given"
    if not isinstance(error, ValueError | TypeError):
        text = f"{type(error).__name__}: {text}"
    return text[:500]


def _last_picture(score: Score, x: Tensor) -> str | None:
    """The last layer whose output is laid out like a picture, where pictures are explained."""
    if not isinstance(score.model, nn.Module) or x.ndim != 4:
        return None
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                found.append(name)

        return hook

    named = [(name, module) for name, module in score.model.named_modules() if name]
    hooks = [module.register_forward_hook(look(name)) for name, module in named]
    try:
        with torch.no_grad():
            score.model(x[:1].clone())
    except Exception:  # the methods that need a layer will say so
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return found[-1] if found else None


def _window(x: Tensor) -> int | None:
    """The side of what is hidden at a time: an eighth of a picture, or one column.

    Of sequences none: a window slides along the last axis, which is the width of a token there.
    """
    if x.ndim == 2:
        return 1
    return max(1, min(x.shape[-2:]) // 8) if x.ndim == 4 else None
