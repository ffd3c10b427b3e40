"""Pictures in 128 patches: how much of a network is explained, by ours and by shapiq's.

    python benchmarks/large_n_images.py [--quick] [--workers 16] [--device cuda] [--file R.jsonl]
    python benchmarks/large_n_images.py --network resnet [...]
    python benchmarks/large_n_images.py --table R.jsonl

A photograph of 224 x 224 pixels (SqueezeNet), or a picture of CIFAR-10 (ResNet-20, fifty times as
fast), is cut into 8 x 16 patches, the players; a hidden patch is grey, or as the zoo has it.
The score is the log odds of the class that the network chooses. All methods may ask for 8,192
coalitions. Needs UNMASK_DATA, shapiq and lightgbm. How it is judged: `large_n_rivals.py`.
"""

import torch
from large_n_rivals import options, raced, table

from unmask import log_odds, masked, patches
from unmask.game import Game

SIDE = 224
GRID = (8, 16)


def main() -> None:
    asked = options(__doc__.splitlines()[0], budget=8192)
    asked.add_argument("--network", default="squeezenet", choices=("squeezenet", "resnet"))
    given = asked.parse_args()
    if given.table:
        table(given.table)
        return
    if given.quick:
        given.inputs, given.budget = 1, 600
    kind, make = {"squeezenet": ("photographs", photograph), "resnet": ("cifar", picture)}[
        given.network
    ]
    raced(kind, make, given, tests=100 if given.quick else 1000)


def photograph(number: int, device: str) -> Game:
    """The game that SqueezeNet plays on the middle of a photograph."""
    from unmask.zoo import squeezenet

    exhibit = squeezenet()
    model = exhibit.model.to(device)
    x = middle(exhibit.inputs[number]).to(device)
    with torch.no_grad():
        target = int(model(x[None]).argmax())
    grey = middle(exhibit.baseline(number)).to(device)
    batch = 256 if device.startswith("cuda") else None
    players = patches((3, SIDE, SIDE), GRID)
    return masked(log_odds(model, target), x, players, grey, batch_size=batch)


def picture(number: int, device: str) -> Game:
    """The game that ResNet-20 plays on a picture of CIFAR-10."""
    from unmask.zoo import cifar10

    exhibit = cifar10()
    model, x = exhibit.model.to(device), exhibit.inputs[number].to(device)
    with torch.no_grad():
        target = int(model(x[None]).argmax())
    hidden = exhibit.baseline(number).to(device)
    return masked(log_odds(model, target), x, patches((3, 32, 32), GRID), hidden)


def middle(image: torch.Tensor) -> torch.Tensor:
    top, left = ((side - SIDE) // 2 for side in image.shape[-2:])
    return image[:, top : top + SIDE, left : left + SIDE].contiguous()


if __name__ == "__main__":
    main()
