"""Photographs in 128 patches: how much of SqueezeNet is explained, by ours and by shapiq's.

    python benchmarks/large_n_images.py [--quick] [--workers 16] [--device cuda] [--file R.jsonl]
    python benchmarks/large_n_images.py --table R.jsonl

A photograph of 224 x 224 pixels is cut into 8 x 16 patches, the players; a hidden patch is grey.
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
    given = options(__doc__.splitlines()[0], budget=8192).parse_args()
    if given.table:
        table(given.table)
        return
    if given.quick:
        given.inputs, given.budget = 1, 600
    raced("photographs", photograph, given, tests=100 if given.quick else 1000)


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


def middle(image: torch.Tensor) -> torch.Tensor:
    top, left = ((side - SIDE) // 2 for side in image.shape[-2:])
    return image[:, top : top + SIDE, left : left + SIDE].contiguous()


if __name__ == "__main__":
    main()
