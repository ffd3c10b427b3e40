"""All 2^n values of convolutional networks by shared work, against a plain forward loop.

Random weights; the image is cut into 3 x 4 patches, or as told. How it is measured:
`shared_tables.py`.

    OMP_NUM_THREADS=1 python benchmarks/shared_values.py [--rounds 9] [name]...
"""

from collections.abc import Callable
from functools import partial

import torch
from shared_tables import Work, raced
from torch import nn

from unmask import log_odds, patches
from unmask.zoo.lenet import LeNet
from unmask.zoo.resnet import ResNet20
from unmask.zoo.squeezenet import SqueezeNet
from unmask.zoo.vgg import VGG11

PHOTO = (2, 4, 8, 16)


def seen(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    grid: tuple[int, int] = (3, 4),
    thinned: int = 1,
    batches: tuple[int, ...] = (32, 64, 128, 256),
) -> Work:
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(shape)
    score, players = log_odds(model, 1), patches(shape, grid)
    return Work(score, x, players, torch.zeros(shape), thinned, batches)


WORK: dict[str, Callable[[], Work]] = {
    "lenet": partial(seen, LeNet, (1, 28, 28)),
    "lenet_10": partial(seen, LeNet, (1, 28, 28), (2, 5)),
    "vgg": partial(seen, partial(VGG11, width=0.25), (3, 32, 32)),
    "resnet": partial(seen, ResNet20, (3, 32, 32)),
    "squeezenet": partial(seen, SqueezeNet, (3, 224, 224), thinned=16, batches=PHOTO),
}


if __name__ == "__main__":
    raced(__doc__.splitlines()[0], WORK)
