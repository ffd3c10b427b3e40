"""Games that a model plays on one input: hide the parts that do not take part."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmask import admission
from unmask.game import Game
from unmask.lattice import coalitions
from unmask.players import Players
from unmask.score import Score


def masked(
    score: Score,
    x: Shaped[Tensor, "*input"],
    players: Players,
    baseline: Shaped[Tensor, "*background"],
    *,
    batch_size: int | None = None,
) -> Game:
    r"""Let the parts of one input play: hide all that do not take part, and read the score.

    $$
    v(S) = \frac1K \sum_{k=1}^K F\bigl(m_S \odot x + (1 - m_S) \odot b_k\bigr)
    $$

    Positions that no player owns stay as they are in x.

    Args:
        score: F.
        x: one input: real numbers, token ids or embeddings.
        players: who owns which position; m_S is 1 where the owner is in S.
        baseline: b, what stands where a player is hidden; with one axis more, a set of K.
        batch_size: inputs in one call of the model; by default what a processor's cache holds.
            Where a GPU's memory runs out the batch is halved and the work goes on.
    """
    if x.shape != players.owner.shape:
        raise ValueError(
            f"The players label positions of shape {tuple(players.owner.shape)}, but x has shape "
            f"{tuple(x.shape)}. Give one input without its batch axis, such as x[0]."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"A batch of {batch_size} inputs is too small. Give at least 1.")
    admission.finite("The input", x)
    admission.settled(score.model)
    backgrounds = admission.baseline_for(x, baseline)
    if backgrounds.ndim == x.ndim:
        backgrounds = backgrounds[None]
    batches = _Batches(score, batch_size or _cached_rows(x))

    def value(masks: Tensor) -> Tensor:
        masks = masks.to(x.device)
        values = [
            _some_values(batches, x, players, backgrounds, some)
            for some in masks.split(max(1, batches.rows // len(backgrounds)))
        ]
        return torch.cat(values)

    def everything() -> Tensor:
        total = _all_values(batches, x, players, backgrounds[0])
        for background in backgrounds[1:]:
            total += _all_values(batches, x, players, background)
        return total / len(backgrounds) if len(backgrounds) > 1 else total

    return Game(value, players.names, everything)


@dataclass
class _Batches:
    """Runs a score on rows made from one input, as many at a time as memory allows."""

    score: Score
    rows: int

    def __call__(self, inputs: Shaped[Tensor, "batch *input"]) -> Float[Tensor, " batch"]:
        parts: list[Tensor] = []
        done = 0
        while done < len(inputs):
            part = inputs[done : done + self.rows]
            version = part._version
            try:
                with torch.inference_mode():
                    source = torch.zeros(len(part), dtype=torch.long, device=part.device)
                    parts.append(self.score(part, source))
            except torch.cuda.OutOfMemoryError:
                # A part that the model has begun to write on cannot be run again.
                if self.rows == 1 or part._version != version:
                    raise
                self.rows = (min(self.rows, len(part)) + 1) // 2
                torch.cuda.empty_cache()
                continue
            done += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _some_values(
    batches: _Batches,
    x: Shaped[Tensor, "*input"],
    players: Players,
    backgrounds: Shaped[Tensor, "backgrounds *input"],
    masks: Bool[Tensor, "masks players"],
) -> Float[Tensor, " masks"]:
    """The score of each masked input, averaged over the backgrounds."""
    visible = players.cover(masks)[:, None]
    parts = [
        batches(torch.where(visible, x, part).flatten(0, 1)).view(len(masks), -1)
        for part in backgrounds.split(max(1, batches.rows // len(masks)))
    ]
    return torch.cat(parts, dim=1).mean(1)


def _all_values(
    batches: _Batches,
    x: Shaped[Tensor, "*input"],
    players: Players,
    background: Shaped[Tensor, "*input"],
) -> Float[Tensor, " coalitions"]:
    """The scores of all coalitions, with hardly any work besides the model's.

    A block of rows holds every coalition of the first players. The others are shown and hidden
    in Gray-code order, so that from block to block one player's positions are rewritten and the
    rest of the rows stays as it is.
    """
    n = len(players.names)
    low = min(n, batches.rows.bit_length() - 1)
    masks = torch.zeros(2**low, n, dtype=torch.bool, device=x.device)
    masks[:, :low] = coalitions(low)
    owner = players.owner.flatten().to(x.device)
    present, absent = x.flatten(), background.flatten()
    block = torch.where(players.cover(masks), x, background).contiguous()
    rows = block.view(2**low, -1)

    values: Tensor | None = None
    coalition = 0
    writes = False
    for step in range(2 ** (n - low)):
        if step > 0:
            player = low + (step & -step).bit_length() - 1  # the bit that the Gray code changes
            coalition ^= 1 << player - low
            where = (owner == player).nonzero()[:, 0]
            rows[:, where] = (present if coalition >> player - low & 1 else absent)[where]
        inputs = block.clone() if writes else block
        version = block._version
        scores = batches(inputs)
        if values is None:
            values = scores.new_empty(2 ** (n - low), 2**low)
        values[coalition] = scores
        if block._version != version:
            # The model works in place on its input. Make the block anew, and lend copies from now.
            writes = True
            masks[:, low:] = coalitions(n - low)[coalition]
            rows.copy_(torch.where(players.cover(masks), x, background).view_as(rows))
    assert values is not None  # there is at least one block
    return values.flatten()


def _cached_rows(x: Tensor) -> int:
    """A batch whose inputs and first layers stay in a processor's cache.

    It depends on the size of an input alone, not on a measurement: the last bit of a result may
    change with the batch, and the same call should give the same result.
    """
    rows = 2**18 // max(1, x.numel())
    return min(2048, max(16, 1 << max(0, rows.bit_length() - 1)))
