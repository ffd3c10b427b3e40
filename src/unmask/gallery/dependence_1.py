"""Where an average hides what happens: a flat partial dependence over curves that cross."""

import torch

from unmask.gallery.plate import Finding, Plate
from unmask.methods.saliency import ice, partial_dependence
from unmask.plot import panels, plot
from unmask.score import Score

_ROWS = 300


def dependence_1(*, quick: bool = False) -> Plate:
    """The example that individual curves were proposed with: a column whose effect turns about.

    Args:
        quick: makes no difference here.
    """
    generator = torch.Generator().manual_seed(0)
    data = 2 * torch.rand(_ROWS, 3, generator=generator).double() - 1
    score = Score(_turned, lambda output, rows: output)
    names = ("x1", "x2", "x3")
    average = partial_dependence(score, data, feature=1, names=names)
    curves = ice(score, data, feature=1, names=names)
    figure, places = panels(1, 2, 3.2)
    plot(average, ax=places[0], label="output")
    plot(curves, ax=places[1], label="output")
    places[0].set_ylim(places[1].get_ylim())
    assert curves.curves is not None  # ice always keeps them
    flat = float(average.average.max() - average.average.min())
    rising = float((curves.curves[:, -1] > curves.curves[:, 0]).double().mean())
    single = float((curves.curves[:, -1] - curves.curves[:, 0]).abs().mean())
    return Plate(
        name="dependence_1",
        title="An average that hides what happens",
        source="Goldstein and others 2015, figure 1",
        setting=(
            "The function 0.2 x1 - 5 x2 + 10 x2 [x3 >= 0] itself, without noise and without a "
            f"model, on {_ROWS} rows drawn evenly from [-1, 1]."
        ),
        findings=(
            Finding(
                "Partial dependence on x2 is nearly flat.",
                f"It spans {flat:.2f}, while a single row changes by {single:.1f} on average.",
                flat < 0.2 * single,
            ),
            Finding(
                "The curves of single rows show that it is not without effect: half of them rise "
                "and half fall.",
                f"{rising:.0%} rise.",
                0.3 < rising < 0.7,
            ),
        ),
        picture=figure,
    )


def _turned(x: torch.Tensor) -> torch.Tensor:
    return 0.2 * x[:, 0] - 5 * x[:, 1] + 10 * x[:, 1] * (x[:, 2] >= 0)
