"""Baselines by name: what stands where a player is hidden."""

from collections.abc import Callable, Mapping
from itertools import islice

import torch
from torch import Tensor

from unmask import baselines
from unmask.run.choices.scene import Scene
from unmask.run.plan import OWN


def _constant(scene: Scene, *, value: float = 0.0) -> Tensor:
    return baselines.constant(scene.x, value)


def _mean(scene: Scene) -> Tensor:
    return scene.material.mean


def _colour(scene: Scene) -> Tensor:
    x = _picture(scene)
    return x.mean((-2, -1), keepdim=True).expand_as(x).clone()


def _blur(scene: Scene, *, radius: float = 10.0) -> Tensor:
    x = _picture(scene)
    return baselines.blur(x, radius) if x.ndim == 3 else baselines.blur(x[None], radius)[0]


def _background(scene: Scene, *, samples: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Not all are held at once: there may be thousands.
    drawn = list(islice(scene.material.shuffled(generator), samples if samples > 0 else None))
    return baselines.background(torch.stack(drawn) if drawn else scene.x[None][:0], samples)


def _token(scene: Scene, *, id: int) -> Tensor:
    if scene.x.is_floating_point():
        raise ValueError(
            f"The baseline is a token, but the input holds {scene.x.dtype} and not token ids. "
            "Use a baseline of numbers, such as constant or mean."
        )
    return baselines.token(scene.x, id)


def _given(scene: Scene) -> Tensor:
    return scene.brought("baseline", BASELINES).baseline(scene.number)


BASELINES: Mapping[str, Callable[..., Tensor]] = {
    "constant": _constant,
    "mean": _mean,
    "colour": _colour,
    "blur": _blur,
    "background": _background,
    "token": _token,
    OWN: _given,
}


def _picture(scene: Scene) -> Tensor:
    if scene.x.ndim not in (2, 3) or not scene.x.is_floating_point():
        raise ValueError(
            f"This baseline is for pictures, but the input has the shape {tuple(scene.x.shape)} "
            f"and holds {scene.x.dtype}. Use another one, such as constant or mean."
        )
    return scene.x
