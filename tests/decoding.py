"""A small decoder, texts for it, and how far a table is from what it should be."""

import torch

from shareable import definition
from unmask import Players
from unmask.zoo.llama import Llama


def llama(seed=0, dtype=torch.float64, kind=Llama):
    """Of the shape of the one that tells stories, but smaller."""
    torch.manual_seed(seed)
    model = kind(width=16, hidden=24, depth=2, heads=4, shared=2, vocabulary=30)
    return model.to(dtype).eval()


def text(*owner, seed=1):
    """Ids of as many tokens as owners are given, and their players; -1 is nobody."""
    ids = torch.randint(1, 30, (len(owner),), generator=torch.Generator().manual_seed(seed))
    return ids, Players(torch.tensor(owner), tuple("abcdefghijklmn"[: max(owner) + 1]))


USUAL = (-1, 0, 0, 1, 2, -1, 3, 4, 4, 5, 6, -1)
"""Seven words, two of them of two tokens, and tokens of nobody before, between and behind."""


def apart(game, score, x, players, background):
    """How far the table is from its definition."""
    return float((game.table() - definition(score, x, players, background)).abs().max())
