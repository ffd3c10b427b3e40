"""Figure 9 of the interaction article: how noise weighs one order against the next."""

import torch

from unmask.gallery.lines import line, named
from unmask.gallery.plate import Finding, Plate
from unmask.methods.dynamics import order_ratio
from unmask.plot import panels

_PLAYERS = (6, 8, 10)
_NOISE = torch.logspace(-6, 1, 57, dtype=torch.float64)


def interactions_figure_9(*, quick: bool = False) -> Plate:
    """The ratio of the strengths of neighbouring orders, as the noise of the weights falls.

    Args:
        quick: makes no difference here.
    """
    figure, places = panels(1, len(_PLAYERS), 3.0)
    falls: list[float] = []
    above: list[float] = []
    for column, (place, players) in enumerate(zip(places, _PLAYERS, strict=True)):
        ratios = torch.stack([order_ratio(players, noise) for noise in _NOISE.tolist()])
        for order in range(players - 1):
            shade = str(0.65 * order / (players - 2))
            line(place, _NOISE, ratios[:, order], colour=shade)
        place.set_xscale("log")
        place.invert_xaxis()
        named(place, f"{players} players", x="noise, falling",
              y="" if column else "order k : order k + 1")  # fmt: skip
        falls.append(float(ratios.diff(dim=0).min()))
        above.append(float(ratios.min()))
    return Plate(
        name="interactions_figure_9",
        title="Less noise, higher orders",
        source="Interaction article, figure 9; Ren and others 2024",
        setting="Theory alone, no network: lengths of the rows of the matrix that turns the "
        f"effects of a network without noise into those learned under noise. {len(_NOISE)} levels "
        "of noise from 10 to 0.000001; dark lines are low orders.",
        findings=(
            Finding(
                "The weaker the noise, the smaller is the strength of an order beside the next.",
                f"Of {sum(n - 1 for n in _PLAYERS)} ratios each falls from every level to the "
                f"next: by {min(falls):.1e} at least.",
                min(falls) > 0,
            ),
            Finding(
                "Noise always takes more from the higher of two orders.",
                f"The smallest ratio is {min(above):.6f}.",
                min(above) > 1,
            ),
        ),
        picture=figure,
    )
