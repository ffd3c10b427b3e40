"""Figure 6 of the interaction article: the two phases in many networks."""

from collections.abc import Mapping, Sequence

import torch

from unmask.gallery.lines import SHADES, legend_below, line, named, over_steps
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import (
    SEEDS,
    all_courses,
    clean_history,
    gaps,
    mean_orders,
    mean_with_bounds,
    steps,
)
from unmask.methods.dynamics import two_phase
from unmask.plot import panels
from unmask.zoo.courses import Course


def interactions_figure_6(*, quick: bool = False) -> Plate:
    """Mean order and loss gap along trainings of several kinds, three seeds each.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = all_courses(quick)
    figure, places = panels(2, len(taken), 4.4)
    findings: list[Finding] = []
    for column, one in enumerate(taken):
        above, below = places[column], places[len(taken) + column]
        phases = []
        for seed, colour in zip(SEEDS, SHADES, strict=False):
            history = clean_history(one, seed)
            phases.append(two_phase(history).numbers)
            ends = torch.tensor([mean_with_bounds(row) for row in mean_orders(history)])
            line(above, steps(history), ends[:, 0], band=(ends[:, 1], ends[:, 2]), colour=colour,
                 label=f"seed {seed}")  # fmt: skip
            line(below, steps(history), gaps(history), colour=colour)
        named(above, one.name, y="" if column else "mean order")
        named(below, x="step", y="" if column else "loss gap")
        over_steps(above)
        over_steps(below)
        findings.append(_finding(one, phases))
    legend_below(figure, places[0])
    inputs = ", ".join(f"{one.followed} of {one.name}" for one in taken)
    return Plate(
        name="interactions_figure_6",
        title="The two phases in many networks",
        source="Interaction article, figure 6; Zhang and others 2024, Ren and others 2024",
        setting=f"A tenth of all labels is wrong; followed are rightly labelled training inputs: "
        f"{inputs}. Bands hold 19 of 20 resamplings of these. The loss gap is that of test data "
        "to rightly labelled training data.",
        findings=tuple(findings),
        picture=figure,
    )


def _finding(taken: Course, phases: Sequence[Mapping[str, float]]) -> Finding:
    one = sum(numbers["phase_one"] == 1 for numbers in phases)
    two = sum(numbers["phase_two"] == 1 for numbers in phases)
    courses = "; ".join(
        f"{numbers['centre_at_start']:.2f}, {numbers['centre_at_switch']:.2f} at step "
        f"{numbers['switch']:.0f}, {numbers['centre_at_end']:.2f}"
        for numbers in phases
    )
    return Finding(
        f"{taken.name}: the mean order first falls, then rises.",
        f"It falls in {one} and rises in {two} of {len(phases)} trainings (tests at 5 %). At the "
        f"start, the turn and the end it is {courses}.",
        one == two == len(phases),
    )
