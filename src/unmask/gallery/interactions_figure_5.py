"""Figure 5 of the interaction article: a network and its logic, coalition by coalition."""

import torch

from unmask.gallery.lines import SHADES, legend, line, named
from unmask.gallery.matched import matched, networks
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.trainings import mean_with_bounds
from unmask.lattice import sizes
from unmask.plot import panels

_INPUTS = 10
_FIDELITY = 0.99
_DRAWN = 64
"""Coalitions of the first players that are drawn; all are counted."""


def interactions_figure_5(*, quick: bool = False) -> Plate:
    """Outputs on coalitions in the order of the lattice, and how far few terms are off on each.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    shown = networks(quick)[:3]
    figure, places = panels(2, len(shown), 4.4)
    worst: list[float] = []
    told: list[str] = []
    for column, exhibit in enumerate(shown):
        found = matched(exhibit, range(_INPUTS))
        above, below = places[column], places[len(shown) + column]
        one = found[0]
        along = torch.arange(_DRAWN)
        line(above, along, one.game.table()[:_DRAWN], colour="black", label="network")
        above.plot(along.tolist(), one.logic()[:_DRAWN].tolist(), "o", markersize=2.4,
                   color=SHADES[1], label="logic")  # fmt: skip
        named(above, exhibit.name, x="coalition", y="" if column else "score")
        if column == 0:
            legend(above, room=0.4)
        spread = torch.stack([_by_size(each.game.table(), each.logic(each.fewest(_FIDELITY)))
                              for each in found])  # fmt: skip
        ends = torch.tensor([mean_with_bounds(row) for row in spread.T])
        line(below, torch.arange(len(ends)), ends[:, 0], band=(ends[:, 1], ends[:, 2]))
        named(below, x="players present", y="" if column else "error, share of the range")
        below.set_ylim(bottom=0)
        below.set_xticks(range(0, len(ends), 3))
        worst.append(max(each.error() for each in found))
        mean, low, high = mean_with_bounds(
            torch.tensor([float(each.fewest(_FIDELITY)) for each in found])
        )
        told.append(f"{exhibit.name} {mean:.0f} ({low:.0f} to {high:.0f}) terms, mean error at "
                    f"most {float(ends[:, 0].max()):.1%} at any size")  # fmt: skip
        errors = ends[:, 0]
        assert len(errors) == len(one.game.names) + 1
    return Plate(
        name="interactions_figure_5",
        title="A network and its logic, coalition by coalition",
        source="Interaction article, figure 5; Ren and others 2024, Chen and others 2024",
        setting=f"Above: the first {_DRAWN} coalitions of one input, all terms. Below: the mean "
        f"error of as many terms as reach an R2 of {_FIDELITY}, by the number of players present, "
        f"beside the range of the network's output; {_INPUTS} inputs of each network, the band "
        "holds 19 of 20 resamplings of these.",
        findings=(
            Finding(
                "On each coalition, logic and network agree.",
                f"They differ by {max(worst):.1e} of the largest change of the output, at most.",
                max(worst) < 1e-4,
            ),
            Finding(
                "Few terms are near on small and on large coalitions alike.",
                "; ".join(told) + ".",
                all(float(text.split("at most ")[1].split("%")[0]) < 10 for text in told),
            ),
        ),
        picture=figure,
    )


def _by_size(v: torch.Tensor, logic: torch.Tensor) -> torch.Tensor:
    """The mean error on coalitions of each size, beside the range of v."""
    v = v.double()
    size = sizes(v.shape[-1].bit_length() - 1)
    off = (logic - v).abs() / (v.max() - v.min())
    total = torch.zeros(int(size[-1]) + 1, dtype=torch.float64).index_add_(0, size, off)
    return total / size.bincount()
