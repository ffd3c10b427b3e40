"""Figure 10 of the interaction article: predicted and real strengths in the second phase."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unmask.gallery.lines import SHADES, bars, legend, line, named, over_steps
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import SEEDS, clean_history, course, setting
from unmask.interactions import Snapshot
from unmask.interactions.terms.orders import order_shares
from unmask.interactions.terms.stacked import stacked
from unmask.methods.dynamics import dividends, predicted_dynamics, predicted_shares
from unmask.plot.style import sheet
from unmask.results import Measurement

_MOMENTS = 4


def interactions_figure_10(*, quick: bool = False) -> Plate:
    """The shares of all orders at four checkpoints beside what the theory of noise gives.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = course(quick)
    histories = [clean_history(taken, seed) for seed in SEEDS]
    found = [predicted_dynamics(history) for history in histories]
    figure = sheet(4.8)
    halves: Any = figure.subfigures(2, 1)
    top, bottom = halves
    moments: Any = top.subplots(1, _MOMENTS)
    _draw_moments(moments, histories[0], found[0])
    places: Any = bottom.subplots(1, 2)
    _draw_courses(places, found)
    numbers = [one.numbers for one in found]
    return Plate(
        name="interactions_figure_10",
        title="Predicted and real strengths of the orders",
        source="Interaction article, figure 10; Ren and others 2024",
        setting=f"{setting(taken)} Theory: the dividends of the finished network, learned under "
        f"noise of one size, fitted at each checkpoint; {len(histories[0][0].terms)} rightly "
        "labelled training inputs. Bounds hold 19 of 20 resamplings of these.",
        findings=(
            Finding(
                "In the second phase theory is nearer to the network than the finished network is.",
                "In total variation it is off by "
                + ", ".join(_told(one, "mean_distance") for one in numbers)
                + "; the finished network, which is theory without noise, by "
                + ", ".join(_told(one, "mean_distance_without_noise") for one in numbers)
                + " (means over the phase, 3 seeds).",
                all(
                    one["mean_distance_high"] < one["mean_distance_without_noise_low"]
                    for one in numbers
                ),
            ),
            Finding(
                "The noise falls throughout that phase.",
                "The rank correlation of noise and step is "
                + ", ".join(_signed(one, "rank_correlation") for one in numbers)
                + ".",
                # By its interval: the number itself hangs on the last bits of a training.
                all(one["rank_correlation_high"] < -0.9 for one in numbers),
            ),
        ),
        picture=figure,
    )


def _draw_moments(places: Any, history: Sequence[Snapshot], found: Measurement) -> None:
    """The shares of all orders at some checkpoints of the second phase, real and predicted."""
    final = dividends(stacked(history[-1].terms))
    phase = [i for i, one in enumerate(history) if one.step >= found.numbers["phase_two"]]
    chosen = [phase[round(i * (len(phase) - 2) / (_MOMENTS - 1))] for i in range(_MOMENTS)]
    for column, (place, at) in enumerate(zip(places, chosen, strict=True)):
        real = order_shares(dividends(stacked(history[at].terms))).mean(0)
        predicted = predicted_shares(final, float(found.curves["noise"][at])).mean(0)
        orders = torch.arange(1, len(real) + 1)
        bars(place, real, label="network")
        line(place, orders, predicted, colour=SHADES[1], label="theory")
        title, y = f"step {history[at].step:,}", "" if column else "share"
        named(place, title, x="order", y=y, ticks=orders[::2].tolist())
        place.set_ylim(0, 0.4)
        if column:
            place.set_yticklabels([])
        else:
            legend(place)


def _draw_courses(places: Any, found: Sequence[Measurement]) -> None:
    """The noise that was fitted, and how far theory is off, over the second phase."""
    left, right = places
    for seed, one, colour in zip(SEEDS, found, SHADES, strict=False):
        # The last checkpoint is what theory begins from.
        after = (one.curves["step"] >= one.numbers["phase_two"]).nonzero()[:-1, 0]
        along = one.curves["step"][after]
        line(left, along, one.curves["noise"][after], colour=colour, label=f"seed {seed}")
        for name, style in (("distance", "-"), ("distance_without_noise", ":")):
            line(right, along, one.curves[name][after], colour=colour, style=style)
    left.set_yscale("log")
    named(left, "fitted noise, second phase", x="step")
    named(right, "distance, with (line) and without noise (dots)", x="step")
    legend(left)
    for place in places:
        over_steps(place)
        place.set_xlim(left=50)


def _told(numbers: Mapping[str, float], name: str) -> str:
    low, high = numbers[f"{name}_low"], numbers[f"{name}_high"]
    return f"{numbers[name]:.1%} ({low:.1%} to {high:.1%})"


def _signed(numbers: Mapping[str, float], name: str) -> str:
    low, high = numbers[f"{name}_low"], numbers[f"{name}_high"]
    return f"{numbers[name]:+.2f} ({low:+.2f} to {high:+.2f})"
