"""Methods beside each other, on a model of the user's: which explanation to believe.

`compare` runs every method that fits, rates the explanations by criteria, and says in plain
sentences what speaks for and against each, with the doubt that so many inputs leave.
"""

from unmask.run.compare.compare import Words, compare, read_comparison
from unmask.run.compare.comparison import (
    Against,
    Comparison,
    Cost,
    Fillings,
    Metric,
    Place,
    Remark,
    Subject,
)
from unmask.run.compare.explainers import Lineup, Supplies, explainers

__all__ = [
    "Against",
    "Comparison",
    "Cost",
    "Fillings",
    "Lineup",
    "Metric",
    "Place",
    "Remark",
    "Subject",
    "Supplies",
    "Words",
    "compare",
    "explainers",
    "read_comparison",
]
