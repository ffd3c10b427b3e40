"""Figure 8 of the interaction article: the orders of inputs that were learned under wrong names."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.bootstrap import bootstrap, means
from unmask.gallery.lines import SHADES, bars, legend, line, named, over_steps
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import (
    SEEDS,
    clean_history,
    course,
    losses,
    mean_orders,
    mean_with_bounds,
    mistaught_history,
    setting,
    steps,
)
from unmask.interactions import Snapshot
from unmask.interactions.terms.orders import mean_order, order_shares
from unmask.interactions.terms.stacked import stacked
from unmask.methods.dynamics import ood_orders, order_generalization
from unmask.plot import Axes, panels
from unmask.results import Interactions, Measurement
from unmask.zoo.courses import explained, finished
from unmask.zoo.courses.course import Sample


def interactions_figure_8(*, quick: bool = False) -> Plate:
    """Rightly and wrongly labelled training inputs: their orders, and how far they generalise.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    taken = course(quick)
    figure, places = panels(3, len(SEEDS), 6.6)
    sides: list[tuple[Tensor, Tensor]] = []
    on_the_way: list[tuple[float, float, float]] = []
    apart: list[str] = []
    never, moments = True, []
    for column, seed in enumerate(SEEDS):
        above, middle, below = places[column :: len(SEEDS)]
        model = finished(taken, seed)
        clean, wrong, unseen = (
            explained(model, group) for group in (taken.clean, taken.mistaught, taken.unseen)
        )
        _draw_orders(above, ood_orders(clean, other=wrong).curves, seed, first=column == 0)
        sides.append((_order_of_each(clean), _order_of_each(wrong)))
        both = [
            order_generalization(
                terms, other=unseen, labels=_taught(group), other_labels=_taught(taken.unseen)
            ).curves
            for terms, group in ((clean, taken.clean), (wrong, taken.mistaught))
        ]
        _draw_similarities(middle, both, first=column == 0)
        right, false = both
        orders = min(len(right["order"]), len(false["order"]))
        lower = right["similarity_low"][:orders] > false["similarity_high"][:orders]
        apart.append(f"{int(lower.sum())} of {orders}")
        never &= bool((right["similarity"][:orders] > false["similarity"][:orders])[:3].all())
        never &= bool(lower[:3].all())
        history = clean_history(taken, seed), mistaught_history(taken, seed)
        _draw_course(below, *history, first=column == 0)
        at = _learned(history[1])
        moments.append(history[1][at].step)
        on_the_way.append(_higher(ood_orders(history[0][at].terms, other=history[1][at].terms)))
    every = tuple(torch.stack(side).mean(0) for side in zip(*sides, strict=True))
    higher = _difference(*every)
    single = [_difference(*side) for side in sides]
    return Plate(
        name="interactions_figure_8",
        title="What is learned by heart rests on higher orders",
        source="Interaction article, figure 8; Zhou and others 2024",
        setting=f"{setting(taken)} Above and in the middle, at the end of training, "
        f"{len(taken.clean)} rightly and {len(taken.mistaught)} wrongly labelled training inputs "
        f"and {len(taken.unseen)} test inputs, the classes in turn; below {taken.followed} of the "
        "first two through the training. Bands and whiskers hold 19 of 20 resamplings of the "
        "inputs.",
        findings=(
            Finding(
                "In the end, inputs with wrong labels rest on higher orders.",
                f"Averaged over 3 seeds their mean order is higher {_told([higher])}; by single "
                f"seeds {_told(single)}.",
                higher[1] > 0 and all(one[0] > 0 for one in single),
            ),
            Finding(
                "Interactions of wrongly labelled inputs are less like those of test inputs that "
                "bear the same name, already at low orders.",
                f"The intervals of the two similarities lie apart at {', '.join(apart)} orders, "
                f"{'the lowest three among them' if never else 'not all low ones among them'} "
                "(3 seeds).",
                never,
            ),
            Finding(
                "While wrong labels are being learned, these inputs rest on higher orders.",
                f"At steps {', '.join(map(str, moments))}, the first at which their mean loss "
                f"is half of its peak, their mean order is higher {_told(on_the_way)}.",
                all(low > 0 for _, low, _ in on_the_way),
            ),
        ),
        picture=figure,
    )


def _draw_orders(place: Axes, curves: Mapping[str, Tensor], seed: int, *, first: bool) -> None:
    for name, shift, colour in (("share", -0.2, SHADES[0]), ("other_share", 0.2, SHADES[1])):
        ends = (curves[f"{name}_low"], curves[f"{name}_high"])
        label = "wrongly labelled" if shift > 0 else "rightly labelled"
        bars(place, curves[name], ends=ends, colour=colour, shift=shift, width=0.38, label=label)
    named(
        place,
        f"seed {seed}, at the end",
        x="order",
        y="share" if first else "",
        ticks=range(1, len(curves["share"]) + 1, 2),
    )
    if first:
        legend(place, room=0.4)


def _draw_similarities(place: Axes, both: Sequence[Mapping[str, Tensor]], *, first: bool) -> None:
    for curves, colour in zip(both, SHADES, strict=False):
        band = (curves["similarity_low"], curves["similarity_high"])
        line(place, curves["order"], curves["similarity"], band=band, colour=colour)
    named(place, x="order", y="similarity to test inputs" if first else "")


def _draw_course(
    place: Axes, clean: Sequence[Snapshot], wrong: Sequence[Snapshot], *, first: bool
) -> None:
    for history, colour in zip((clean, wrong), SHADES, strict=False):
        ends = torch.tensor([mean_with_bounds(row) for row in mean_orders(history)])
        line(place, steps(history), ends[:, 0], band=(ends[:, 1], ends[:, 2]), colour=colour)
    named(place, x="step", y="mean order" if first else "")
    over_steps(place)


def _order_of_each(terms: Sequence[Interactions]) -> Float[Tensor, " inputs"]:
    return mean_order(order_shares(stacked(terms)))


def _taught(samples: Sequence[Sample]) -> Int[Tensor, " inputs"]:
    """The classes that samples are explained in; of test inputs these are the true ones."""
    return torch.tensor([sample.target for sample in samples])


def _difference(clean: Tensor, wrong: Tensor) -> tuple[float, float, float]:
    """By how much the mean order of the second is higher, with the bounds of 19 in 20 draws."""
    found = bootstrap(
        lambda one, other: {"higher": means(other, wrong) - means(one, clean)},
        len(clean),
        len(wrong),
    )
    return float(found["higher"]), float(found["higher_low"]), float(found["higher_high"])


def _higher(found: Measurement) -> tuple[float, float, float]:
    numbers = found.numbers
    return numbers["higher"], numbers["higher_low"], numbers["higher_high"]


def _told(differences: Sequence[tuple[float, ...]]) -> str:
    return ", ".join(f"by {a:+.2f} ({b:+.2f} to {c:+.2f})" for a, b, c in differences)


def _learned(history: Sequence[Snapshot]) -> int:
    """The first checkpoint at which half of what the mean loss rose to is gone."""
    loss = torch.stack([losses(one).mean() for one in history])
    peak = int(loss.argmax())
    return peak + int((loss[peak:] < loss[peak] / 2).int().argmax())
