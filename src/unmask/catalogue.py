"""Find every method, describe it, and fill its arguments by name.

Nothing is listed here by hand. A method is whatever bears a card and lies in a family's folder;
what the card does not say is read off the function and its place.
"""

import difflib
import importlib
import importlib.resources
import importlib.util
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unmask.card import CARDS, Card

FAMILIES = ("interactions", "methods", "evaluation")
"""Where methods live; a family that is not there yet is passed over."""

VOCABULARY: Mapping[str, str] = {
    "score": "a Score",
    "model": "an nn.Module, where no number is read",
    "game": "a Game",
    "games": "several games of the same players, one per network",
    "terms": "explanations, one Interactions per input",
    "other": "explanations to set beside them: of other inputs, or of another network",
    "history": "one Snapshot per checkpoint of a training, from step 0 on",
    "trial": "a Trial, inputs whose parts can be removed, or a Game",
    "attribution": "an Attribution, the explanation that is rated",
    "explain": "a function of a Score and inputs that makes an Attribution",
    "runs": "functions like explain, alike but for their generators",
    "rewritten": "a Score of the same function, computed in another way",
    "region": "True where the evidence is known to lie, shaped like the inputs",
    "kinds": "several Kinds of model, whose truth is known",
    "train": "a function of data, labels and a generator that makes a trained nn.Module",
    "x": "a batch of inputs; of masked: one input",
    "data": "a batch of inputs to learn from",
    "labels": "their classes",
    "baseline": 'the input that stands for "nothing"',
    "players": "a Players",
    "target": "a class index, only where a score is made",
    "layer": "a dotted module name",
    "feature": "a column of a table, by its place; two of them where a method takes two",
    "edges": "the edges of a graph: a row of sources and a row of targets",
    "annotation": "True where an input must not matter",
    "window": "the sides of what is hidden or replaced at a time",
    "concept": "a set of inputs",
    "contrast": "another set of inputs",
    "steps": "iterations or nodes",
    "samples": "random draws",
    "radius": "the size of a perturbation",
    "noise": "the size of a perturbation",
    "generator": "a torch.Generator",
    "batch_size": "model calls at a time",
}
"""The names that a required argument may have, and what each always means."""


@dataclass(frozen=True)
class Entry:
    """One method as the catalogue knows it.

    Args:
        name: the published name in lower case, as in the list of methods.
        family: the wing of the survey, such as saliency; interactions and evaluation are their
            own.
        section: the sub-folder of the family, or nothing.
        summary: the first line of the docstring.
        formula: its first display, or nothing.
        needs: required arguments, in order.
        options: arguments that can be left out, with their defaults.
        result: the type that it returns.
        papers: keys of the bibliography.
        axioms: what it promises.
        call: the function or class.
    """

    name: str
    family: str
    section: str
    summary: str
    formula: str
    needs: tuple[str, ...]
    options: Mapping[str, object]
    result: object
    papers: tuple[str, ...]
    axioms: tuple[str, ...]
    call: Callable[..., Any]

    @property
    def wing(self) -> str:
        """The folder below the package, such as methods/saliency/gradients."""
        return "/".join(self.call.__module__.split(".")[1:-1])

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments as one writes them: what follows the star is given by name."""
        written = []
        for parameter in inspect.signature(self.call).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in written:
                written.append("*")
            if parameter.default is parameter.empty:
                written.append(parameter.name)
                continue
            default = getattr(parameter.default, "__name__", repr(parameter.default))
            if " at 0x" in default:  # an address tells nobody anything
                default = f"{type(parameter.default).__name__}(...)"
            written.append(f"{parameter.name}={default}")
        return tuple(written)


def methods() -> dict[str, Entry]:
    """All methods by name, family by family.

    >>> methods()["and_or"].needs
    ('game',)
    """
    found = [_entry(CARDS[name]) for name in _imported()]
    return {entry.name: entry for entry in sorted(found, key=lambda e: (e.wing, e.name))}


def entry(name: str) -> Entry:
    """The method of that name."""
    return _named("method", name, methods())


def cite(key: str) -> str:
    """The BibTeX of one paper."""
    return _named("paper", key, bibliography())


def bibliography() -> dict[str, str]:
    """The BibTeX of every paper by its key."""
    text = importlib.resources.files("unmask").joinpath("references.bib").read_text("utf-8")
    starts = [found.start() for found in re.finditer(r"^@", text, re.MULTILINE)]
    entries: dict[str, str] = {}
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        source = text[start:end].strip()
        key = source.partition("{")[2].partition(",")[0].strip()
        if key in entries:
            raise ValueError(
                f"The bibliography holds {key!r} twice. Merge the two entries of references.bib."
            )
        entries[key] = source
    return entries


def fill(
    entry: Entry, supplies: Mapping[str, object], options: Mapping[str, object] | None = None
) -> Any:
    """Call a method with the arguments it asks for, chosen by name.

    Args:
        entry: the method.
        supplies: values by name of the vocabulary; those that it does not ask for are left out.
        options: arguments for this method alone; they go before the supplies.
    """
    options = options or {}
    known = (*entry.needs, *entry.options)
    for name in options:
        if name not in known:
            near = _nearest(name, known)
            raise ValueError(f"{entry.name} has no option {name!r}. The nearest names are {near}.")
    chosen = {name: supplies[name] for name in known if name in supplies} | dict(options)
    lacking = [name for name in entry.needs if name not in chosen]
    if lacking:
        meaning = VOCABULARY.get(lacking[0], "an argument of its own")
        raise ValueError(
            f"{entry.name} needs {lacking[0]!r}, {meaning}, but was given "
            f"{', '.join(chosen) or 'nothing'}. Supply {', '.join(lacking)}."
        )
    return entry.call(**chosen)


def _imported() -> Iterable[str]:
    """Import every file of every family; the names of the cards that they hold."""
    for family in FAMILIES:
        if importlib.util.find_spec(f"unmask.{family}") is None:
            continue
        package = importlib.import_module(f"unmask.{family}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    rooms = tuple(f"unmask.{family}." for family in FAMILIES)
    return [name for name, card in CARDS.items() if card.call.__module__.startswith(rooms)]


def _entry(card: Card) -> Entry:
    call = card.call
    parameters = inspect.signature(call).parameters.values()
    needs = tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)
    room = call.__module__.split(".")[1:-1]
    if room[0] == "methods":
        room = room[1:]
    doc = inspect.getdoc(call) or ""
    display = re.search(r"\$\$(.+?)\$\$", doc, re.DOTALL)
    return Entry(
        name=_id(call),
        family=room[0] if room else "",
        section="/".join(room[1:]),
        summary=doc.partition("\n")[0],
        formula=inspect.cleandoc(display[1]) if display else "",
        needs=needs,
        options={p.name: p.default for p in parameters if p.name not in needs},
        result=call if inspect.isclass(call) else typing.get_type_hints(call).get("return"),
        papers=card.papers,
        axioms=card.axioms,
        call=call,
    )


def _id(call: Callable[..., Any]) -> str:
    """A function bears the id itself, a class in CamelCase."""
    if not inspect.isclass(call):
        return call.__name__
    file = call.__module__.rpartition(".")[2]
    if file.replace("_", "") == call.__name__.lower():
        return file
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", call.__name__).lower()


Named = typing.TypeVar("Named")


def _named(kind: str, name: str, known: Mapping[str, Named]) -> Named:
    if name not in known:
        raise ValueError(
            f"There is no {kind} {name!r}. The nearest names are {_nearest(name, known)}."
        )
    return known[name]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.0)
    return ", ".join(repr(other) for other in near)
