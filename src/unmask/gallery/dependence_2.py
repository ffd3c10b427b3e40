"""Centred curves and their derivatives, which tell whether a column acts by itself."""

from unmask.gallery import houses
from unmask.gallery.plate import Finding, Plate
from unmask.methods.saliency import ice, ice_derivative
from unmask.plot import panels, plot


def dependence_2(*, quick: bool = False) -> Plate:
    """Centred at the lowest value the curves fan out; their slopes say where.

    Args:
        quick: whether to use data that need no reading and no long training.
    """
    shown = houses.estimator(quick)
    score, data = houses.estimate(shown), houses.rows(shown)
    names, feature = shown.players(0).names, houses.column(shown, houses.INCOME)
    curves = ice(score, data, feature=feature, names=names)
    centred = ice(score, data, feature=feature, names=names, centre=float(curves.points[0, 0]))
    slopes = ice_derivative(score, data, feature=feature, names=names)
    figure, places = panels(1, 2, 3.4)
    plot(centred, ax=places[0], label="change of the estimate")
    plot(slopes, ax=places[1], label="slope of the estimate")
    assert centred.curves is not None  # both always keep their curves
    assert slopes.curves is not None
    begins, ends = (float(part.std()) for part in centred.curves[:, [1, -1]].T)
    heterogeneity = float(slopes.curves.std(0).mean() / slopes.curves.abs().mean())
    return Plate(
        name="dependence_2",
        title="Centred curves and their slopes",
        source="Goldstein and others 2015, on centred and derivative plots",
        setting=houses.setting(shown),
        findings=(
            Finding(
                "Curves that begin together fan out: the column interacts with others.",
                f"Their standard deviation grows from {begins:.3f} to {ends:.3f}.",
                ends > 2 * begins,
            ),
            Finding(
                "Slopes differ between rows at the same value.",
                f"On average by {heterogeneity:.0%} of their size.",
                heterogeneity > 0.1,
            ),
        ),
        picture=figure,
    )
