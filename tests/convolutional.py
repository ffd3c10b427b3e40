"""Convolutional networks for tests, of the usual build but small."""

import torch
from torch import Tensor, nn
from torch.nn import functional

PLAN = (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None)


def vgg(*, normalised=False, width=4, seed=0, inplace=False, dtype=torch.float32):
    """VGG-11 for 32 x 32 pixels; its channels are divided by the width."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, inputs = [], 3
        for channels in PLAN:
            if channels is None:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = channels // width
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if normalised:
                layers.append(unsettled(nn.BatchNorm2d(outputs)))
            layers.append(nn.ReLU(inplace=inplace))
            inputs = outputs
        layers += [nn.Flatten(), nn.Linear(inputs, inputs), nn.ReLU(inplace=inplace)]
        return nn.Sequential(*layers, nn.Linear(inputs, 10)).to(dtype).eval()


def unsettled(layer):
    """A batch normalisation as after training: its numbers are no longer zero and one."""
    layer.running_mean.normal_(0, 0.2)
    layer.running_var.uniform_(0.5, 2)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.normal_(layer.bias, 0, 0.2)
    return layer


class UNet(nn.Module):
    """Down and up again, what was before beside what comes after."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(3, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.norm = unsettled(nn.BatchNorm2d(8))
        self.last = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = functional.relu(self.down1(x))
        up = functional.relu_(self.norm(self.up(functional.leaky_relu(self.down2(first), 0.1))))
        return self.last(torch.cat([first, up], 1)).mean((2, 3))


def unet(seed=0, dtype=torch.float32):
    """A small U-Net that counts four classes over the whole picture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet().to(dtype).eval()
