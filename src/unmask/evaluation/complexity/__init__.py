"""How few parts does an explanation name, and do explanations agree?

None of it says whether an explanation is right: an empty mind is simple, and methods can be wrong
together.
"""

from unmask.evaluation.complexity.agreement import agreement
from unmask.evaluation.complexity.gini import attribution_entropy, effective_complexity, gini

__all__ = ["agreement", "attribution_entropy", "effective_complexity", "gini"]
