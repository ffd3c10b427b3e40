"""One small value for every name of the vocabulary, made anew at each call."""

import torch

from strategies import relu_network
from unmask import constant, features, log_odds, masked

FEATURES = 4
CLASSES = 3


def supplies(dtype: torch.dtype = torch.float32, inputs: int = 2) -> dict[str, object]:
    """Values that fit each other: a network, inputs to it, a game that it plays.

    Args:
        dtype: of the network and its inputs.
        inputs: how many x holds.
    """
    generator = torch.Generator().manual_seed(7)
    model = relu_network([FEATURES, 8, CLASSES], seed=0, dtype=dtype)
    data = torch.randn(16, FEATURES, generator=generator).to(dtype)
    x = data[:inputs]
    baseline = constant(x[0])
    players = features(FEATURES)
    score = log_odds(model, target=1)
    return {
        "score": score,
        "model": model,
        "game": masked(score, x[0], players, baseline),
        "x": x,
        "data": data,
        "labels": model(data).argmax(1).detach(),
        "baseline": baseline,
        "players": players,
        "target": 1,
        "layer": "1",
        "concept": data[:8],
        "contrast": data[8:],
        "steps": 16,
        "samples": 32,
        "radius": 0.1,
        "noise": 0.1,
        "generator": torch.Generator().manual_seed(1),
        "batch_size": 5,
    }
