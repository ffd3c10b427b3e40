"""Scores by name: which number of the model's output is explained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask import score as scores
from unmask.run.choices.scene import Scene
from unmask.run.nearest import nearest
from unmask.run.plan import OWN
from unmask.score import Score

PREDICTED = "predicted"
"""The target that leaves the class to the model: the one it predicts."""
TRUTH = "truth"
"""The target that takes the class of each input from its label."""


@dataclass(frozen=True)
class Reading:
    """A score, and what the model says.

    Args:
        score: the number that is read.
        target: the class it is read for; 0 for a model with one number.
        prediction: the model's answer, as it reads.
        probability: of that answer; None where the output is no distribution.
    """

    score: Score
    target: int
    prediction: str
    probability: float | None


def _log_odds(scene: Scene, *, target: int | str = PREDICTED, outputs: str = "logits") -> Reading:
    return _of_class(scene, scores.log_odds, "log-odds of", target, outputs)


def _probability(
    scene: Scene, *, target: int | str = PREDICTED, outputs: str = "logits"
) -> Reading:
    return _of_class(scene, scores.probability, "probability of", target, outputs)


def _logit(scene: Scene, *, target: int | str = PREDICTED) -> Reading:
    return _of_class(scene, scores.logit, "logit of", target, "logits")


def _margin(scene: Scene, *, target: int | str = PREDICTED, other: int | str) -> Reading:
    against = _class(scene, other, scene.output())

    def between(model: Callable[[Tensor], Tensor], wanted: int) -> Score:
        return scores.margin(model, wanted, against)

    name = f"margin over {scene.opened.class_name(against)} of"
    return _of_class(scene, between, name, target, "logits")


def _token_log_odds(scene: Scene, *, target: int | str = PREDICTED) -> Reading:
    return _of_class(scene, scores.token_log_odds, "log-odds of the next token", target, "logits")


def _output(scene: Scene, *, target: int = 0) -> Reading:
    value = scene.output()
    if not 0 <= target < len(value):
        raise ValueError(
            f"The model has {len(value)} outputs, so there is no output {target}. "
            f"Give a target from 0 to {len(value) - 1}."
        )
    score = replace(scores.logit(scene.opened.model, target), name="output")
    return Reading(score, target, f"{float(value[target]):.6g}", None)


def _given(scene: Scene, *, target: int | str = PREDICTED) -> Reading:
    exhibit = scene.brought("score", SCORES, with_input=False)
    return _of_class(scene, exhibit.score, "", target, "logits")


SCORES: Mapping[str, Callable[..., Reading]] = {
    "log_odds": _log_odds,
    "logit": _logit,
    "probability": _probability,
    "margin": _margin,
    "token_log_odds": _token_log_odds,
    "output": _output,
    OWN: _given,
}


def _of_class(
    scene: Scene,
    make: Callable[..., Score],
    name: str,
    target: int | str,
    outputs: str,
) -> Reading:
    z = scene.output()
    model = scene.opened.model
    if outputs == "probabilities":
        z, model = _logarithm(z[None])[0], _Logarithm(scene.opened.model)
    elif outputs != "logits":
        raise ValueError(f"The option 'outputs' is {outputs!r}. Give 'logits' or 'probabilities'.")
    if len(z) == 1:  # one number is the log-odds of class 1
        z = torch.cat([torch.zeros_like(z), z])
    wanted = _class(scene, target, z)
    answer = int(z.argmax())
    score = make(model, wanted)
    called = scene.opened.class_name(wanted)
    return Reading(
        replace(score, name=f"{name} {called}" if name else f"{_kind(score)} {called}"),
        wanted,
        scene.opened.class_name(answer),
        float(z.double().softmax(0)[answer]),
    )


def _kind(score: Score) -> str:
    """The words of a score's name before its class."""
    head, of, _ = score.name.rpartition(" of ")
    return head + of.rstrip()


def _class(scene: Scene, target: int | str, z: Tensor) -> int:
    if target == PREDICTED:
        return int(z.argmax())
    if target == TRUTH:
        truth = class_of_truth(scene)
        if truth is None or truth >= len(z):
            raise ValueError(
                f"The target is {TRUTH!r}, but the label of this input is "
                f"{scene.material.truths[scene.number]!r}, which names none of the {len(z)} "
                "classes. Give labels by name, or as numbers from 0."
            )
        return truth
    classes = scene.opened.classes
    if isinstance(target, str):
        if target in classes:
            return classes.index(target)
        if scene.opened.read_text is not None and repr(target) in classes:  # a token, as it reads
            return classes.index(repr(target))
        raise ValueError(
            f"The model has no class {target!r}. {nearest(target, classes)} "
            f"A number from 0 to {len(z) - 1} will do, too."
        )
    if not 0 <= target < len(z):
        raise ValueError(
            f"Class {target} is out of range: the model has {len(z)} outputs. "
            f"Give a target from 0 to {len(z) - 1}."
        )
    return target


def class_of_truth(scene: Scene) -> int | None:
    """The class that an input's label names, by name or by number; None where it names none.

    Args:
        scene: the input.
    """
    truth = scene.material.truths[scene.number]
    if truth is None:
        return None
    if truth in scene.opened.classes:
        return scene.opened.classes.index(truth)
    number = digits(truth)
    return int(number) if number.isdecimal() else None


def digits(truth: str) -> str:
    """The digits of a class that is given as 2, 2.0 or class 2.

    Args:
        truth: the label as it reads.
    """
    return truth.strip().removeprefix("class ").removesuffix(".0")


@dataclass(frozen=True)
class _Logarithm:
    """A model that returns probabilities, as one that returns logits."""

    model: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return _logarithm(self.model(x))


def _logarithm(p: Tensor) -> Tensor:
    """log p of every class; of a single probability its log-odds. Zero is the smallest number."""
    limits = torch.finfo(p.dtype)
    if p.ndim == 1 or p.shape[-1] == 1:
        return torch.logit(p, eps=limits.eps)
    return p.clamp_min(limits.tiny).log()
