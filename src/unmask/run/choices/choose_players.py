"""Players by name: the parts of an input that can be hidden."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from unmask import players as makers
from unmask.masking import masked
from unmask.players import Players
from unmask.run.choices.scene import Scene
from unmask.run.models.sentence import distinct
from unmask.run.nearest import nearest
from unmask.run.plan import OWN
from unmask.score import Score


def _features(
    scene: Scene,
    score: Score,
    baseline: Tensor,
    *,
    columns: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[int | str]] | None = None,
    most: int | None = None,
) -> Players:
    if scene.x.ndim != 1:
        raise ValueError(
            f"The players are the columns of a table, but the input has the shape "
            f"{tuple(scene.x.shape)}. Use patches for pictures and words for texts."
        )
    everyone = makers.features(scene.material.columns or len(scene.x), groups)
    if columns is not None:
        for name in columns:
            if name not in everyone.names:
                raise ValueError(f"There is no column {name!r}. {nearest(name, everyone.names)}")
        everyone = only(everyone, [everyone.names.index(name) for name in columns])
    return _at_most(most, everyone, scene, score, baseline)


def _patches(
    scene: Scene, score: Score, baseline: Tensor, *, grid: Sequence[int] = (3, 4)
) -> Players:
    if scene.x.ndim < 2 or len(grid) != 2:
        raise ValueError(
            f"Patches cut a picture into a grid such as [3, 4], but the input has the shape "
            f"{tuple(scene.x.shape)} and the grid is {list(grid)}. Use features for tables."
        )
    return makers.patches(scene.x.shape, (grid[0], grid[1]))


def _words(scene: Scene, score: Score, baseline: Tensor, *, most: int | None = None) -> Players:
    if scene.sentence is None:
        raise ValueError(
            "The players are words, but the inputs are not read from text. "
            "Use features for tables, patches for pictures and given for a model's own examples."
        )
    owner = torch.tensor(scene.sentence.words)
    return _at_most(most, Players(owner, scene.sentence.names), scene, score, baseline)


def _tokens(scene: Scene, score: Score, baseline: Tensor, *, most: int | None = None) -> Players:
    if scene.x.ndim != 1:
        raise ValueError(
            f"The players are tokens, but the input has the shape {tuple(scene.x.shape)}. "
            "Use patches for pictures."
        )
    if scene.sentence is None:
        everyone = makers.tokens(len(scene.x))
    else:
        there = [i for i, piece in enumerate(scene.sentence.pieces) if piece]
        owner = torch.full((len(scene.x),), -1)
        owner[there] = torch.arange(len(there))
        names = distinct([scene.sentence.pieces[i].strip() or "space" for i in there])
        everyone = Players(owner, names)
    return _at_most(most, everyone, scene, score, baseline)


def _channels(scene: Scene, score: Score, baseline: Tensor) -> Players:
    return makers.channels(scene.x.shape)


def _given(scene: Scene, score: Score, baseline: Tensor) -> Players:
    return scene.brought("players", PLAYERS).players(scene.number)


PLAYERS: Mapping[str, Callable[..., Players]] = {
    "features": _features,
    "patches": _patches,
    "words": _words,
    "tokens": _tokens,
    "channels": _channels,
    OWN: _given,
}


def only(players: Players, kept: Sequence[int]) -> Players:
    """Some of the players; what belonged to the others is never hidden.

    Args:
        players: all of them.
        kept: the numbers of those that stay, which keep their order.
    """
    place = torch.full((len(players.names) + 1,), -1)
    place[list(kept)] = torch.arange(len(kept))
    return Players(place[players.owner], tuple(players.names[i] for i in kept))


def alone(score: Score, x: Tensor, players: Players, baseline: Tensor) -> Tensor:
    """By how much the score changes when one player alone is hidden, for each."""
    n = len(players.names)
    masks = torch.cat([torch.ones(1, n), 1 - torch.eye(n)]).bool()
    values = masked(score, x, players, baseline)(masks)
    return (values[0] - values[1:]).double()


def strongest(effects: Tensor, most: int) -> list[int]:
    """The places of the largest numbers by size, in ascending order of place."""
    return sorted(effects.abs().argsort(descending=True, stable=True)[:most].tolist())


def _at_most(
    most: int | None, players: Players, scene: Scene, score: Score, baseline: Tensor
) -> Players:
    if most is None or len(players.names) <= most:
        return players
    if most < 1:
        raise ValueError(f"At most {most} players is none. Give a number of at least 1.")
    return only(players, strongest(alone(score, scene.x, players, baseline), most))
