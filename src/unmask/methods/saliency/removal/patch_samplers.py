"""What might stand in a window of an image instead of what does."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.methods.saliency.removal.windows import Windows

_AT_ONCE = 1024
"""Patches in memory while a Gaussian is fitted."""
_NOTHING = 1e-7
"""Variances below this share of the largest are what float32 pixels cannot tell from none."""


@runtime_checkable
class Draws(Protocol):
    """Contents of windows, drawn.

    The same number of a sample means the same draw of chance in every window of every image, so
    that windows are compared under the same luck.
    """

    @property
    def samples(self) -> int:
        """How many there are."""
        ...

    @property
    def exact(self) -> bool:
        """Whether they are all that there is, and not drawn by chance."""
        ...

    def __call__(
        self,
        images: Float[Tensor, "rows channels height width"],
        corners: Int[Tensor, "rows 2"],
        sample: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows positions"]:
        """What to write into the window at this corner of each image."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A rule for what might stand in a window."""

    def fit(
        self,
        data: Float[Tensor, "images channels height width"],
        windows: Windows,
        samples: int,
        generator: torch.Generator,
    ) -> Draws:
        """Learn from images, and draw."""
        ...


@dataclass(frozen=True)
class MarginalPatches:
    """What stands in the same window of other images, whatever is around it.

    Samples are images drawn without replacement; asked for as many as there are, it takes each
    once and nothing is left to chance.
    """

    def fit(
        self,
        data: Float[Tensor, "images channels height width"],
        windows: Windows,
        samples: int,
        generator: torch.Generator,
    ) -> Draws:
        """Choose the images."""
        if samples >= len(data):
            return _Taken(data, windows, exact=True)
        chosen = torch.randperm(len(data), generator=generator, device=generator.device)[:samples]
        return _Taken(data[chosen.to(data.device)], windows, exact=False)


@dataclass(frozen=True)
class _Taken:
    data: Float[Tensor, "samples channels height width"]
    windows: Windows
    exact: bool

    @property
    def samples(self) -> int:
        return len(self.data)

    def __call__(
        self,
        images: Float[Tensor, "rows channels height width"],
        corners: Int[Tensor, "rows 2"],
        sample: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows positions"]:
        first = sample[:, None] * prod(self.windows.shape)
        return self.data.flatten().take(first + self.windows.inside(corners))


@dataclass(frozen=True)
class ConditionalPatches:
    r"""What goes with the pixels around the window, after a Gaussian of patches.

    $$
    x_w \mid x_r \sim \mathcal N\bigl( \mu_w + \Sigma_{wr} \Sigma_{rr}^{+} (x_r - \mu_r),\;
    \Sigma_{ww} - \Sigma_{wr} \Sigma_{rr}^{+} \Sigma_{rw} \bigr)
    $$

    where r is the ring of pixels around the window w. The Gaussian is that of patches from
    anywhere in the images, one for each channel; at the border of an image the patch is moved
    inwards, so that the window is no longer at its middle. A pseudo-inverse stands for the
    inverse, as some pixels may never change. Draws are cut to the range of the data.

    Args:
        padding: width of the ring.
        patches: that the Gaussian is fitted to; of fewer all are taken.
    """

    padding: int = 2
    patches: int = 20_000

    def fit(
        self,
        data: Float[Tensor, "images channels height width"],
        windows: Windows,
        samples: int,
        generator: torch.Generator,
    ) -> Draws:
        """Find mean and covariance of the patches."""
        sides = (windows.sides[0] + 2 * self.padding, windows.sides[1] + 2 * self.padding)
        if self.padding < 0 or sides[0] > data.shape[2] or sides[1] > data.shape[3]:
            raise ValueError(
                f"A window of {windows.sides} with a ring of {self.padding} pixels does not fit "
                f"images of {tuple(data.shape[2:])}. Choose a smaller window or padding."
            )
        if self.patches < 2:
            raise ValueError(f"{self.patches} patches have no covariance. Give at least 2.")
        noise = torch.randn(
            samples, data.shape[1], prod(windows.sides),
            generator=generator, dtype=torch.float64, device=generator.device,
        )  # fmt: skip
        every = data.unfold(2, sides[0], 1).unfold(3, sides[1], 1)
        places = _places(every, self.patches, generator).to(data.device)

        def some() -> Iterator[Tensor]:
            for i, row, column in (part.unbind(1) for part in places.split(_AT_ONCE)):
                yield every[i, :, row, column].flatten(2).double()

        mean = sum((part.sum(0) for part in some()), start=torch.zeros((), device=data.device))
        mean = mean / len(places)
        centred = (part - mean for part in some())
        squares = sum(
            (torch.einsum("ncp,ncq->cpq", part, part) for part in centred), start=0 * mean[0, 0]
        )
        return _Gaussian(
            windows,
            sides,
            mean,
            squares / max(1, len(places) - 1),
            data.amin((0, 2, 3)).double(),
            data.amax((0, 2, 3)).double(),
            noise.to(data.device),
        )


@dataclass(frozen=True)
class _Conditional:
    """The Gaussian of a window given its ring, for one place of the window in its patch."""

    ring: Int[Tensor, " ring"]
    centre: Float[Tensor, "channels window"]
    weight: Float[Tensor, "channels window ring"]
    root: Float[Tensor, "channels window window"]


@dataclass(frozen=True)
class _Gaussian:
    windows: Windows
    sides: tuple[int, int]
    mean: Float[Tensor, "channels patch"]
    covariance: Float[Tensor, "channels patch patch"]
    low: Float[Tensor, " channels"]
    high: Float[Tensor, " channels"]
    noise: Float[Tensor, "samples channels window"]
    exact: bool = False
    factored: dict[tuple[int, int], _Conditional] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        return len(self.noise)

    def __call__(
        self,
        images: Float[Tensor, "rows channels height width"],
        corners: Int[Tensor, "rows 2"],
        sample: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows positions"]:
        height, width = images.shape[2:]
        last = corners.new_tensor([height - self.sides[0], width - self.sides[1]])
        padding = corners.new_tensor(
            [
                (side - inner) // 2
                for side, inner in zip(self.sides, self.windows.sides, strict=True)
            ]
        )
        first = (corners - padding).clamp(min=0).minimum(last)
        # Away from the borders the window is at the middle of its patch, so there are few groups.
        places, group = (corners - first).unique(dim=0, return_inverse=True)
        found = self.mean.new_empty(len(images), self.noise.shape[1] * self.noise.shape[2])
        for g, place in enumerate(places.tolist()):
            rows = (group == g).nonzero()[:, 0]
            given = self._conditional(place[0], place[1])
            down, across = given.ring // self.sides[1], given.ring % self.sides[1]
            flat = (first[rows, 0:1] + down) * width + first[rows, 1:2] + across
            around = (
                images[rows].flatten(2).gather(2, flat[:, None].expand(-1, images.shape[1], -1))
            )
            drawn = (
                given.centre
                + torch.einsum("cwr,ncr->ncw", given.weight, around.double())
                + torch.einsum("cwv,ncv->ncw", given.root, self.noise[sample[rows]])
            )
            drawn = drawn.clamp(self.low[:, None], self.high[:, None])
            found[rows] = drawn.flatten(1)
        return found.to(images.dtype)

    def _conditional(self, row: int, column: int) -> _Conditional:
        """Factored once for each place that a window has within its patch."""
        if (row, column) not in self.factored:
            inside = torch.zeros(self.sides, dtype=torch.bool, device=self.mean.device)
            height, width = self.windows.sides
            inside[row : row + height, column : column + width] = True
            w, r = inside.flatten().nonzero()[:, 0], (~inside).flatten().nonzero()[:, 0]
            across = self.covariance[:, w][:, :, r]
            around = self.covariance[:, r][:, :, r]
            weight = across @ torch.linalg.pinv(around, rtol=_NOTHING, hermitian=True)
            left = self.covariance[:, w][:, :, w] - weight @ across.mT
            variance, basis = torch.linalg.eigh((left + left.mT) / 2)
            # The one root that is symmetric itself: it does not hang on the signs of the basis.
            root = basis * variance.clamp(min=0).sqrt()[:, None] @ basis.mT
            centre = self.mean[:, w] - torch.einsum("cwr,cr->cw", weight, self.mean[:, r])
            self.factored[row, column] = _Conditional(r, centre, weight, root)
        return self.factored[row, column]


def _places(
    every: Float[Tensor, "images channels rows columns height width"],
    most: int,
    generator: torch.Generator,
) -> Int[Tensor, "patches 3"]:
    """Image, row and column of patches: all, or some drawn by chance."""
    images, _, rows, columns = every.shape[:4]
    total = images * rows * columns
    if total <= most:
        index = torch.arange(total)
    else:
        index = torch.randint(total, (most,), generator=generator, device=generator.device)
    return torch.stack([index // (rows * columns), index // columns % rows, index % columns], 1)
