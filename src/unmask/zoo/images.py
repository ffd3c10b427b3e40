"""Networks that look at images."""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.players import patches
from unmask.score import log_odds, predicted
from unmask.views import ImageView
from unmask.zoo.cache import trained_once
from unmask.zoo.data import cifar10_test, imagenet_classes, mnist_digits, photos, weights
from unmask.zoo.exhibit import Exhibit
from unmask.zoo.lenet import LeNet, SmallLeNet
from unmask.zoo.resnet import MEAN, ResNet20
from unmask.zoo.squeezenet import BLUE_GREEN_RED, SqueezeNet
from unmask.zoo.training import Recipe, trained


@cache
def digits() -> Exhibit:
    """A small network of LeNet's kind that reads handwritten digits of 8 x 8 pixels.

    A digit has twelve players, four rows of three patches. Ink is 1 and paper 0, and a hidden
    patch is paper. 1,597 digits train the network; the inputs are the other 200.
    """
    from sklearn.datasets import load_digits

    table = cast(Any, load_digits())
    order = torch.randperm(len(table.target), generator=torch.Generator().manual_seed(0))
    images = (torch.tensor(table.images)[order, None] / 16).float()
    labels = torch.tensor(table.target)[order]
    model = trained(
        SmallLeNet,
        images[:1597],
        labels[:1597],
        Recipe(epochs=25, rate=4e-3, decay=0.01, smoothing=0.05),
    )
    players = patches((1, 8, 8), (4, 3))
    return Exhibit(
        name="digits",
        model=model,
        inputs=tuple(images[1597:]),
        labels=tuple(labels[1597:].tolist()),
        classes=tuple("0123456789"),
        players=lambda i: players,
        view=lambda i: picture(images[1597 + i]),
        baseline=lambda i: torch.zeros(1, 8, 8),
        score=log_odds,
    )


@cache
def mnist() -> Exhibit:
    """LeNet, which reads handwritten digits of 28 x 28 pixels.

    A digit has twelve players, four rows of three patches. Ink is 1 and paper 0, and a hidden
    patch is paper. The network learns from the 60,000 training digits. It misreads about one in a
    hundred: the inputs are the first 180 test digits, and the first 20 others that it misreads.
    Needs UNMASK_DATA.
    """
    images, labels = mnist_digits("train")
    model = trained_once(
        "mnist",
        LeNet,
        images[:, None] / 255,
        labels,
        Recipe(epochs=3, batch_size=128, rate=3e-3, decay=0.01, smoothing=0.05),
    )
    images, labels = mnist_digits("t10k")
    inputs = images[:, None] / 255
    misread = (predicted(model, inputs) != labels).nonzero()[:, 0]
    chosen = torch.cat([torch.arange(180), misread[misread >= 180][:20]])
    inputs, labels = inputs[chosen], labels[chosen]
    players = patches((1, 28, 28), (4, 3))
    return Exhibit(
        name="mnist",
        model=model,
        inputs=tuple(inputs),
        labels=tuple(labels.tolist()),
        classes=tuple("0123456789"),
        players=lambda i: players,
        view=lambda i: picture(inputs[i]),
        baseline=lambda i: torch.zeros(1, 28, 28),
        score=log_odds,
    )


@cache
def cifar10() -> Exhibit:
    """ResNet-20 with given weights, which names one of ten things in a photo of 32 x 32 pixels.

    A photo has twelve players, three rows of four patches. A hidden patch is of the mean colour,
    which is zero to the first convolution. The inputs are the first 200 test images. Needs
    UNMASK_DATA.
    """
    model = ResNet20()
    model.load_state_dict(weights("weights/resnet20_cifar10.safetensors"))
    images, labels, classes = cifar10_test()
    inputs = images[:200] / 255
    players = patches((3, 32, 32), (3, 4))
    grey = torch.tensor(MEAN).view(3, 1, 1).expand(3, 32, 32).clone()
    return Exhibit(
        name="cifar10",
        model=model.eval(),
        inputs=tuple(inputs),
        labels=tuple(labels[:200].tolist()),
        classes=classes,
        players=lambda i: players,
        view=lambda i: picture(inputs[i]),
        baseline=lambda i: grey,
        score=log_odds,
    )


@cache
def squeezenet() -> Exhibit:
    """SqueezeNet with given weights, which names one of a thousand things in a photo.

    A photo has twelve players, three rows of four patches. A hidden patch is of the mean colour,
    which is zero to the first convolution. The inputs are the photos that a person has given one
    of the thousand names; by their choice they are no measure of accuracy. Needs UNMASK_DATA.
    """
    model = SqueezeNet()
    model.load_state_dict(weights("weights/squeezenet_v1.0_imagenet.safetensors"))
    labelled = [(photo.image, photo.label) for photo in photos() if photo.label is not None]
    players = patches((3, 227, 227), (3, 4))
    grey = (torch.tensor(BLUE_GREEN_RED) / 255).flip(0).view(3, 1, 1).expand(3, 227, 227).clone()
    return Exhibit(
        name="squeezenet",
        model=model.eval(),
        inputs=tuple(image for image, _ in labelled),
        labels=tuple(label for _, label in labelled),
        classes=imagenet_classes(),
        players=lambda i: players,
        view=lambda i: picture(labelled[i][0]),
        baseline=lambda i: grey,
        score=log_odds,
    )


def picture(image: Float[Tensor, "channels height width"]) -> ImageView:
    """An image of values from 0 to 1, grey or red-green-blue, as the eye should see it."""
    levels = (image * 255).round().to(torch.uint8)
    return ImageView(levels.expand(3, -1, -1).permute(1, 2, 0).contiguous())
