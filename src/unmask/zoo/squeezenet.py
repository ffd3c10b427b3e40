"""SqueezeNet v1.0 for the thousand classes of ImageNet (Iandola et al. 2016)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

BLUE_GREEN_RED = (104.0, 117.0, 123.0)
"""The means that the network takes off, in its own order of channels and on its scale."""


class SqueezeNet(nn.Module):
    """Convolutions of 1 x 1 and 3 x 3 alone after the first, under 1.3 million parameters.

    It reads red-green-blue from 0 to 1; the change to blue-green-red from 0 to 255 and the
    subtraction of the means happen inside.
    """

    mean: Tensor

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fire2 = Fire(96, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.fire4 = Fire(128, 32, 128)
        self.fire5 = Fire(256, 32, 128)
        self.fire6 = Fire(256, 48, 192)
        self.fire7 = Fire(384, 48, 192)
        self.fire8 = Fire(384, 64, 256)
        self.fire9 = Fire(512, 64, 256)
        self.conv_final = nn.Conv2d(512, classes, 1, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.register_buffer("mean", torch.tensor(BLUE_GREEN_RED).view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "batch 3 227 227"]) -> Float[Tensor, "batch classes"]:
        x = 255 * x.flip(1) - self.mean
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.fire4(self.fire3(self.fire2(x))))
        x = self.pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        x = self.relu(self.conv_final(self.fire9(x)))
        return x.mean((2, 3))


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1 x 1 and by 3 x 3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(inputs, squeezed, 1)
        self.conv1x1_2 = nn.Conv2d(squeezed, expanded, 1)
        self.conv3x3_2 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        x = self.relu(self.conv1x1_1(x))
        return self.relu(torch.cat([self.conv1x1_2(x), self.conv3x3_2(x)], dim=1))
