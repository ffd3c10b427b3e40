"""The gallery: figures of the survey and of the papers behind it, made anew.

Each plate says what its figure claims and what was measured here, and whether the two agree. A
disagreement is a result, and is shown as one.
"""

from collections.abc import Callable, Mapping

from unmask.gallery.dependence_1 import dependence_1
from unmask.gallery.dependence_2 import dependence_2
from unmask.gallery.interactions_figure_1 import interactions_figure_1
from unmask.gallery.interactions_figure_2 import interactions_figure_2
from unmask.gallery.interactions_figure_3 import interactions_figure_3
from unmask.gallery.interactions_figure_4 import interactions_figure_4
from unmask.gallery.interactions_figure_5 import interactions_figure_5
from unmask.gallery.interactions_figure_6 import interactions_figure_6
from unmask.gallery.interactions_figure_7 import interactions_figure_7
from unmask.gallery.interactions_figure_8 import interactions_figure_8
from unmask.gallery.interactions_figure_9 import interactions_figure_9
from unmask.gallery.interactions_figure_10 import interactions_figure_10
from unmask.gallery.pages import hang
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.sanity_checks import sanity_checks
from unmask.gallery.survey_figure_4 import survey_figure_4
from unmask.gallery.survey_figure_5 import survey_figure_5
from unmask.gallery.survey_figure_6 import survey_figure_6

PLATES: Mapping[str, Callable[..., Plate]] = {
    made.__name__: made
    for made in (
        survey_figure_4,
        survey_figure_5,
        survey_figure_6,
        dependence_1,
        dependence_2,
        interactions_figure_1,
        interactions_figure_2,
        interactions_figure_3,
        interactions_figure_4,
        interactions_figure_5,
        interactions_figure_6,
        interactions_figure_7,
        interactions_figure_8,
        interactions_figure_9,
        interactions_figure_10,
        sanity_checks,
    )
}
"""Every plate by name, in the order in which they hang."""

__all__ = ["PLATES", "Finding", "Plate", "hang"]
