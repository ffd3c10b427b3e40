"""A network that learns what clouds of points are."""

from functools import cache
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.players import points
from unmask.zoo.courses.course import Course, Settings
from unmask.zoo.courses.mislabelled import mislabelled
from unmask.zoo.data import scanned_objects
from unmask.zoo.dgcnn import DGCNN

POINTS = 64
PARTS = 9


@cache
def pointclouds() -> Course:
    """DGCNN learns buildings, cars, fences, poles and trees from laser scans, a tenth of it wrong.

    374 scans from the air train it, 125 test it: 64 points of each that lie far apart, scaled to
    a ball, as metres alone would tell the objects apart. A cloud has nine players, parts that
    k-means finds; the points of a hidden part move to the centre of the cloud. Needs UNMASK_DATA.
    """
    clouds, labels, tested, classes = scanned_objects()
    order = torch.cat([(~tested).nonzero()[:, 0], tested.nonzero()[:, 0]])
    inputs = unit(far_apart(clouds[order], POINTS))
    return mislabelled(
        "pointclouds",
        lambda: DGCNN(len(classes), neighbours=8),
        inputs,
        labels[order],
        train=int((~tested).sum()),
        players=lambda i: points(parts(inputs[i], PARTS)),
        baseline=lambda i: inputs[i].mean(0).expand(POINTS, 3).clone(),
        view=lambda i: None,
        classes=classes,
        settings=Settings(steps=1000, batch_size=32, rate=0.02, first=5, growth=1.6),
        kept=30,
        followed=12,
    )


def far_apart(clouds: Float[Tensor, "batch all 3"], count: int) -> Float[Tensor, "batch points 3"]:
    """Points of each cloud, each the farthest from those before it; the first is its first.

    Args:
        clouds: with at least one point each.
        count: points to take. Where a cloud has fewer different ones, some come twice.
    """
    row = torch.arange(len(clouds))
    latest = clouds[:, 0]
    chosen = [latest]
    gap = torch.full(clouds.shape[:2], torch.inf, dtype=clouds.dtype)
    while len(chosen) < count:
        gap = torch.minimum(gap, (clouds - latest[:, None]).square().sum(-1))
        latest = clouds[row, gap.argmax(1)]
        chosen.append(latest)
    return torch.stack(chosen, 1)


def unit(clouds: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
    """Clouds about their centre, the farthest point at distance 1."""
    clouds = clouds - clouds.mean(1, keepdim=True)
    return clouds / clouds.norm(dim=-1).amax(1)[:, None, None]


def parts(cloud: Float[Tensor, "points 3"], count: int) -> Int[Tensor, " points"]:
    """Which part each point belongs to, by k-means from points that lie far apart.

    Args:
        cloud: with as many different points as there are parts, at least.
        count: of the parts.
    """
    from sklearn.cluster import KMeans

    begin = far_apart(cloud[None], count)[0].double().numpy()
    # scikit-learn tells type checkers that these two were texts.
    means = KMeans(count, init=cast(Any, begin), n_init=cast(Any, 1))
    return torch.tensor(np.asarray(means.fit_predict(cloud.double().numpy()))).long()
