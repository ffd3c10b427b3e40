"""Figure 3 of the interaction article: the spindle of an untrained network."""

import torch

from unmask.gallery.lines import SHADES, bars, legend_below, line, named
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import SEEDS, all_courses
from unmask.interactions import and_interaction
from unmask.methods.dynamics import spindle
from unmask.plot import panels
from unmask.results import Interactions, Measurement
from unmask.zoo.courses import Course
from unmask.zoo.training import fresh

_INPUTS = 8


def interactions_figure_3(*, quick: bool = False) -> Plate:
    """The strength of each order before any training, against two laws of chance.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = all_courses(quick)
    figure, places = panels(1, len(taken), 2.6)
    findings: list[Finding] = []
    for column, one in enumerate(taken):
        found = spindle(_untrained(one))
        place, share = places[column], found.curves["share"]
        bars(place, share, ends=(found.curves["share_low"], found.curves["share_high"]))
        orders = found.curves["order"]
        for law, style, colour in (("effects", "-", SHADES[1]), ("outputs", "--", SHADES[2])):
            line(place, orders, found.curves[f"random_{law}"], style=style, colour=colour,
                 label=f"random {law}")  # fmt: skip
        named(
            place,
            one.name,
            x="order",
            y="" if column else "share of the strength",
            ticks=range(1, len(share) + 1, 2),
        )
        findings.append(_finding(one, found))
    legend_below(figure, places[0])
    return Plate(
        name="interactions_figure_3",
        title="The spindle of an untrained network",
        source="Interaction article, figure 3; Ren and others 2024",
        setting=f"Dividends of the log-odds of {_INPUTS} training inputs in each of {len(SEEDS)} "
        "untrained networks. Lines: what is expected if all effects are alike and independent, "
        "and if the outputs on all masks are. Whiskers hold 19 of 20 resamplings.",
        findings=tuple(findings),
        picture=figure,
    )


def _untrained(taken: Course) -> list[Interactions]:
    """The dividends of some inputs under several seeds."""
    return [
        and_interaction(sample.game(model))
        for seed in SEEDS
        for model in (fresh(taken.make, seed),)
        for sample in taken.clean[:_INPUTS]
    ]


def _finding(taken: Course, found: Measurement) -> Finding:
    share, ends = found.curves["share"], _ends(found, "share")
    widest = int(share.argmax())
    numbers = found.numbers
    return Finding(
        f"{taken.name}: the strength rises to an order in the middle, and then falls.",
        f"Order {widest + 1} of {len(share)} holds {float(share[widest]):.0%} of the strength, the "
        f"lowest {float(ends[0]):.1%} and the highest {float(ends[1]):.1%}. From the law of random "
        f"effects it is {numbers['effects_distance']:.0%} away in total variation "
        f"({numbers['effects_distance_low']:.0%} to {numbers['effects_distance_high']:.0%}), from "
        f"that of random outputs {numbers['outputs_distance']:.0%} "
        f"({numbers['outputs_distance_low']:.0%} to {numbers['outputs_distance_high']:.0%}).",
        bool((_ends(found, "share_high") < found.curves["share_low"][widest]).all())
        and bool((share[: widest + 1].diff() > 0).all())
        and bool((share[widest:].diff() < 0).all()),
    )


def _ends(found: Measurement, curve: str) -> torch.Tensor:
    """A curve at the lowest and at the highest order."""
    return found.curves[curve][[0, -1]]
