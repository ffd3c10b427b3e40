"""The survey's criteria, measured: which explanation to believe, on a model and its data.

A metric rates explanations and knows no method: it takes a `Trial` (inputs whose parts can be
removed, `on_trial`; a game is one too) and an attribution, or a score, inputs and a function that
makes an attribution of them. What it returns is a `Rating`, a number per input. The six criteria
put the metrics together.
"""

from unmask.evaluation.explained import Explain
from unmask.evaluation.faithfulness import pixel_flipping
from unmask.evaluation.trial import Fill, Trial, on_trial

__all__ = [
    "Explain",
    "Fill",
    "Trial",
    "on_trial",
    "pixel_flipping",
]
