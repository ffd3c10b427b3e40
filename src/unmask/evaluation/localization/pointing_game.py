"""The pointing game: does the largest value of an explanation lie where the evidence is?"""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from unmask.card import method
from unmask.evaluation.localization.located import located, undefined_where
from unmask.results import Attribution, Rating


@method("zhang2018top")
def pointing_game(
    attribution: Attribution, *, region: Bool[Tensor, "batch *input"], tolerance: int = 0
) -> Rating:
    r"""Ask whether an explanation points at a region with its largest value.

    $$
    P = \frac{|M \cap R_r|}{|M|}, \qquad
    M = \arg\max_i a_i, \quad R_r = \{i : \exists j \in R,\ \lVert i - j \rVert \le r\}
    $$

    1 is a hit and 0 a miss, so that the mean is the share of hits; the paper takes it for each
    class first. Where several positions share the largest value, the hit is divided among them: a
    flat explanation, which points everywhere, gets the region's share of the input and not a hit.
    The paper allows 15 pixels on images of about 224. An empty region is NaN.

    A hit says that the model looked where a person would. A model that reads the background is
    rated low by it for a faithful explanation: trust it only where the evidence was planted.

    >>> values = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    >>> pointing_game(values, region=torch.tensor([[True, False, True, False]])).values.tolist()
    [1.0]

    Args:
        attribution: a; of images, the channels are added up if the region has one.
        region: R.
        tolerance: r, in positions along the last axis, or the last two of an image.
    """
    if tolerance < 0:
        raise ValueError(f"A tolerance of {tolerance} positions makes no sense. Give at least 0.")
    values, inside = located(attribution, region)
    rows = values.flatten(1)
    most = rows == rows.amax(1, keepdim=True)
    near = _widened(inside, tolerance).flatten(1)
    return Rating(undefined_where(inside, (most & near).sum(1).to(rows) / most.sum(1)), True)


def _widened(
    inside: Bool[Tensor, "inputs *positions"], tolerance: int
) -> Bool[Tensor, "inputs *positions"]:
    """The region and all positions within a distance of it."""
    if tolerance == 0:
        return inside
    across = 1 if inside.ndim < 3 else inside.shape[-2]
    images = inside.reshape(-1, 1, across, inside.shape[-1])
    # Nothing is farther off than the image is long, whatever the tolerance.
    reach = min(tolerance, max(images.shape[-2:]))
    steps = torch.arange(-reach, reach + 1, device=inside.device)
    disc = steps[:, None] ** 2 + steps**2 <= tolerance**2
    counts = functional.conv2d(images.float(), disc.float()[None, None], padding=reach)
    return (counts > 0.5).view(inside.shape)
