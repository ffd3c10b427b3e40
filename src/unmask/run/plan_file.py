"""Plans as TOML: read with care, and written so that reading gives the same plan back."""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from unmask.run.nearest import nearest
from unmask.run.plan import PRECISIONS, Choice, Plan, Source

KEYS = tuple(Plan.__dataclass_fields__)
SOURCE_KEYS = tuple(Source.__dataclass_fields__)
_DEVICE = re.compile(r"[a-z]+(:\d+)?")
_REQUIRED = ("model", "score", "players", "baseline", "methods")


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a TOML file.

    Args:
        path: the file.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"There is no plan at '{path}'. Give the path of a .toml file; "
            "`unmask explain` writes one."
        ) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(
            f"'{path}' is no text that could be a plan ({error}). Give a .toml file in UTF-8."
        ) from None
    try:
        return parsed(text)
    except ValueError as error:
        raise ValueError(f"In the plan '{path}': {error}") from None


def parsed(text: str) -> Plan:
    """The plan that a TOML text describes."""
    try:
        raw = _frozen(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(
            f"This is not TOML: {error}. Mend that place; strings need quotation marks."
        ) from None
    _known("key", raw, KEYS)
    for key in _REQUIRED:
        if key not in raw:
            raise ValueError(
                f"The key {key!r} is missing; the plan has {', '.join(map(repr, raw))}. Add it."
            )
    methods = _typed(raw, "methods", Mapping, "a table per method, such as [methods.and_or]")
    if not methods:
        raise ValueError("The plan names no method: [methods] is empty. Add [methods.and_or].")
    for name, options in methods.items():
        if not isinstance(options, Mapping):
            raise ValueError(
                f"The method {name!r} has the value {options!r}. Write it as a table of its own, "
                f"[methods.{name}], with one option per line."
            )
    rows = raw.get("rows")
    if rows is not None and not (isinstance(rows, tuple) and all(_whole(row) for row in rows)):
        raise ValueError(
            f"The key 'rows' is {_shown(rows)}. Give a list of numbers counted from 0."
        )
    if rows == ():
        raise ValueError("The key 'rows' is an empty list. Leave it out to explain all inputs.")
    batch_size = raw.get("batch_size")
    if batch_size is not None and not (_whole(batch_size) and batch_size > 0):
        raise ValueError(f"The key 'batch_size' is {batch_size!r}. Give a whole number above 0.")
    checkpoints = raw.get("checkpoints", ())
    if not (isinstance(checkpoints, tuple) and all(isinstance(one, str) for one in checkpoints)):
        raise ValueError(
            f"The key 'checkpoints' is {_shown(checkpoints)}. Give a list of files, such as "
            '["step_000000.safetensors", "step_000100.safetensors"].'
        )
    budget = raw.get("budget")
    if budget is not None and not (_whole(budget) and budget > 0):
        raise ValueError(f"The key 'budget' is {_shown(budget)}. Give a whole number above 0.")
    store = raw.get("store")
    if store is not None and not (isinstance(store, str) and store):
        raise ValueError(
            f"The key 'store' is {_shown(store)}. Give a path or an address, such as "
            '"s3://bucket/run".'
        )
    device, precision = raw.get("device"), raw.get("precision")
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise ValueError(
            f"The key 'device' is {_shown(device)}. Give the name of a device as PyTorch has it, "
            'such as "cpu", "cuda" or "cuda:1".'
        )
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(
            f"The key 'precision' is {_shown(precision)}. Give "
            f"{' or '.join(map(_quoted, PRECISIONS))}, or leave it out for the model's own."
        )
    seed = raw.get("seed", 0)
    if not _whole(seed):
        raise ValueError(f"The key 'seed' is {seed!r}. Give a whole number of at least 0.")
    return Plan(
        model=_typed(raw, "model", str, "a path, or package.module:function"),
        inputs=_source(raw.get("inputs", {}), "inputs"),
        score=_choice(raw, "score"),
        players=_choice(raw, "players"),
        baseline=_choice(raw, "baseline"),
        methods=methods,
        rows=rows,
        seed=seed,
        batch_size=batch_size,
        checkpoints=checkpoints,
        held_out=_source(raw["held_out"], "held_out") if "held_out" in raw else None,
        budget=budget,
        store=store,
        device=device,
        precision=precision,
    )


def written(plan: Plan) -> str:
    """A plan as TOML; `parsed` gives the same plan back."""
    lines = [f"model = {_toml(plan.model)}"]
    for key, one in (("inputs", plan.inputs), ("held_out", plan.held_out)):
        source = {
            part: value
            for part in SOURCE_KEYS
            if (value := getattr(one, part, None)) is not None and value != ()
        }
        if source:
            lines.append(f"{key} = {_toml(source['file'] if set(source) == {'file'} else source)}")
    if plan.checkpoints:
        lines.append(f"checkpoints = {_toml(plan.checkpoints)}")
    if plan.budget is not None:
        lines.append(f"budget = {plan.budget}")
    if plan.store is not None:
        lines.append(f"store = {_toml(plan.store)}")
    for key in ("device", "precision"):
        if getattr(plan, key) is not None:
            lines.append(f"{key} = {_toml(getattr(plan, key))}")
    if plan.rows is not None:
        lines.append(f"rows = {_toml(plan.rows)}")
    for key in ("score", "players", "baseline"):
        choice: Choice = getattr(plan, key)
        lines.append(f"{key} = {_toml({choice.name: choice.options})}")
    lines.append(f"seed = {plan.seed}")
    if plan.batch_size is not None:
        lines.append(f"batch_size = {plan.batch_size}")
    for name, options in plan.methods.items():
        lines += ["", f"[methods.{_key(name)}]"]
        lines += [f"{_key(key)} = {_toml(value)}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


def told_differences(before: Plan, now: Plan, keys: Iterable[str]) -> str:
    """How two plans differ, with the values of both.

    Args:
        before: one plan.
        now: the other.
        keys: in which they differ.
    """
    told = []
    for key in keys:
        old, new = (_leaves(key, getattr(plan, key)) for plan in (before, now))
        told += [
            f"{name} ({_brief(old.get(name))} before, {_brief(new.get(name))} now)"
            for name in {**old, **new}
            if old.get(name) != new.get(name) and not _filled(name, old, new)
        ]
    return ", ".join(told)


def _filled(name: str, *plans: Mapping[str, Any]) -> bool:
    """Whether it is a table that is empty in one plan and not in another, whose keys tell more."""
    return any(key.startswith(f"{name}.") for leaves in plans for key in leaves)


def _leaves(name: str, value: Any) -> dict[str, Any]:
    """The values in tables, by dotted names; a table that is empty counts as one."""
    if isinstance(value, Choice):
        value = {value.name: value.options}
    elif isinstance(value, Source):
        value = {part: getattr(value, part) for part in SOURCE_KEYS}
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {
        leaf: part
        for key, inside in value.items()
        for leaf, part in _leaves(f"{name}.{key}", inside).items()
    }


def _brief(value: Any) -> str:
    text = "nothing" if value is None else _toml(value)
    return text if len(text) <= 60 else f"{text[:28]} ... {text[-28:]}"


def _choice(raw: Mapping[str, Any], key: str) -> Choice:
    value = raw[key]
    if isinstance(value, str):
        return Choice(value)
    if isinstance(value, Mapping) and len(value) == 1:
        name, options = next(iter(value.items()))
        if isinstance(options, Mapping):
            return Choice(name, options)
    raise ValueError(
        f"The key {key!r} is {_shown(value)}. Name one way with its options, "
        f"such as {key} = {{ name = {{ option = 1 }} }}, or a name alone."
    )


def _source(value: Any, key: str) -> Source:
    if isinstance(value, str):
        return Source(file=value)
    if not isinstance(value, Mapping):
        raise ValueError(
            f"The key {key!r} is {_shown(value)}. Give a path, "
            'or { text = ["one", "two"] }, or { file = "table.csv", label = "column" }.'
        )
    _known(f"key of {key}", value, SOURCE_KEYS)
    text, size = value.get("text", ()), value.get("size")
    text = (text,) if isinstance(text, str) else text
    if not (isinstance(text, tuple) and all(isinstance(part, str) for part in text)):
        raise ValueError(f"'text' of {key} is {_shown(text)}. Give a list of strings.")
    if size is not None and not (
        isinstance(size, tuple) and len(size) == 2 and all(map(_whole, size))
    ):
        raise ValueError(f"'size' of {key} is {_shown(size)}. Give [height, width] in pixels.")
    for part in ("file", "label"):
        if not isinstance(value.get(part, ""), str):
            raise ValueError(f"{part!r} of {key} is {_shown(value[part])}. Give a string.")
    return Source(value.get("file"), text, value.get("label"), size)


def _known(what: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"The {what} {name!r} is unknown. {nearest(name, known)}")


def _typed(raw: Mapping[str, Any], key: str, kind: type, wanted: str) -> Any:
    if not isinstance(raw[key], kind):
        raise ValueError(f"The key {key!r} is {_shown(raw[key])}. Give {wanted}.")
    return raw[key]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shown(value: Any) -> str:
    return _toml(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(part) for key, part in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)  # also inf and nan are spelled as TOML spells them
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_toml(part)}" for key, part in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    raise TypeError(
        f"A plan cannot hold {value!r}, a {type(value).__name__}. "
        "Use numbers, strings, lists and tables."
    )


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return (
        '"'
        + "".join(
            escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c)
            for c in text
        )
        + '"'
    )


def _key(name: str) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return name if bare else _quoted(name)
