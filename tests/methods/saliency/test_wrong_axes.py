"""Inputs with an axis too few, and numbers that are no whole ones: each method says so itself."""

import sys

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import log_odds
from unmask.methods.saliency import (
    blur_integrated_gradients,
    indirect_influence,
    lrp,
    mutual_information_saliency,
    rationale,
    shapley_regression,
)

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
TEXTS = torch.randn(8, 5, 4, generator=torch.Generator().manual_seed(0))
MODEL = relu_network([4, 8, 3], 0, dtype=torch.float32)
IMAGES = log_odds(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), 1)
CASES = {
    "a text without its batch": (
        lambda: mutual_information_saliency(lambda x: x[:, 0], TEXTS[0]),
        r"no word: x has shape \(5, 4\)\. Give \[batch",
    ),
    "no texts to learn from": (
        lambda: mutual_information_saliency(lambda x: x[:, 0], TEXTS, data=TEXTS[:0]),
        r"from data of shape \(0, 5, 4\)\. Give",
    ),
    "a column as data": (
        lambda: shapley_regression(X[:, 0], labels=X[:, 1]),
        r"data have shape \(2,\).* Give rows by columns",
    ),
    "an image without its batch": (
        lambda: blur_integrated_gradients(IMAGES, torch.rand(1, 4, 4)),
        r"x has shape \(1, 4, 4\)\. Give \[batch, channels",
    ),
    "labels that are shares": (
        lambda: indirect_influence(MODEL, X, labels=X[:, 0]),
        r"the labels hold torch\.float32\. Give whole numbers",
    ),
    "half an input": (
        lambda: lrp(log_odds(MODEL, 1), X, batch_size=1.5),
        r"batch_size is 1\.5\. Give",
    ),
    "no training": (
        lambda: rationale(TEXTS, labels=torch.arange(8) % 2, steps=-1),
        r"training of -1 steps leads nowhere\. Give",
    ),
}


@pytest.mark.skipif("beartype" in sys.modules, reason="the types refuse it first")
@pytest.mark.parametrize(("call", "words"), CASES.values(), ids=CASES)
def test_it_is_said_what_is_wrong(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
