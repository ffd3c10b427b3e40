"""Whether the parts of a result fit each other: asked before writing and after reading."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from unmask.results import (
    AndOrGraph,
    Attribution,
    Dependence,
    Examples,
    Hierarchy,
    Interactions,
    JointInteractions,
    Measurement,
    Rating,
    Surrogate,
    Synthesis,
    misdrawn,
)

# Each tensor of a type: what it holds, its axes, and whether it must be there.
_PARTS: dict[type, dict[str, tuple[str, str, bool]]] = {
    Attribution: {
        "values": ("real", "batch ...", True),
        "gap": ("real", "batch", False),
        "errors": ("real", "batch ...", False),
    },
    Interactions: {
        "members": ("Boolean", "terms players", True),
        "is_or": ("Boolean", "terms", True),
        "effects": ("real", "terms", True),
    },
    Examples: {
        "index": ("whole", "batch cases", False),
        "weight": ("real", "batch cases", False),
        "inputs": ("any", "batch ...", False),
    },
    Synthesis: {
        "inputs": ("real", "batch ...", True),
        "score": ("real", "batch", True),
        "trace": ("real", "batch steps", True),
    },
    Rating: {
        "values": ("real", "inputs", True),
        "curve": ("real", "inputs points", False),
        "at": ("real", "points", False),
    },
    Dependence: {
        "points": ("real", "points columns", True),
        "average": ("real", "points", True),
        "curves": ("real", "rows points", False),
        "observed": ("real", "observed columns", False),
    },
    Hierarchy: {
        "members": ("Boolean", "nodes players", True),
        "score": ("real", "nodes", True),
        "step": ("whole", "nodes", True),
    },
    JointInteractions: {
        "members": ("Boolean", "terms players", True),
        "is_or": ("Boolean", "terms", True),
        "effects": ("real", "networks terms", True),
        "empty": ("real", "networks", True),
    },
    AndOrGraph: {
        "members": ("Boolean", "terms players", True),
        "is_or": ("Boolean", "terms", True),
        "effects": ("real", "terms", True),
        "words": ("Boolean", "words players", True),
        "words_are_or": ("Boolean", "words", True),
        "uses": ("Boolean", "terms words", True),
    },
}
_NAMED = (Interactions, Hierarchy, JointInteractions, AndOrGraph)
"""Types of result whose players always have names."""


def fault(kind: type, words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with a result that has been taken apart, or None.

    Args:
        kind: the type of result.
        words: its texts and single numbers, by field.
        tensors: its tensors, by field.
    """
    if kind is Measurement:
        return _of_measurement(words, tensors)
    if kind is Surrogate:
        return _of_surrogate(words, tensors)
    return _of_words(kind, words) or _of_tensors(kind, words, tensors)


def _of_words(kind: type, words: Mapping[str, Any]) -> str | None:
    names = words.get("names")
    if (names is not None or kind in _NAMED) and not _texts(names):
        return "its names are not a list of texts"
    if kind is JointInteractions and not _texts(words.get("networks")):
        return "its networks have no names"
    if kind in (Interactions, AndOrGraph) and not _number(words.get("empty")):
        return "its value of the empty coalition is not a number"
    for doubt in ("gap", "unfaithfulness", "residual", "residual_near_full"):
        if words.get(doubt) is not None and not _number(words[doubt]):
            return f"its {doubt} is not a number"
    if kind is Rating and type(words.get("higher_is_better")) is not bool:
        return "it does not say which way it points"
    if type(words.get("evaluations")) not in (int, type(None)):
        return "its evaluations are not a whole number"
    return None


def _of_tensors(kind: type, words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    sizes: dict[str, int] = {}
    if kind in _NAMED:
        sizes["players"] = len(words["names"])
    if kind is JointInteractions:
        sizes["networks"] = len(words["networks"])
    for name, (content, axes, needed) in _PARTS[kind].items():
        if name not in tensors:
            if needed:
                return f"it has no {name}"
            continue
        tensor, wanted = tensors[name], axes.split()
        if _content(tensor) != content and content != "any":
            return f"its {name} are {tensor.dtype}, which is not {content}"
        shape = list(tensor.shape)
        if wanted[-1] == "...":
            wanted, shape = wanted[:-1], shape[: len(wanted) - 1]
        if len(shape) != len(wanted):
            return f"its {name} have shape {tuple(tensor.shape)} where [{axes}] belongs"
        for axis, size in zip(wanted, shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                return f"its {name} count {size} {axis} where the rest counts {sizes[axis]}"
    return _others(tensors, _PARTS[kind])


def _of_measurement(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    numbers, curves = words.get("numbers"), words.get("curves")
    if not isinstance(numbers, dict) or not _texts([*numbers]):
        return "its numbers have no names"
    for name, value in numbers.items():
        if not _number(value):
            return f"its number {name!r} is none"
    if not _texts(curves):
        return "its curves have no names"
    for name in curves or ():
        curve = tensors.get(f"curves.{name}")
        if curve is None or curve.ndim != 1 or _content(curve) == "complex":
            return f"its curve {name!r} is not a row of numbers"
    panels = words.get("panels", {})  # folders of early versions have none
    if not isinstance(panels, dict) or not all(_texts(names) for names in panels.values()):
        return "its panels are not lists of curves"
    wrong = misdrawn(panels, {name: tensors[f"curves.{name}"] for name in curves or ()})
    return wrong or _others(tensors, [f"curves.{name}" for name in curves or ()])


def _of_surrogate(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    kept = words.get("model")
    if not _number(words.get("fidelity")):
        return "its fidelity is not a number"
    if not isinstance(words.get("text"), str):
        return "its text is not text"
    if kept is None:
        return _others(tensors, ())
    if not isinstance(kept, dict) or not isinstance(kept.get("kind"), str):
        return "its model does not say of what kind it was"
    state = kept.get("state")
    if state is not None and not _texts(state):
        return "the state of its model has no names"
    wanted = [f"model.{name}" for name in state or ()]
    for name in wanted:
        if name not in tensors:
            return f"it has no {name}"
    return _others(tensors, wanted)


def _others(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> str | None:
    others = sorted(set(tensors) - set(wanted))
    return f"it has a part that does not belong there, {others[0]!r}" if others else None


def _content(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "Boolean"
    if tensor.is_complex():
        return "complex"
    return "real" if tensor.is_floating_point() else "whole"


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _number(value: object) -> bool:
    return type(value) in (int, float) or value in ("NaN", "Infinity", "-Infinity")
