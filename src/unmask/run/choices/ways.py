"""The ways that a plan can choose between, by name: scores, players and baselines."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, get_args

from unmask.run.choices.choose_baseline import BASELINES
from unmask.run.choices.choose_players import PLAYERS
from unmask.run.choices.choose_score import SCORES
from unmask.run.nearest import nearest
from unmask.run.plan import Choice, Plan

WAYS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "score": SCORES,
    "players": PLAYERS,
    "baseline": BASELINES,
}

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def check_choices(plan: Plan) -> None:
    """Refuse a way, or an option of a way, that does not exist, and say what was probably meant."""
    for key, ways in WAYS.items():
        choice: Choice = getattr(plan, key)
        if choice.name not in ways:
            raise ValueError(f"The {key} {choice.name!r} is unknown. {nearest(choice.name, ways)}")
        known = {
            parameter.name: parameter.annotation
            for parameter in inspect.signature(ways[choice.name]).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for option, value in choice.options.items():
            if option not in known:
                raise ValueError(
                    f"The {key} {choice.name!r} has no option {option!r}. {nearest(option, known)}"
                )
            kinds = _plain_kinds(known[option])
            if kinds and not _fits(value, kinds):
                raise ValueError(
                    f"The option {option!r} of the {key} {choice.name!r} is {value!r}. "
                    f"Give {' or '.join(_KINDS[kind] for kind in kinds)}."
                )


def _plain_kinds(annotation: object) -> list[type]:
    """What an option may be, as far as it is a number or a text; lists and tables tell nothing."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return [kind for kind in _KINDS if kind in parts]


def _fits(value: object, kinds: Sequence[type]) -> bool:
    """Whether a value of a plan is of one of some plain kinds; a whole number is a number, too."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else tuple(kinds))
