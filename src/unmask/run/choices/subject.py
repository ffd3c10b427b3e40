"""One input, ready to be explained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from unmask.game import LARGEST_TABLE
from unmask.players import Players
from unmask.run.choices.choose_baseline import BASELINES
from unmask.run.choices.choose_players import PLAYERS
from unmask.run.choices.choose_score import SCORES, Reading
from unmask.run.choices.scene import Scene
from unmask.run.plan import Plan
from unmask.views import ImageView, TableView, TextView, View


@dataclass(frozen=True)
class Subject:
    """One input with everything that a method needs to explain it.

    Args:
        scene: the input and its model.
        reading: the score, and what the model says.
        players: the parts that can be hidden.
        baseline: what stands where they are hidden.
        view: what a person sees.
    """

    scene: Scene
    reading: Reading
    players: Players
    baseline: Shaped[Tensor, "*background"]
    view: View

    @property
    def passes(self) -> int:
        """Inputs that the model is run on for the values of all coalitions.

        Where these are too many for a table, two are asked for: the empty and the full one.
        """
        n = len(self.players.names)
        return (2**n if n <= LARGEST_TABLE else 2) * self.backgrounds

    @property
    def backgrounds(self) -> int:
        """Rows of the baseline, each of which every coalition is seen on."""
        return len(self.baseline) if self.baseline.ndim > self.scene.x.ndim else 1


def subject(scene: Scene, plan: Plan) -> Subject:
    """Make the choices of a plan for one input."""
    reading = SCORES[plan.score.name](scene, **plan.score.options)
    baseline = BASELINES[plan.baseline.name](scene, **plan.baseline.options).to(scene.x.device)
    players = PLAYERS[plan.players.name](scene, reading.score, baseline, **plan.players.options)
    return Subject(scene, reading, players, baseline, _view(scene, players, baseline))


def _view(scene: Scene, players: Players, baseline: Tensor) -> View:
    exhibit, kind = scene.opened.exhibit, scene.material.kind
    if exhibit is not None and kind == "given":
        return exhibit.view(scene.number)
    if scene.sentence is not None:
        return TextView(scene.sentence.pieces)
    if scene.x.ndim in (2, 3) and scene.x.is_floating_point():
        return ImageView(_pixels(scene.x))
    columns = scene.material.columns or tuple(f"column {i + 1}" for i in range(scene.x.numel()))
    background = baseline if baseline.ndim == scene.x.ndim else baseline.double().mean(0)
    return TableView(
        _as_read(scene.x.flatten(), players, columns),
        _as_read(background.flatten(), players, columns),
    )


def _as_read(row: Tensor, players: Players, columns: Sequence[str]) -> tuple[str, ...]:
    """The value of each player; of several columns, each with its name."""
    owner = players.owner.flatten()
    texts = []
    for player in range(len(players.names)):
        own = (owner == player).nonzero()[:, 0].tolist()
        values = [f"{float(row[i]):.4g}" for i in own]
        if len(own) > 1:
            values = [f"{columns[i]} {value}" for i, value in zip(own, values, strict=True)]
        texts.append(", ".join(values))
    return tuple(texts)


def _pixels(x: Tensor) -> UInt8[Tensor, "height width 3"]:
    """An array as a picture. What is not from 0 to 1 is stretched to it."""
    image = x.detach().float()[None] if x.ndim == 2 else x.detach().float()
    if image.shape[0] not in (1, 3):
        image = image.mean(0, keepdim=True)
    low, high = image.min(), image.max()
    if low < 0 or high > 1:
        image = (image - low) / (high - low).clamp_min(1e-12)
    levels = (image * 255).round().to(torch.uint8)
    return levels.expand(3, -1, -1).permute(1, 2, 0).contiguous()
