"""Figure 1 of the interaction article: interactions of all orders along a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unmask.gallery.lines import SHADES, bars, legend, line, named, over_steps
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import (
    SEEDS,
    clean_history,
    course,
    gaps,
    mean_orders,
    mean_with_bounds,
    setting,
    steps,
)
from unmask.interactions import Snapshot
from unmask.methods.dynamics import largest_strength, order_strength, two_phase
from unmask.plot import COLOURS
from unmask.plot.style import sheet


def interactions_figure_1(*, quick: bool = False) -> Plate:
    """Five moments of one training, order by order, and the course of three trainings.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = course(quick)
    histories = [clean_history(taken, seed) for seed in SEEDS]
    phases = [two_phase(history).numbers for history in histories]
    inputs = len(histories[0][0].terms)

    figure = sheet(5.0)
    halves: Any = figure.subfigures(2, 1)
    top, bottom = halves
    chosen = _moments(histories[0], phases[0]["switch"])
    moments: Any = top.subplots(1, len(chosen))
    for column, (place, at) in enumerate(zip(moments, chosen, strict=True)):
        _draw_orders(place, histories[0][at], column == 0)
    places: Any = bottom.subplots(1, 2)
    _draw_courses(places, histories, phases)

    widest = [_widest(history) for history in histories]
    n = len(taken.samples[0].players.names)
    return Plate(
        name="interactions_figure_1",
        title="Two phases of learning interactions",
        source="Interaction article, figure 1; Zhang and others 2024, Ren and others 2024",
        setting=f"{setting(taken)} Followed are {inputs} rightly labelled training inputs; bands "
        "and whiskers hold 19 of 20 resamplings of these. Dotted: where the mean order turns, and "
        "where the loss gap begins to rise.",
        findings=(
            Finding(
                "Before training, orders in the middle are strongest and the highest weakest.",
                f"The strongest order of {n} is {_listed(widest)} (seeds {_listed(SEEDS)}).",
                all(1 < order <= (2 * n + 2) // 3 for order in widest),
            ),
            Finding(
                "Phase one: middle and high orders shrink, low ones grow.",
                f"The mean order falls {_changes(phases, 'drop', n)} (3 seeds, bounds hold 90 %). "
                f"A test at 5 % that mistrusts rough courses proves it in "
                f"{_proved(phases, 'one')}.",
                all(numbers["phase_one"] == 1 for numbers in phases),
            ),
            Finding(
                "Phase two: higher and higher orders are learned.",
                f"It rises {_changes(phases, 'rise', n)}. The test proves it in "
                f"{_proved(phases, 'two')}.",
                all(numbers["phase_two"] == 1 for numbers in phases),
            ),
            Finding(
                "The loss gap begins to rise when phase two begins.",
                "Switch and onset lie at steps "
                + ", ".join(f"{one['switch']:.0f} and {one['gap_onset']:.0f}" for one in phases)
                + "; on a logarithmic axis they are "
                + ", ".join(
                    f"{-one['lead']:+.1f} ({-one['lead_high']:+.1f} to {-one['lead_low']:+.1f})"
                    for one in phases
                )
                + " apart.",
                all(numbers["aligned"] == 1 for numbers in phases),
            ),
        ),
        picture=figure,
    )


def _draw_orders(place: Any, snapshot: Snapshot, first: bool) -> None:
    """The strength of every order at one checkpoint, the largest having length 1."""
    strength = order_strength(snapshot.terms, tau=0.0, unit=largest_strength).curves
    for sign, colour in zip(("positive", "negative"), COLOURS, strict=True):
        ends = (strength[f"{sign}_low"], strength[f"{sign}_high"])
        bars(place, strength[sign], ends=ends, colour=colour)
    ticks = range(1, len(strength["order"]) + 1, 2)
    named(place, f"step {snapshot.step:,}", x="order", y="strength" if first else "", ticks=ticks)
    place.set_ylim(-1.3, 1.3)
    if not first:
        place.set_yticklabels([])


def _draw_courses(
    places: Any,
    histories: Sequence[Sequence[Snapshot]],
    phases: Sequence[Mapping[str, float]],
) -> None:
    """The mean order and the loss gap of every training."""
    left, right = places
    for seed, history, colour in zip(SEEDS, histories, SHADES, strict=False):
        along = steps(history)
        ends = torch.tensor([mean_with_bounds(row) for row in mean_orders(history)])
        band = (ends[:, 1], ends[:, 2])
        line(left, along, ends[:, 0], band=band, colour=colour, label=f"seed {seed}")
        line(right, along, gaps(history), colour=colour)
    named(left, "mean order", x="step")
    named(right, "loss gap, test minus clean training data", x="step")
    for place, which in ((left, "switch"), (right, "gap_onset")):
        over_steps(place)
        for numbers, colour in zip(phases, SHADES, strict=False):
            place.axvline(numbers[which], color=colour, linewidth=0.7, linestyle=":")
    legend(left)


def _moments(history: Sequence[Snapshot], switch: float) -> list[int]:
    """The start, the middle of each phase, the turn between them, and the end."""
    along = torch.log1p(steps(history))
    turn = int((along - torch.tensor(switch).log1p()).abs().argmin())
    centres = mean_orders(history).mean(1)
    before = centres[: turn + 1] - (centres[0] + centres[turn]) / 2
    after = centres[turn:] - (centres[-1] + centres[turn]) / 2
    middle = (int(before.abs().argmin()), turn + int(after.abs().argmin()))
    return sorted({0, middle[0], turn, middle[1], len(history) - 1})


def _widest(history: Sequence[Snapshot]) -> int:
    share = order_strength(history[0].terms, tau=0.0).curves["share"]
    return int(share.argmax()) + 1


def _changes(phases: Sequence[Mapping[str, float]], what: str, n: int) -> str:
    return ", ".join(
        f"by {n * one[what]:.2f} ({n * one[f'{what}_low']:.2f} to {n * one[f'{what}_high']:.2f})"
        for one in phases
    )


def _proved(phases: Sequence[Mapping[str, float]], which: str) -> str:
    proved = sum(one[f"phase_{which}"] == 1 for one in phases)
    return f"{proved} of {len(phases)} trainings"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
