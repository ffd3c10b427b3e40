"""Figure 4 of the interaction article: a network and its logic on all masks, sorted."""

import torch

from unmask.gallery.lines import SHADES, legend, line, named
from unmask.gallery.matched import PRECISION, Matched, matched, networks
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import mean_with_bounds
from unmask.plot import panels

_INPUTS = 10
_FIDELITY = 0.95


def interactions_figure_4(*, quick: bool = False) -> Plate:
    """Outputs on every mask in rising order, and what logic says of the same masks.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    shown = networks(quick)
    figure, places = panels(1, len(shown), 2.8)
    told: list[str] = []
    errors: list[float] = []
    shares: list[float] = []
    for column, exhibit in enumerate(shown):
        found = matched(exhibit, range(_INPUTS))
        _draw(places[column], found[0], column == 0)
        named(places[column], exhibit.name, x="masks, sorted", y="" if column else "score")
        if column == 0:
            legend(places[column])
        errors.append(max(one.error() for one in found))
        few = torch.tensor([float(one.fewest(_FIDELITY)) for one in found])
        possible = [2 ** (n + 1) - n - 2 for n in (len(one.game.names) for one in found)]
        shares.append(float((few / torch.tensor(possible)).max()))
        mean, low, high = mean_with_bounds(few)
        told.append(f"{exhibit.name} {mean:.0f} ({low:.0f} to {high:.0f})")
    return Plate(
        name="interactions_figure_4",
        title="A network and its logic on all masks, sorted",
        source="Interaction article, figure 4; Ren and others 2024, Chen and others 2024",
        setting="The network's log-odds of the class that it names (of diabetes: its estimate) on "
        f"all masked versions of an input, in rising order; {_INPUTS} inputs of each network, of "
        "which the first is drawn. Sparsest AND-OR terms, proved to lie within "
        f"{PRECISION:.0%} of the sparsest that there are; terms that are left out stand in with "
        "their mean.",
        findings=(
            Finding(
                "AND-OR logic gives the network's output on every one of the 2^n masks.",
                f"It is off by {max(errors):.1e} of the largest change of the output, at most.",
                max(errors) < 1e-4,
            ),
            Finding(
                "Few terms do nearly as well.",
                f"An R2 of {_FIDELITY} over all masks takes on average {', '.join(told)} terms; at "
                f"most {max(shares):.0%} of those that are possible.",
                max(shares) < 0.1,
            ),
        ),
        picture=figure,
    )


def _draw(place, one: Matched, first: bool) -> None:
    v, logic = one.game.table().double(), one.logic()
    count = one.fewest(_FIDELITY)
    few = one.logic(count)
    order = v.argsort()
    along = torch.arange(len(v))
    place.plot(along.tolist(), few[order].tolist(), ".", color=SHADES[1], markersize=1.5,
               label=f"logic, {count} terms")  # fmt: skip
    line(place, along, logic[order], colour=SHADES[0], label="logic, all terms")
    line(place, along, v[order], colour="black", style=":", label="network")
    if not first:
        place.text(0.04, 0.96, f"{count} terms", transform=place.transAxes, va="top",
                   color=SHADES[1], size=8)  # fmt: skip
