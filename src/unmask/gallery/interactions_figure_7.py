"""Figure 7 of the interaction article: which orders generalise from training to test data."""

import torch
from torch import Tensor

from unmask.gallery.lines import SHADES, legend, line, named
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import SEEDS, course, setting
from unmask.methods.dynamics import order_generalization
from unmask.plot import panels
from unmask.zoo.courses import explained, finished


def interactions_figure_7(*, quick: bool = False) -> Plate:
    """The similarity of mean interactions on training and on test inputs, order by order.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = course(quick)
    figure, places = panels(1, len(SEEDS), 3.0)
    slopes: list[tuple[float, float, float]] = []
    relative: list[tuple[float, float, float]] = []
    for column, seed in enumerate(SEEDS):
        model = finished(taken, seed)
        groups = (taken.clean, taken.unseen)
        terms = [explained(model, group) for group in groups]
        labels = [torch.tensor([sample.truth for sample in group]) for group in groups]
        found = order_generalization(
            terms[0], other=terms[1], labels=labels[0], other_labels=labels[1]
        )
        curves, place = found.curves, places[column]
        band = (curves["similarity_low"], curves["similarity_high"])
        line(place, curves["order"], curves["similarity"], band=band, label="training and test")
        line(place, curves["order"], curves["halves"], colour=SHADES[0], style="--",
             label="halves of these")  # fmt: skip
        line(place, curves["order"], curves["ceiling"], colour=SHADES[2], style="--",
             label="two halves of training")  # fmt: skip
        named(place, f"seed {seed}", x="order", y="" if column else "similarity")
        place.set_ylim(0, 1)
        if column == 0:
            legend(place)
        numbers = found.numbers
        slopes.append((numbers["slope"], numbers["slope_low"], numbers["slope_high"]))
        relative.append(_thirds(curves["relative"], curves["relative_error"]))
    return Plate(
        name="interactions_figure_7",
        title="Low orders generalise, high orders do not",
        source="Interaction article, figure 7; Zhou and others 2024",
        setting=f"{setting(taken)} At the end of training: {len(taken.clean)} rightly labelled "
        f"training inputs against {len(taken.unseen)} test inputs, class by class. As means of few "
        "inputs differ by chance, two halves of the training inputs are compared as well. Bands "
        "hold 19 of 20 resamplings of the inputs.",
        findings=(
            Finding(
                "The higher the order, the less alike are training and test data.",
                "Per order the similarity changes by "
                + ", ".join(f"{a:+.3f} ({b:+.3f} to {c:+.3f})" for a, b, c in slopes)
                + " (3 seeds).",
                all(high < 0 for _, _, high in slopes),
            ),
            Finding(
                "That is more than the chance of few inputs: beside two halves of the training "
                "data, high orders lose more than low ones.",
                "Beside the halves, the lowest third of the orders keeps "
                + ", ".join(
                    f"{low:.0%} and the highest {high:.0%} (standard error of the difference "
                    f"{error:.0%})"
                    for low, high, error in relative
                )
                + ".",
                all(low - high > 2 * error for low, high, error in relative),
            ),
        ),
        picture=figure,
    )


def _thirds(relative: Tensor, error: Tensor) -> tuple[float, float, float]:
    """The means over low and over high orders, and how sure their difference is."""
    third = len(relative) // 3
    low, high = relative[:third], relative[-third:]
    squares = error[:third].square().sum() + error[-third:].square().sum()
    return float(low.mean()), float(high.nanmean()), float(squares.sqrt() / third)
