"""The gallery: figures of the survey and of the papers behind it, made anew.

Each plate says what its figure claims and what was measured here, and whether the two agree. A
disagreement is a result, and is shown as one.
"""

from collections.abc import Callable, Mapping

from unmask.gallery.dependence_1 import dependence_1
from unmask.gallery.dependence_2 import dependence_2
from unmask.gallery.pages import hang
from unmask.gallery.plate import Finding, Plate
from unmask.gallery.survey_figure_4 import survey_figure_4
from unmask.gallery.survey_figure_5 import survey_figure_5
from unmask.gallery.survey_figure_6 import survey_figure_6

PLATES: Mapping[str, Callable[..., Plate]] = {
    made.__name__: made
    for made in (survey_figure_4, survey_figure_5, survey_figure_6, dependence_1, dependence_2)
}
"""Every plate by name, in the order in which they hang."""

__all__ = ["PLATES", "Finding", "Plate", "hang"]
