"""Rows some of whose columns come from other rows, and their scores: what importance needs."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission
from unmask.score import Score


@dataclass(frozen=True)
class Draws:
    """From which rows of the data each row takes what it does not keep, in every draw.

    A row takes from the place `start + shift`, beyond the last counted on from the first. So no
    table of draws times rows is kept, and shifts that differ never lend a row the same twice.

    Args:
        data: the rows that lend, in an order that means nothing.
        start: of each row, or of all, for each column or for all.
        shift: of each draw, likewise.
    """

    data: Float[Tensor, "lenders width"]
    start: Int[Tensor, "rows columns"]
    shift: Int[Tensor, "draws columns"]

    def __len__(self) -> int:
        return len(self.shift)

    def lent(
        self, draw: Int[Tensor, " some"], rows: slice, columns: Tensor | slice
    ) -> Float[Tensor, "some rows columns"]:
        """What is lent to a stretch of rows in some draws, of some columns."""
        start = self.start[rows] if len(self.start) > 1 else self.start
        lender = (start + self.shift[draw][:, None]) % len(self.data)
        data = self.data[:, columns]
        if lender.shape[-1] == 1:
            return data[lender[..., 0]]
        lender = lender[..., columns]
        return data.gather(0, lender.flatten(0, 1)).view(lender.shape)


def paired(
    data: Float[Tensor, "rows width"],
    samples: int | None,
    generator: torch.Generator | None,
    apart: bool = False,
) -> Draws:
    """Each row takes all columns from one other; no pair of rows comes twice.

    Args:
        data: the rows.
        samples: draws; where there are no more pairs than that, or without it, all are taken.
        generator: chooses them.
        apart: leaves out that a row takes from itself.
    """
    enough(samples)
    generator = admission.drawing(generator)
    count = len(data)
    order = torch.randperm(count, generator=generator, device=generator.device)
    shift = torch.randperm(count - apart, generator=generator, device=generator.device) + apart
    order, shift = order.to(data.device), shift[:samples].to(data.device)
    return Draws(data[order], order.argsort()[:, None], shift[:, None])


def independent(
    data: Float[Tensor, "lenders width"],
    rows: int,
    samples: int | None,
    generator: torch.Generator | None,
) -> Draws:
    """Every column is taken from a row of its own, so that columns do not know each other.

    Args:
        data: the rows that lend.
        rows: how many take, each for itself; 1 if all take the same.
        samples: draws; without it as many as there are rows in the data, every one of which then
            lends each column once.
        generator: of the draws.
    """
    enough(samples)
    generator = admission.drawing(generator)
    count, width = data.shape
    chance = {"generator": generator, "device": generator.device}
    start = torch.randint(count, (rows, width), **chance)
    if samples is None or samples <= count:
        shift = torch.rand(count, width, **chance).argsort(0)[:samples]
    else:
        shift = torch.randint(count, (samples, width), **chance)
    return Draws(data, start.to(data.device), shift.to(data.device))


def scores(
    score: Score,
    x: Float[Tensor, "rows width"],
    kept: Bool[Tensor, "masks width"],
    draws: Draws,
    batch_size: int,
) -> Iterator[tuple[Int[Tensor, " some"], Int[Tensor, " some"], Float[Tensor, "some rows"]]]:
    """The scores of all rows under every mask and in every draw: some masks, draws and scores.

    Args:
        score: of each row.
        x: the rows.
        kept: where rows keep what they have.
        draws: what they take elsewhere.
        batch_size: inputs in one call of the model; batches are filled across masks and draws.
    """
    index = torch.arange(len(x), device=x.device)
    pairs = torch.arange(len(kept) * len(draws), device=x.device)
    for some in pairs.split(max(1, batch_size // len(x))):
        mask, draw = some // len(draws), some % len(draws)
        found = torch.empty(len(some), len(x), dtype=torch.float64, device=x.device)
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            mixed = _mixed(x, kept[mask], draws, draw, rows)
            with torch.no_grad():
                values = score(mixed.flatten(0, 1), index[rows].repeat(len(some)))
            found[:, rows] = values.view(len(some), -1)
        if not found.sum().isfinite():  # then one of them is not; it is the cheaper question
            first = int((~found.isfinite()).nonzero()[0, 1])
            raise ValueError(
                f"The {score.name} of row {first} is not finite once some of its columns come from "
                "another row. Look at what the model computes there."
            )
        yield mask, draw, found


def enough(samples: int | None) -> None:
    """Refuse to draw nothing."""
    if samples is not None and samples < 1:
        raise ValueError(f"{samples} draws are too few. Give at least 1.")


def _mixed(
    x: Float[Tensor, "rows width"],
    kept: Bool[Tensor, "some width"],
    draws: Draws,
    draw: Int[Tensor, " some"],
    rows: slice,
) -> Float[Tensor, "some part width"]:
    """A stretch of rows under some masks, each in its draw."""
    own = x[rows]
    if len(kept) > 1 and not bool((kept == kept[0]).all()):
        lent = draws.lent(draw, rows, slice(None))
        return torch.where(kept[:, None], own, lent)
    hidden = (~kept[0]).nonzero()[:, 0]  # one mask: only what it hides is fetched
    mixed = own.repeat(len(draw), 1, 1)
    mixed[:, :, hidden] = draws.lent(draw, rows, hidden).expand(-1, len(own), -1)
    return mixed
