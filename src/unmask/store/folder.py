"""A result is a folder of plain files: JSON for the words, safetensors for the numbers.

```
result.json           the type, names and single numbers; format and version
tensors.safetensors   every tensor, bit for bit
terms.parquet         of Interactions: one row per term, for other programs; `load` does not need it
```

Nothing in it is code, and reading it runs none.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import singledispatch
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn, strided

from unmask.results import (
    Interactions,
    Measurement,
    Result,
    Surrogate,
)
from unmask.store.columns import write_terms
from unmask.store.sound import fault
from unmask.store.whole import standing, written

FORMAT = "unmask result"
VERSION = 1
WORDS, TENSORS, TERMS = "result.json", "tensors.safetensors", "terms.parquet"
TYPES: dict[str, type] = {kind.__name__: kind for kind in get_args(Result)}
_UNUSUAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True)
class KeptModel:
    """What a folder keeps of a surrogate's model: never the object, whose loading could run code.

    Args:
        kind: the class it was of.
        state: of a module its `state_dict`, for `load_state_dict` of a module made anew; None
            where the model was no module and nothing of it is kept.
    """

    kind: str
    state: Mapping[str, Tensor] | None


def save(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write a result into a folder of its own, whole or not at all.

    All numbers come back bit for bit, in their dtype, on the CPU and without a gradient. Of a
    Surrogate the text and fidelity are kept, and of its model only the state of a module
    (`KeptModel`).

    Args:
        result: any type.
        path: the folder; a result that stands there is replaced.
    """
    if type(result) not in TYPES.values():
        raise TypeError(
            f"save takes a result, but got {type(result).__name__}. Give one of {', '.join(TYPES)}."
        )
    _refuse_foreign(Path(path))
    words, tensors = _packed(result)
    wrong = fault(type(result), words, tensors)
    if wrong:
        raise ValueError(
            f"This {type(result).__name__} cannot be kept: {wrong}. Make it anew with parts that "
            "fit each other."
        )
    tensors = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    words = {"format": FORMAT, "version": VERSION, "type": type(result).__name__, **words}
    with written(path) as draft:
        draft.mkdir()
        (draft / WORDS).write_bytes(_encoded(words))
        (draft / TENSORS).write_bytes(save_tensors(tensors))
        if isinstance(result, Interactions):
            write_terms(result, draft / TERMS)
    return Path(path)


def load(path: str | os.PathLike[str]) -> Result:
    """Read a result that `save` wrote. Nothing in the folder can make this run code.

    Args:
        path: the folder.
    """
    folder = standing(path)
    words = _words(path, folder)
    kind = TYPES[words["type"]]
    file = folder / TENSORS
    if not file.is_file():
        raise ValueError(
            f"{file} is missing. The folder is incomplete: copy it again, or repeat what made it."
        )
    try:
        tensors = load_tensors(file.read_bytes())
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{file} does not hold whole tensors ({error}). It is truncated or foreign: copy it "
            "again, or repeat what made it."
        ) from None
    wrong = fault(kind, words, tensors)
    if wrong:
        raise ValueError(
            f"{folder} does not hold a sound {kind.__name__}: {wrong}. Copy it again, or repeat "
            "what made it."
        )
    return _unpacked(kind, words, tensors)


def _words(path: str | os.PathLike[str], folder: Path) -> dict[str, Any]:
    file = folder / WORDS
    if not folder.exists():
        raise ValueError(f"{path} does not exist. Give a folder that save has written.")
    if not file.is_file():
        raise ValueError(
            f"{path} is no result: there is no {WORDS} in it. Give a folder that save has written."
        )
    try:
        words = json.loads(file.read_bytes().decode())
    except (ValueError, RecursionError):
        raise ValueError(
            f"{file} is not readable as JSON. It is truncated or foreign: copy it again, or repeat "
            "what made it."
        ) from None
    if not isinstance(words, dict) or words.get("format") != FORMAT:
        raise ValueError(
            f"{file} is no result: it does not say format {FORMAT!r}. "
            "Give a folder that save has written."
        )
    version, kind = words.get("version"), words.get("type")
    if version != VERSION:
        raise ValueError(
            f"{file} is of version {version!r}, and this unmask reads version {VERSION}. "
            "Read it with the unmask that wrote it, or a newer one."
        )
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError(
            f"{file} holds a {kind!r}, which is no type of result. Known are {', '.join(TYPES)}."
        )
    return words


@singledispatch
def _packed(result: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A result as words and tensors."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    words = {
        name: list(value) if isinstance(value, tuple) else _number(value)
        for name, value in values.items()
        if name not in tensors
    }
    return words, tensors


@_packed.register
def _(result: Measurement) -> tuple[dict[str, Any], dict[str, Tensor]]:
    words = {
        "numbers": {name: _number(value) for name, value in result.numbers.items()},
        "curves": list(result.curves),
        "panels": {title: list(names) for title, names in result.panels.items()},
    }
    return words, {f"curves.{name}": curve for name, curve in result.curves.items()}


@_packed.register
def _(result: Surrogate) -> tuple[dict[str, Any], dict[str, Tensor]]:
    model, state = result.model, None
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if isinstance(model, KeptModel):
        kind, state = model.kind, model.state
    elif isinstance(model, nn.Module):
        state = model.state_dict()
        if not all(isinstance(value, Tensor) for value in state.values()):
            state = None  # a module may add anything to its state
    kept = None if model is None else {"kind": kind, "state": None if state is None else [*state]}
    words = {"fidelity": _number(result.fidelity), "text": result.text, "model": kept}
    return words, {f"model.{name}": value for name, value in (state or {}).items()}


def _unpacked(kind: type, words: dict[str, Any], tensors: dict[str, Tensor]) -> Result:
    """The result of words and tensors that have been found sound."""
    if kind is Measurement:
        numbers = {name: _read(value) for name, value in words["numbers"].items()}
        curves = {name: tensors[f"curves.{name}"] for name in words["curves"]}
        panels = {title: tuple(names) for title, names in words.get("panels", {}).items()}
        return Measurement(numbers, curves, panels)
    if kind is Surrogate:
        model = kept = words["model"]
        if kept is not None:
            state = kept["state"]
            if state is not None:
                state = {name: tensors[f"model.{name}"] for name in state}
            model = KeptModel(kept["kind"], state)
        return Surrogate(model, _read(words["fidelity"]), words["text"])
    values = {
        field.name: tensors.get(field.name, _read(words.get(field.name))) for field in fields(kind)
    }
    return kind(**values)


def _number(value: Any) -> Any:
    """A number as JSON can hold it: what is not finite is a word."""
    if value is None or isinstance(value, int):
        return value
    value = float(value)
    for word, unusual in _UNUSUAL.items():
        if repr(value) == repr(unusual):
            return word
    return value


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return _UNUSUAL[value] if isinstance(value, str) else value


def _encoded(words: dict[str, Any]) -> bytes:
    try:
        return json.dumps(words, ensure_ascii=False, indent=1, allow_nan=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair, as some file names have
        return json.dumps(words, indent=1, allow_nan=False).encode()


def _plain(name: str, tensor: Tensor) -> Tensor:
    """A copy that shares no memory, as safetensors asks."""
    if tensor.layout is not strided or tensor.is_quantized or str(tensor.dtype) not in _DTYPES:
        raise ValueError(
            f"{name} is a {tensor.layout} tensor of {tensor.dtype}, which a file cannot hold. "
            "Make it dense, of a real, whole or Boolean type."
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().clone()


_DTYPES = {
    f"torch.{name}"
    for name in (
        *("float64", "float32", "float16", "bfloat16", "bool", "complex64"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
}


def _refuse_foreign(path: Path) -> None:
    """Do not sweep away a folder that is no result."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path} is a file. Give the path of a folder for the result.")
    others = {entry.name for entry in path.iterdir()} - {WORDS, TENSORS, TERMS}
    if others:
        raise ValueError(
            f"{path} holds other things than a result, such as {sorted(others)[0]!r}. "
            "Give a folder that does not exist yet."
        )
