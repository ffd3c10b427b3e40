"""Games that a model plays on one input: hide the parts that do not take part."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unmask import admission
from unmask.allocator import keep_freed_blocks
from unmask.game import Game
from unmask.lattice import indices
from unmask.players import Players
from unmask.score import Score
from unmask.sharing import CHECKED, Shared, way_to_share
from unmask.sharing.gray_code import gray_code
from unmask.sharing.kept_rows import KeptRows, alike, size_of

READ_AT_ONCE = 2**16
"""Numbers that the model puts out before a score is read from them all."""
PART = 2**14
"""Coalitions that make a part of a large table. Whoever computes it, all at once or part by part on
several machines, calls the model on the same batches and finds the same bits."""
_CODES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes as an input's, in which a mask is all zeros or all ones."""


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

    All 2^n values may take less than 2^n passes: what coalitions share is computed once where the
    model is known to allow it (`unmask.sharing`), and what comes of it is checked against the
    model. `unmask.sharing.rows_run(game)` tells how many rows of which part were run.

    Args:
        score: F.
        x: one input: real numbers, token ids or embeddings.
        players: who owns which position; m_S is 1 where the owner is in S.
        baseline: b, what stands where a player is hidden; with one axis more, a set of K.
        batch_size: inputs in one call of the model; by default what a processor's cache holds.
            Where a GPU's memory runs out the batch is halved and the work goes on.
    """
    if not isinstance(score, Score):
        raise TypeError(
            f"A game is played for a Score, but got a {type(score).__name__}. "
            "Make one, such as log_odds(model, target)."
        )
    admission.finite("The input", x)
    if x.shape != players.owner.shape:
        raise ValueError(
            f"The players label positions of shape {tuple(players.owner.shape)}, but x has shape "
            f"{tuple(x.shape)}. Give one input without its batch axis, such as x[0]."
        )
    admission.batched(batch_size)
    if score.targets not in (None, 1):
        raise ValueError(
            f"The score has a class of its own for each of {score.targets} inputs, but a game is "
            "played on one. Make the score with the class of this input: target=int(classes[i])."
        )
    admission.settled(score.model)
    backgrounds = admission.backgrounds_for(x, baseline)
    batches = Batches(score, batch_size or cached_rows(x))
    keep_freed_blocks()

    # Neither leaves a graph, wherever it is called from. Inference mode would do as much, but what
    # a model keeps for later in it (a cache of positions, say) could never take part in a gradient.
    @torch.inference_mode(False)
    @torch.no_grad()
    def value(masks: Tensor) -> Tensor:
        if len(masks) == 0:
            return torch.zeros(0, device=x.device)
        parts = masks.to(x.device).split(READ_AT_ONCE)
        return torch.cat([_some_values(batches, x, players, backgrounds, part) for part in parts])

    return Game(value, players.names, Everything(batches, x, players, backgrounds))


@dataclass
class Everything:
    """All values of a masked input, and what they took.

    Args:
        batches: runs the score.
        x: one input.
        players: who owns which position.
        backgrounds: what stands where a player is hidden, one or several.
        rows: how many rows of which part of the model the last table took.
        low: players of whom all coalitions are in one batch. It stays where memory runs out and
            batches are halved.
    """

    batches: "Batches"
    x: Shaped[Tensor, "*input"]
    players: Players
    backgrounds: Shaped[Tensor, "backgrounds *input"]
    rows: dict[str, int] = field(default_factory=dict)
    low: int = field(init=False)

    def __post_init__(self) -> None:
        self.low = min(len(self.players.names), self.batches.rows.bit_length() - 1)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self) -> Float[Tensor, " coalitions"]:
        self.rows = {}
        way = way_to_share(self.batches.score, self.x, self.players, self.batches.rows)
        generator = torch.Generator().manual_seed(0)
        total: Tensor | None = None
        for background in self.backgrounds:
            values = None
            if way is not None:
                values = self._shared(way(background), background, generator)
            if values is None:
                way = None  # what failed once is not tried again
                values = self._values(background, range(self._parts()))
                self._count("all", len(values))
            total = values if total is None else total.add_(values)
        assert total is not None  # there is a background
        return self._mean(total)

    def parts(self) -> int:
        """How many parts the table falls into that can be computed each by itself.

        It is one where coalitions share work, as they do that beyond any part.
        """
        if self._parts() == 1:
            return 1
        way = way_to_share(self.batches.score, self.x, self.players, self.batches.rows)
        return self._parts() if way is None else 1

    @torch.inference_mode(False)
    @torch.no_grad()
    def part(self, number: int) -> Float[Tensor, " coalitions"]:
        """The values of one part; the table is all of them in a row, bit for bit.

        Args:
            number: of the part, from 0 on.
        """
        only = range(number, number + 1)
        total = self._values(self.backgrounds[0], only)
        for background in self.backgrounds[1:]:
            total.add_(self._values(background, only))
        return self._mean(total)

    def joined(self, parts: Sequence[Float[Tensor, " part"]]) -> Float[Tensor, " coalitions"]:
        """The table, where its parts were computed elsewhere.

        Args:
            parts: all of them, in their order.
        """
        values = torch.cat([part.to(self.x.device) for part in parts])
        self.rows = {"all": len(values) * len(self.backgrounds)}
        return values

    def _parts(self) -> int:
        return max(1, 2 ** len(self.players.names) // max(PART, 2**self.low))

    def _values(
        self, background: Shaped[Tensor, "*input"], parts: range
    ) -> Float[Tensor, " coalitions"]:
        """The scores of some parts in a row, with hardly any work besides the model's.

        A block of rows holds every coalition of the first players. The others are shown and hidden
        in Gray-code order, so that from block to block one player's positions are rewritten and
        the rest of the rows stays as it is.
        """
        steps = torch.arange(2 ** (len(self.players.names) - self.low) // self._parts())
        gray = steps ^ (steps >> 1)
        others = [part * len(gray) + other for part in parts for other in gray.tolist()]
        blocks = gray_code(self.x, self.players, background, self.low, others)
        found: list[Tensor] = []
        for _ in parts:
            scores = self.batches(islice(blocks, len(gray)), len(gray) << self.low)
            values = scores.new_empty(len(gray), 2**self.low)
            values[gray] = scores.view(len(gray), 2**self.low)
            found.append(values.flatten())
        return torch.cat(found)

    def _mean(self, total: Float[Tensor, " coalitions"]) -> Float[Tensor, " coalitions"]:
        return total / len(self.backgrounds) if len(self.backgrounds) > 1 else total

    def _shared(
        self,
        shared: Shared,
        background: Shaped[Tensor, "*input"],
        generator: torch.Generator,
    ) -> Float[Tensor, " coalitions"] | None:
        """The values by shared work; none if it fails, or the model itself says otherwise."""
        n = len(self.players.names)
        masks = torch.randint(2, (CHECKED, n), generator=generator).bool()
        places = indices(masks)
        if shared.order is not None:
            places = shared.order.cpu().argsort()[places]
        score, narrowed = self.batches.score, shared.narrowed
        kept = KeptRows(shared.rest, places)
        ours = replace(score, model=kept)
        if narrowed is not None:
            ours = replace(ours, read=lambda part, rows: score.read(narrowed.widen(part), rows))
        batches = Batches(ours, self.batches.rows)
        for part, rows in shared.rows.items():
            self._count(part, rows)
        try:
            values = batches(shared.blocks(self.batches.rows), 2**n)
        except Exception:  # if it is the model's own, the plain way will meet it too
            return None
        if values.isnan().any():  # where something was left out that was read after all
            return None
        self._count("all, to check", CHECKED)
        narrow = (lambda output: output) if narrowed is None else narrowed.narrow
        plain = KeptRows(narrow, torch.arange(CHECKED))

        def watched(block: Tensor) -> Tensor:
            output = score.model(block)
            plain(output)
            return output

        batches = Batches(replace(score, model=watched), self.batches.rows)
        masks = masks.to(self.x.device)
        true = _some_values(batches, self.x, self.players, background[None], masks)
        outputs = plain.rows()
        size = size_of(kept.rows(), outputs)
        if not alike(kept.rows(), outputs, size):
            return None
        # Whether a part of the output is enough is seen by what is read from all of it.
        if narrowed is not None and not alike(values[places.to(values.device)], true, size):
            return None
        if shared.order is None:
            return values
        return torch.empty_like(values).scatter_(0, shared.order.to(values.device), values)

    def _count(self, part: str, rows: int) -> None:
        self.rows[part] = self.rows.get(part, 0) + rows


@dataclass
class Batches:
    """Runs a score on rows made from inputs, as many at a time as memory allows.

    Args:
        score: what is read from each row.
        rows: inputs in one call of the model. Where a GPU's memory runs out it is halved.
        writes: found out by the first call.
    """

    score: Score
    rows: int
    writes: bool | None = None
    """Whether the model works in place on its input, so that it is lent a copy."""

    def __call__(
        self,
        blocks: Iterable[Tensor],
        total: int,
        source: Int[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, " rows"]:
        """The scores of all rows. A block may be written over once the next is asked for.

        Without a source, all rows are made from the first input.

        Outputs are copied into one place and let go at once. Kept in a list they would move the
        model's memory about, out of the processor's cache, which can cost a third of the speed.
        """
        values: list[Tensor] = []
        outputs: Tensor | None = None
        filled = read = 0
        for block in blocks:
            for output in self._outputs(block):
                if outputs is None:
                    at_once = max(1, READ_AT_ONCE // max(1, output[0].numel()))
                    capacity = min(total, max(self.rows, at_once))
                    outputs = torch.empty(
                        capacity, *output.shape[1:], dtype=output.dtype, device=output.device
                    )
                if filled + len(output) > len(outputs):
                    values.append(self._read(outputs[:filled], source, read))
                    read, filled = read + filled, 0
                outputs[filled : filled + len(output)] = output
                filled += len(output)
        assert outputs is not None  # there is at least one row
        values.append(self._read(outputs[:filled], source, read))
        return torch.cat(values)

    def _read(
        self, output: Shaped[Tensor, "rows ..."], source: Int[Tensor, " all"] | None, done: int
    ) -> Float[Tensor, " rows"]:
        if source is None:
            made_from = torch.zeros(len(output), dtype=torch.long, device=output.device)
        else:
            made_from = source[done : done + len(output)].to(output.device)
        # A reader may return a view, and the outputs are written over.
        return self.score.of(output, made_from).clone()

    def _outputs(self, block: Shaped[Tensor, "batch *input"]) -> Iterator[Tensor]:
        done = 0
        while done < len(block):
            part = block[done : done + self.rows]
            output = self._output(part)
            if output is None:
                self.rows = (len(part) + 1) // 2
                torch.cuda.empty_cache()
                continue
            done += len(part)
            yield output

    def _output(self, part: Shaped[Tensor, "batch *input"]) -> Tensor | None:
        """What the model puts out, or nothing where memory ran out and fewer rows may fit."""
        lent = part if self.writes is False else part.clone()
        version = lent._version
        try:
            output = self.score.output(lent)
        except torch.cuda.OutOfMemoryError:
            # A part that the model has begun to write on cannot be run again.
            if len(part) == 1 or (lent is part and part._version != version):
                raise
            return None
        if self.writes is None and part.any():  # of zeros much can be made without a change
            self.writes = lent._version != version or not torch.equal(lent, part)
        return output


def _some_values(
    batches: Batches,
    x: Shaped[Tensor, "*input"],
    players: Players,
    backgrounds: Shaped[Tensor, "backgrounds *input"],
    masks: Bool[Tensor, "masks players"],
) -> Float[Tensor, " masks"]:
    """The score of each masked input, averaged over the backgrounds."""

    code = _CODES[x.element_size()]
    shown = x.detach().flatten().view(code)
    hidden = backgrounds.detach().reshape(len(backgrounds), -1).view(code)
    last = len(players.names)
    column = players.owner.to(x.device).long().flatten() % (last + 1)  # -1 finds the last
    together = min(len(masks), max(1, batches.rows // len(hidden)))
    room = hidden.new_empty(together * min(batches.rows, len(hidden)) * len(shown))
    visible = hidden.new_ones(together, last + 1).neg_()  # all bits, for those that always are

    def blocks() -> Iterator[Tensor]:
        # One place, written over, stays in the processor's cache. Bit by bit it is as exact as
        # torch.where, which takes five times as long.
        for some in masks.split(together):
            torch.neg(some.to(code), out=visible[: len(some), :last])
            index = column.expand(len(some), -1)
            for part in hidden.split(batches.rows):
                block = room[: len(some) * part.numel()].view(len(some), len(part), -1)
                if len(hidden) == 1:
                    torch.gather(visible[: len(some)], 1, index, out=block[:, 0])
                    block &= shown ^ part
                else:
                    own = visible[: len(some)].gather(1, index)[:, None]
                    torch.bitwise_and(own, shown ^ part, out=block)
                block ^= part
                yield block.view(-1, *x.shape).view(x.dtype)

    values = batches(blocks(), len(masks) * len(backgrounds))
    return values if len(backgrounds) == 1 else values.view(len(masks), -1).mean(1)


def cached_rows(x: Tensor) -> int:
    """A batch whose inputs and first layers stay in a processor's cache, or that fills a GPU.

    It depends on the size of an input alone, not on a measurement: the last bit of a result may
    change with the batch, and the same call should give the same result.
    """
    # A token's id is one number here, but a vector of many inside the model.
    numbers = x.numel() * (1 if x.is_floating_point() else 64)
    room, most = (2**25, 2**16) if x.is_cuda else (2**18, 2**11)
    rows = max(1, room // max(1, numbers))
    return min(most, max(4, 1 << rows.bit_length() - 1))
