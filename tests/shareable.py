"""Small work that is shared all the same, for tests of how."""

import torch
from torch import nn

from unmask.lattice import coalitions
from unmask.sharing import rows_run, stages


def eager(patch):
    """Share whatever can be shared, however small."""
    patch.setattr(stages, "SMALL", 0.0)
    patch.setattr(stages, "WORTH", 1e9)
    patch.setattr(stages, "_STAGE", 0.0)


def definition(score, x, players, backgrounds):
    """All masked inputs in one batch, for each background."""
    masks = coalitions(len(players.names))
    backgrounds = backgrounds if backgrounds.ndim > x.ndim else backgrounds[None]
    with torch.no_grad():
        return torch.stack(
            [score(torch.where(players.cover(masks), x, one)) for one in backgrounds]
        ).mean(0)


def is_shared(game):
    return "all" not in rows_run(game)


def small(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5 * 144, 3),
        )
        .to(dtype)
        .eval()
    )


def image(*shape, seed=1, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))
