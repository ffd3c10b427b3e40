"""Focus: on mosaics of several classes, does an explanation of one keep to its own pictures?"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.localization.relevance_mass import relevance_mass
from unmask.results import Attribution, Rating
from unmask.score import logit


@method("ariasduart2022focus")
def focus(
    model: nn.Module,
    data: Float[Tensor, "batch channels height width"],
    *,
    labels: Int[Tensor, " batch"],
    explain: Explain,
    samples: int = 64,
    shrunk: bool = False,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Rating:
    r"""Explain mosaics of four pictures and see whether the class's own two bear the evidence.

    $$
    f = \frac{\sum_{i \in R} \max(a_i, 0)}{\sum_i \max(a_i, 0)}
    $$

    Each mosaic has two pictures of one class, which is explained, and one of each of two others,
    in places drawn at random; R holds the two. Chance is one half. As the pictures were put
    together at random, the evidence is planted, as far as the model knows its classes: use
    pictures that it classifies well. No mosaic is like what the model was trained on, and on
    pictures of classes that look alike a faithful explanation leaves R too.

    >>> from unmask.results import Attribution
    >>> bright = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    >>> data = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    >>> labels = torch.tensor([2, 2, 1, 1, 0, 0])
    >>> flat = lambda score, x: Attribution(torch.ones_like(x))
    >>> focus(bright, data, labels=labels, explain=flat, samples=2).values.tolist()
    [0.5, 0.5]

    Args:
        model: takes images of any size, or of that of data if the mosaics are shrunk.
        data: the pictures.
        labels: their classes, three at least.
        explain: makes a.
        samples: mosaics.
        shrunk: whether mosaics are brought to the size of one picture, by means of 2 x 2 pixels.
            Of an odd number of them the middle ones hold two pictures at once and do not count.
        batch_size: mosaics that are explained at a time.
        generator: source of the mosaics.
    """
    admission.finite("The data", data)
    admission.filled(data)
    admission.settled(model)
    mosaics, classes, region = _mosaics(data, labels, samples, admission.drawing(generator))
    if shrunk:
        mosaics = functional.avg_pool2d(mosaics, 2)
        region = functional.max_pool2d(region.float(), 2) > 0
    values = explained(logit(model, classes), mosaics, explain, batch_size=batch_size).values
    if shrunk and values.shape[2:] == region.shape[2:]:
        values = _without_seams(values)
    return relevance_mass(Attribution(values), region=region)


def _without_seams(
    values: Float[Tensor, "samples channels height width"],
) -> Float[Tensor, "samples channels height width"]:
    """Zero along a middle row or column, where halving has mixed the pictures of both sides."""
    height, width = values.shape[2:]
    values = values.clone()
    if height % 2 == 1:
        values[:, :, height // 2] = 0
    if width % 2 == 1:
        values[..., width // 2] = 0
    return values


def _mosaics(
    data: Tensor, labels: Tensor, samples: int, generator: torch.Generator
) -> tuple[
    Float[Tensor, "samples channels height width"],
    Int[Tensor, " samples"],
    Bool[Tensor, "samples single height width"],
]:
    """Mosaics of 2 x 2, the class that two of the pictures have, and where these stand."""
    if len(labels) != len(data):
        raise ValueError(
            f"There are {len(data)} pictures, but {len(labels)} labels. Give one label per picture."
        )
    if samples < 1:
        raise ValueError(f"{samples} mosaics were asked for. Give at least 1.")
    known = labels.cpu()
    classes, counts = known.unique(return_counts=True)
    pairs = classes[counts >= 2]
    if len(classes) < 3 or len(pairs) == 0:
        raise ValueError(
            f"A mosaic needs two pictures of one class and one of each of two others, but the "
            f"labels hold {len(classes)} classes, {len(pairs)} of them twice. Give more pictures."
        )

    def choose(among: Tensor, count: int) -> Tensor:
        return among[torch.randperm(len(among), generator=generator)[:count]]

    chosen, targets = [], []
    for _ in range(samples):
        target = choose(pairs, 1)
        others = choose(classes[classes != target], 2)
        places = [choose((known == target).nonzero()[:, 0], 2)]
        places += [choose((known == other).nonzero()[:, 0], 1) for other in others]
        chosen.append(torch.cat(places)[torch.randperm(4, generator=generator)])
        targets.append(target)
    index, target = torch.stack(chosen), torch.cat(targets)
    parts = data[index.to(data.device)].unflatten(1, (2, 2))  # down, across, channels, ...
    mosaics = parts.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    own = (known[index] == target[:, None]).view(-1, 1, 2, 2).to(data.device)
    height, width = data.shape[2:]
    region = own.repeat_interleave(height, 2).repeat_interleave(width, 3)
    return mosaics.contiguous(), target.to(data.device), region
