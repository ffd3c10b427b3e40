"""VGG-11 for images of 32 x 32 pixels (Simonyan and Zisserman 2015, column A), at any width."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.zoo.resnet import DEVIATION, MEAN

WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)
POOLED = (0, 1, 3, 5, 7)
"""The convolutions that a pooling follows."""


class VGG11(nn.Module):
    """Eight convolutions, five poolings and one linear layer, with batch normalisation.

    It reads red-green-blue from 0 to 1 and standardises the channels itself, so that the mean
    colour is zero to the first convolution. The three linear layers for large photos are one here.

    Args:
        classes: outputs.
        width: a factor of the channels of every convolution.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for place, widest in enumerate(WIDTHS):
            channels = round(width * widest)
            layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            if place in POOLED:
                layers.append(nn.MaxPool2d(2))
            before = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "batch 3 32 32"]) -> Float[Tensor, "batch classes"]:
        return self.classifier(self.features((x - self.mean) / self.deviation).flatten(1))
