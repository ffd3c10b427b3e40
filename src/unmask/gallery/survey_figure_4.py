"""Figure 4 of the survey: partial dependence, and the curves of single rows behind it."""

from unmask.gallery import houses
from unmask.gallery.plate import Finding, Plate
from unmask.methods.saliency import ice, partial_dependence
from unmask.plot import panels, plot


def survey_figure_4(*, quick: bool = False) -> Plate:
    """One column after the other: the average, and every row by itself.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    shown = houses.estimator(quick)
    score, data = houses.estimate(shown), houses.rows(shown)
    names = shown.players(0).names
    chosen = [houses.column(shown, houses.INCOME), houses.column(shown, houses.AGE)]
    figure, places = panels(1, 2, 3.4)
    rises, spread = 0.0, 0.0
    for place, feature in zip(places, chosen, strict=True):
        curves = ice(score, data, feature=feature, names=names)
        average = partial_dependence(score, data, feature=feature, names=names)
        plot(curves, ax=place, label="estimate")
        if feature == chosen[0]:
            rises = float(average.average[-1] - average.average[0])
            centred = ice(
                score, data, feature=feature, names=names, centre=float(curves.points[0, 0])
            )
            assert centred.curves is not None  # ice always keeps them
            spread = float(centred.curves[:, -1].std())
    name = names[chosen[0]]
    return Plate(
        name="survey_figure_4",
        title="Partial dependence and individual conditional expectation",
        source="Survey, figure 4; Friedman 2001, Goldstein and others 2015",
        setting=houses.setting(shown),
        findings=(
            Finding(
                f"The estimate rises with {name!r}.",
                f"From its lowest to its highest value the average changes by {rises:+.2f}.",
                rises > 0,
            ),
            Finding(
                "Single rows do not all follow the average.",
                f"Their changes have a standard deviation of {spread:.2f}, "
                f"{spread / abs(rises):.0%} of the average change.",
                spread > 0.1 * abs(rises),
            ),
        ),
        picture=figure,
    )
