"""Figure 5 of the survey: the Shapley values of an estimate."""

import torch

from unmask.gallery import houses
from unmask.gallery.plate import Finding, Plate
from unmask.masking import masked
from unmask.methods.saliency import shapley_exact
from unmask.plot import panels, plot

_BACKGROUNDS = 64


def survey_figure_5(*, quick: bool = False) -> Plate:
    """What each fact adds to the estimate of two neighbourhoods, a cheap one and a dear one.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    shown = houses.estimator(quick)
    score, data = houses.estimate(shown), houses.rows(shown)
    backgrounds = data[-_BACKGROUNDS:]
    with torch.no_grad():
        estimates = score(data)
        usual = float(score(backgrounds).mean())
    rows = [int(estimates[:-_BACKGROUNDS].argmin()), int(estimates[:-_BACKGROUNDS].argmax())]
    figure, places = panels(2, 1, 6.4)
    sums, first = [], []
    for place, row in zip(places, rows, strict=True):
        game = masked(score, data[row], shown.players(row), backgrounds)
        found = shapley_exact(game)
        plot(found, over=shown.view(row), ax=place)
        place.set_title(f"estimate {float(estimates[row]):.2f}", loc="left", size=9)
        sums.append(float(found.values.sum()) + usual - float(estimates[row]))
        first.append(game.names[int(found.values.abs().argmax())])
    return Plate(
        name="survey_figure_5",
        title="Shapley values of an estimate",
        source="Survey, figure 5; Shapley 1953",
        setting=houses.setting(shown)
        + f" Hidden facts are those of {_BACKGROUNDS} other rows, averaged over.",
        findings=(
            Finding(
                "The values and the mean estimate add up to the estimate.",
                f"They miss it by {max(map(abs, sums)):.1e} at most.",
                max(map(abs, sums)) < 1e-4,
            ),
            Finding(
                "The most important facts differ from row to row.",
                f"The first is {first[0]!r} in the lower estimate and {first[1]!r} in the higher.",
                first[0] != first[1],
            ),
        ),
        picture=figure,
    )
