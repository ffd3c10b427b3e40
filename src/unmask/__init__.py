"""What does this network know, on this input and in general, and why believe the answer?"""

from unmask.baselines import background, blur, constant, mean, token
from unmask.game import Game, tabulated
from unmask.masking import masked
from unmask.players import Players, channels, features, patches, points, segments, tokens, words
from unmask.results import (
    Attribution,
    Examples,
    Interactions,
    Measurement,
    Rating,
    Result,
    Surrogate,
    Synthesis,
)
from unmask.score import (
    Score,
    correct,
    log_odds,
    logit,
    loss,
    margin,
    predicted,
    probability,
    token_log_odds,
)

__version__ = "0.1.0"

__all__ = [
    "Attribution",
    "Examples",
    "Game",
    "Interactions",
    "Measurement",
    "Players",
    "Rating",
    "Result",
    "Score",
    "Surrogate",
    "Synthesis",
    "background",
    "blur",
    "channels",
    "constant",
    "correct",
    "features",
    "log_odds",
    "logit",
    "loss",
    "margin",
    "masked",
    "mean",
    "patches",
    "points",
    "predicted",
    "probability",
    "segments",
    "tabulated",
    "token",
    "token_log_odds",
    "tokens",
    "words",
]
