"""Networks that learn to see."""

from functools import cache
from typing import Any, cast

import torch
from torch.nn import functional

from unmask.players import Players, patches
from unmask.zoo.courses.course import Course, Settings
from unmask.zoo.courses.mislabelled import mislabelled
from unmask.zoo.data import cifar10_test, cifar10_train, mnist_digits
from unmask.zoo.images import picture
from unmask.zoo.lenet import LeNet, SmallLeNet
from unmask.zoo.resnet import MEAN
from unmask.zoo.vgg import VGG11


@cache
def digits() -> Course:
    """A small network learns handwritten digits of 8 x 8 pixels, a tenth of them under wrong names.

    1,000 digits train it, 797 test it. A digit has nine players, three rows of three patches; a
    hidden patch is paper. It needs nothing and takes seconds.
    """
    from sklearn.datasets import load_digits

    table = cast(Any, load_digits())
    order = torch.randperm(len(table.target), generator=torch.Generator().manual_seed(0))
    images = (torch.tensor(table.images)[order, None] / 16).float()
    players, paper = patches((1, 8, 8), (3, 3)), torch.zeros(1, 8, 8)
    return mislabelled(
        "digits",
        SmallLeNet,
        images,
        torch.tensor(table.target)[order].long(),
        train=1000,
        players=lambda i: players,
        baseline=lambda i: paper,
        view=lambda i: picture(images[i]),
        classes=tuple("0123456789"),
        settings=Settings(steps=4611, batch_size=64, first=4, growth=1.6),
        kept=100,
        followed=24,
    )


@cache
def mnist() -> Course:
    """LeNet learns handwritten digits of 28 x 28 pixels, a tenth of them under wrong names.

    The first 3,000 training digits train it, the first 2,000 test digits test it. A digit has nine
    players, three rows of three patches of its central 20 x 20 pixels, in which all digits of this
    set lie; the border belongs to the patch that is nearest. A hidden patch is paper. Needs
    UNMASK_DATA.
    """
    images, labels = mnist_digits("train")
    others, known = mnist_digits("t10k")
    inputs = torch.cat([images[:3000], others[:2000]])[:, None] / 255
    inner, paper = patches((1, 20, 20), (3, 3)), torch.zeros(1, 28, 28)
    owner = functional.pad(inner.owner[None].float(), (4, 4, 4, 4), mode="replicate")
    players = Players(owner[0].long(), inner.names)
    return mislabelled(
        "mnist",
        LeNet,
        inputs,
        torch.cat([labels[:3000], known[:2000]]),
        train=3000,
        players=lambda i: players,
        baseline=lambda i: paper,
        view=lambda i: picture(inputs[i]),
        classes=tuple("0123456789"),
        settings=Settings(steps=4988),
        kept=300,
        followed=40,
    )


@cache
def cifar10() -> Course:
    """VGG-11 at a quarter of its width learns photos of ten things, a tenth under wrong names.

    The first 2,000 training images of CIFAR-10 train it, the first 1,000 test images test it. A
    photo has nine players, three rows of three patches; a hidden patch is of the mean colour. Needs
    UNMASK_DATA.
    """
    images, labels, classes = cifar10_train()
    others, known, _ = cifar10_test()
    inputs = torch.cat([images[:2000], others]) / 255
    players = patches((3, 32, 32), (3, 3))
    grey = torch.tensor(MEAN).view(3, 1, 1).expand(3, 32, 32).clone()
    return mislabelled(
        "cifar10",
        lambda: VGG11(width=0.25),
        inputs,
        torch.cat([labels[:2000], known]),
        train=2000,
        players=lambda i: players,
        baseline=lambda i: grey,
        view=lambda i: picture(inputs[i]),
        classes=classes,
        settings=Settings(steps=600, batch_size=100, rate=0.02, first=5, growth=1.7),
        kept=40,
        followed=12,
    )
