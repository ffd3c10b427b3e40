"""Sensible choices for a model and its inputs, each with the words that say what was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unmask.game import LARGEST_TABLE
from unmask.players import features
from unmask.run.choices.choose_baseline import BASELINES
from unmask.run.choices.choose_players import PLAYERS, alone, strongest
from unmask.run.choices.choose_score import PREDICTED, SCORES
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import subject
from unmask.run.inputs.material import Material, chosen
from unmask.run.models.opened import Opened
from unmask.run.plan import OWN, Choice, Plan, Source

MOST = 12
"""Players that are chosen unasked: 2^12 calls of the model take seconds, and a page holds them."""
BUDGET, CHECKED = 8192, 1024
"""Coalitions that a search for strong terms may ask for, and those that its terms are held to."""
LARGEST_SEARCHED = 4000
"""Players among which strong terms are searched for unasked; more need more coalitions."""
FIRST = 5
"""Inputs that are explained unasked."""
TEXTS_AT_ONCE = 64
"""Texts in one call of a transformer, whose layers are far larger than its input of a few ids."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None where the choice is left to us.

    Args:
        rows: which inputs.
        target: which class, by number or name.
        players: which way to cut an input into parts.
        grid: rows and columns of patches.
        most: how many words, tokens or columns may be hidden at most.
    """

    rows: tuple[int, ...] | None = None
    target: int | str | None = None
    players: str | None = None
    grid: tuple[int, int] | None = None
    most: int | None = None


@dataclass(frozen=True)
class Suggestion:
    """A plan, and in words what was chosen.

    Args:
        plan: complete, ready to be run or edited.
        notes: a sentence per choice.
    """

    plan: Plan
    notes: tuple[str, ...]


def suggest(
    model: str, source: Source, opened: Opened, material: Material, wishes: Wishes | None = None
) -> Suggestion:
    """Choose score, players, baseline and methods.

    Args:
        model: the name that it was opened by.
        source: where the inputs come from.
        opened: the model.
        material: the inputs.
        wishes: what the user asked for.
    """
    wishes = wishes or Wishes()
    notes: list[str] = []
    rows = wishes.rows
    if rows is None and len(material) > FIRST:
        rows = tuple(range(FIRST))
        notes.append(f"Inputs: the first {FIRST} of {len(material)}; choose others with --row.")
    numbers = chosen(material, rows)
    outputs = _outputs(opened, material, numbers)
    score = _score(opened, material, outputs, wishes.target, notes)
    baseline = _baseline(opened, material, notes)
    players = _players(opened, material, numbers, score, baseline, wishes, notes)
    transformer = opened.read_text is not None and opened.exhibit is None
    plan = Plan(
        model,
        source,
        score,
        players,
        baseline,
        {},
        rows,
        batch_size=TEXTS_AT_ONCE if transformer else None,
    )
    count = _most_players(plan, opened, material, numbers)
    methods: dict[str, dict[str, Any]] = (
        {name: {} for name in ("and_or", "universal_matching", "sparsity", "shapley_exact")}
        if count <= LARGEST_TABLE
        else {"large_n": {"budget": BUDGET}, "universal_matching": {"samples": CHECKED}}
    )
    if opened.differentiable:
        methods |= {"gradient": {}, "integrated_gradients": {}}
    notes.append(f"Methods: {', '.join(methods)}.")
    if count > LARGEST_TABLE:
        notes.append(
            f"As {count} players are too many for a table of all coalitions, their strong terms "
            f"are searched for by asking the model {BUDGET:,} times of each input at the most."
        )
    return Suggestion(replace(plan, methods=methods), (*notes, *opened.notes))


def _outputs(opened: Opened, material: Material, numbers: Sequence[int]) -> list[Tensor]:
    """What the model says of each input; some may fail, but not all."""
    outputs, reason = [], ""
    for number in numbers:
        try:
            outputs.append(Scene(opened, material, number).output())
        except Exception as error:  # whatever a model of the user's may raise
            reason = (
                reason
                or f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"
            )
    if not outputs:
        raise ValueError(
            f"The model fails on every input ({len(numbers)} tried). The first said: {reason}. "
            "Give inputs in the shape and scale that it was trained on."
        )
    return outputs


def _most_players(plan: Plan, opened: Opened, material: Material, numbers: Sequence[int]) -> int:
    """How many players an input has at the most.

    A wish that no input can fulfil is refused now, before a folder is made for it.
    """
    reasons: list[ValueError] = []
    most = 0
    for number in numbers:
        try:
            made = subject(Scene(opened, material, number), plan)
        except ValueError as error:
            reasons.append(error)
            continue
        except Exception:  # raised by the user's model: the run records it and goes on
            return most
        count = len(made.players.names)
        if count > LARGEST_SEARCHED:
            reasons.append(
                ValueError(
                    f"These are {count:,} players, and terms are searched for among "
                    f"{LARGEST_SEARCHED:,} at the most. Choose fewer and larger parts, such as "
                    "--grid 7x7."
                )
            )
            continue
        most = max(most, count)
        if _limited(plan.players) or most > LARGEST_TABLE:
            break
    if most == 0:
        raise reasons[0]
    return most


def _limited(players: Choice) -> bool:
    """Whether no other input has too many players for a table if one has not."""
    return players.options.get("most", LARGEST_TABLE + 1) <= LARGEST_TABLE or players.name in (
        "patches",
        "features",
        "channels",
    )


def _score(
    opened: Opened,
    material: Material,
    outputs: Sequence[Tensor],
    target: int | str | None,
    notes: list[str],
) -> Choice:
    wanted = PREDICTED if target is None else target
    of = "the class that the model predicts" if target is None else f"class {target}"
    if opened.exhibit is not None or opened.causal:
        if opened.causal:
            of = "the next token that the model predicts" if target is None else f"token {target}"
        notes.append(f"Score: log-odds of {of}.")
        return Choice(OWN if opened.exhibit is not None else "token_log_odds", {"target": wanted})
    if len(outputs[0]) == 1 and target is None:
        notes.append("Score: the model's one output.")
        return Choice("output")
    rows = torch.stack(list(outputs)).double()
    if len(outputs[0]) > 1 and rows.min() >= 0 and (rows.sum(1) - 1).abs().max() < 1e-3:
        notes.append(f"Score: log-odds of {of}; the model's outputs are taken for probabilities.")
        return Choice("log_odds", {"target": wanted, "outputs": "probabilities"})
    notes.append(f"Score: log-odds of {of}.")
    return Choice("log_odds", {"target": wanted})


def _baseline(opened: Opened, material: Material, notes: list[str]) -> Choice:
    x = material.inputs[0]
    if material.kind == "given":
        notes.append("Baseline: the one that the model brings along.")
        return Choice(OWN)
    if opened.blank is not None and not x.is_floating_point():
        number, called = opened.blank
        notes.append(f"Baseline: a hidden word is {called}.")
        return Choice("token", {"id": number})
    if material.kind == "image" and x.ndim in (2, 3):
        side = max(x.shape[-2:])
        if min(x.shape[-2:]) >= 32:
            radius = float(max(1, round(side / 8)))
            notes.append(f"Baseline: the picture blurred, with a radius of {radius:g} pixels.")
            return Choice("blur", {"radius": radius})
        notes.append("Baseline: the mean colour of the picture.")
        return Choice("colour")
    if material.kind == "table" and len(material) > 1:
        notes.append(f"Baseline: the mean of the {len(material)} rows.")
        return Choice("mean")
    notes.append("Baseline: zeros, as there is one input and so no mean of the data.")
    return Choice("constant", {"value": 0.0})


def _players(
    opened: Opened,
    material: Material,
    numbers: Sequence[int],
    score: Choice,
    baseline: Choice,
    wishes: Wishes,
    notes: list[str],
) -> Choice:
    name = wishes.players or ("patches" if wishes.grid else _usual(material))
    if name not in PLAYERS:
        raise ValueError(
            f"The players {name!r} are unknown. Choose from {', '.join(map(repr, PLAYERS))}."
        )
    most = MOST if wishes.most is None else wishes.most
    if wishes.most is not None and (most < 1 or name not in ("words", "tokens", "features")):
        raise ValueError(
            f"At most {most} players are asked for, and the players are {name}. Give a number of "
            "at least 1, for words, tokens or features; cut pictures with --grid."
        )
    if name == OWN:
        notes.append("Players: those that the model brings along.")
        return Choice(OWN)
    if name == "patches":
        height, width = wishes.grid or (3, 4)
        sides = material.inputs[0].shape[-2:]
        if len(sides) < 2:
            raise ValueError(
                f"Patches cut a picture, but the input has the shape {tuple(sides)}. "
                "Leave out --grid, or choose --players features, words or tokens."
            )
        grid = (min(height, sides[0]), min(width, sides[1]))
        notes.append(f"Players: {grid[0]} x {grid[1]} patches of the picture.")
        return Choice("patches", {"grid": grid})
    if name in ("words", "tokens"):
        notes.append(
            f"Players: {name}; of more than {most}, those that change the score most when hidden "
            "alone, while the others stay visible."
        )
        return Choice(name, {"most": most})
    if name == "features" and material.inputs[0].ndim == 1:
        return _columns(opened, material, numbers, score, baseline, most, notes)
    notes.append(f"Players: {name}.")
    return Choice(name)


def _usual(material: Material) -> str:
    if material.kind == "given":
        return OWN
    if material.sentences:
        return "words"
    x = material.inputs[0]
    if not x.is_floating_point():
        return "tokens"
    return "features" if x.ndim == 1 else "patches"


def _columns(
    opened: Opened,
    material: Material,
    numbers: Sequence[int],
    score: Choice,
    baseline: Choice,
    most: int,
    notes: list[str],
) -> Choice:
    """All columns of a small table; of a large one those that matter most to these rows."""
    count = material.inputs[0].numel()
    if count <= most:
        notes.append(f"Players: the {count} columns." if count > 1 else "Players: the one column.")
        return Choice("features")
    everyone = features(material.columns or count)
    total = torch.zeros(count, dtype=torch.float64)
    for number in numbers:
        scene = Scene(opened, material, number)
        try:
            reading = SCORES[score.name](scene, **score.options)
            background = BASELINES[baseline.name](scene, **baseline.options)
            total += alone(reading.score, scene.x, everyone, background).abs()
        except Exception:  # a row that the model fails on has no say; the run will record why
            continue
    names = tuple(everyone.names[i] for i in strongest(total, most))
    notes.append(
        f"Players: {most} of {count} columns, those that change the score most when hidden alone: "
        f"{', '.join(names)}. The others always stay visible."
    )
    return Choice("features", {"columns": names})
