"""The ways that a plan can choose between, by name: scores, players and baselines."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

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


def check_choices(plan: Plan) -> None:
    """Refuse a way, or an option of a way, that does not exist, and say what was probably meant."""
    for key, ways in WAYS.items():
        choice: Choice = getattr(plan, key)
        if choice.name not in ways:
            raise ValueError(f"The {key} {choice.name!r} is unknown. {nearest(choice.name, ways)}")
        known = [
            parameter.name
            for parameter in inspect.signature(ways[choice.name]).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        for option in choice.options:
            if option not in known:
                raise ValueError(
                    f"The {key} {choice.name!r} has no option {option!r}. {nearest(option, known)}"
                )
