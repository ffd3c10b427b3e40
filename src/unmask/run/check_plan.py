"""Is a plan one that can be carried out? Asked before anything is computed."""

from collections.abc import Mapping

from unmask import catalogue
from unmask.catalogue import Entry as Method
from unmask.run.choices.ways import check_choices
from unmask.run.nearest import nearest
from unmask.run.plan import Plan

SUPPLIES = (
    *("game", "score", "x", "model", "baseline", "players"),
    *("target", "generator", "batch_size"),
)
"""What a run can give to a method; everything else has to be an option in the plan."""


def checked_methods(plan: Plan) -> Mapping[str, Method]:
    """The methods of a plan. What it asks for and does not exist is refused by name.

    Args:
        plan: a plan.
    """
    check_choices(plan)
    known = catalogue.methods()
    for name, options in plan.methods.items():
        if name not in known:
            raise ValueError(f"The method {name!r} is unknown. {nearest(name, known)}")
        method = known[name]
        allowed = [*method.needs, *method.options]
        allowed = [option for option in allowed if option not in (*SUPPLIES, "terms")]
        for option in options:
            if option not in allowed:
                raise ValueError(
                    f"The method {name!r} has no option {option!r}. {nearest(option, allowed)}"
                )
            _refuse_kind(name, option, options[option], method.options.get(option))
        lacking = [need for need in method.needs if need not in (*SUPPLIES, *options)]
        if lacking:
            raise ValueError(
                f"The method {name!r} needs {lacking[0]!r}, which a run cannot supply. "
                "Leave it out of the plan and call it from Python."
            )
    return {name: known[name] for name in plan.methods}


def _refuse_kind(method: str, option: str, value: object, default: object) -> None:
    """A text for a number, or a number for a text."""
    for kinds, wanted in (
        ((bool,), "true or false"),
        ((int, float), "a number"),
        ((str,), "a text"),
    ):
        if isinstance(default, kinds):
            if isinstance(value, bool) == (bool in kinds) and isinstance(value, kinds):
                return
            raise ValueError(
                f"The option {option!r} of the method {method!r} is {value!r}. "
                f"Give {wanted}, such as {default!r}."
            )
