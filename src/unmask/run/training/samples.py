"""The samples that a training is watched on, and what the logic of a network is on them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.game import Game
from unmask.interactions import and_or_games
from unmask.interactions.terms.stacked import LARGEST
from unmask.lattice import indices
from unmask.masking import masked
from unmask.players import Players
from unmask.results import Interactions
from unmask.run.training.undisturbed import moved
from unmask.score import Score

MakeScore = Callable[[nn.Module, int], Score]
"""From a model and a class to the number that is explained."""


@dataclass(frozen=True)
class Samples:
    """Inputs, and the games that networks play on them.

    Args:
        x: one tensor per sample, without a batch axis; texts may differ in length.
        targets: the class of each.
        players: of each.
        baselines: of each.
        titles: how each is called.
    """

    x: tuple[Tensor, ...]
    targets: tuple[int, ...]
    players: tuple[Players, ...]
    baselines: tuple[Tensor, ...]
    titles: tuple[str, ...]

    @classmethod
    def of(
        cls,
        x: Tensor | Sequence[Tensor],
        targets: Int[Tensor, " samples"] | Sequence[int],
        players: Players | Sequence[Players],
        baseline: Tensor | Sequence[Tensor],
        titles: Sequence[str] | None = None,
    ) -> "Samples":
        """Samples from a batch or a list, with players and baselines for all or one for each.

        Args:
            x: a batch, or a list of inputs.
            targets: the class of each.
            players: of all, or a list of one for each.
            baseline: of all, or a list of one for each.
            titles: of each; by default its number and its class.
        """
        inputs = tuple(one.detach().cpu().clone() for one in x)
        classes = tuple(map(_class, targets))
        count = len(inputs)
        parts = (players,) * count if isinstance(players, Players) else tuple(players)
        hidden = (baseline,) * count if isinstance(baseline, Tensor) else tuple(baseline)
        called = (
            tuple(map(str, titles))
            if titles is not None
            else tuple(f"sample {i + 1}, class {one}" for i, one in enumerate(classes))
        )
        found = {"targets": len(classes), "players": len(parts), "baselines": len(hidden)}
        if titles is not None:
            found["titles"] = len(called)
        odd = [f"{number} {what}" for what, number in found.items() if number != count]
        if count == 0 or odd:
            raise ValueError(
                f"There are {count} samples, but {', '.join(odd) or 'one is needed at least'}. "
                "Give a target for each, and players and a baseline for all or for each."
            )
        for number, (one, own, nothing) in enumerate(zip(inputs, parts, hidden, strict=True)):
            if one.shape != own.owner.shape:
                raise ValueError(
                    f"The players of sample {number} label positions of shape "
                    f"{tuple(own.owner.shape)}, but it has shape {tuple(one.shape)}. Give samples "
                    "with the batch as first axis, and players of one of them."
                )
            if len(own.names) > LARGEST:
                raise ValueError(
                    f"Sample {number} has {len(own.names)} players, but at most {LARGEST} can be "
                    "followed. Group them into fewer, larger parts; ten are usual."
                )
            if one.shape not in (nothing.shape, nothing.shape[1:]):
                raise ValueError(
                    f"The baseline of sample {number} has shape {tuple(nothing.shape)}, but it has "
                    f"shape {tuple(one.shape)}. Give one of its shape, or a set of them with one "
                    "axis more in front."
                )
            for what, tensor in (("Sample", one), ("The baseline of sample", nothing)):
                if not tensor.isfinite().all():
                    raise ValueError(
                        f"{what} {number} holds numbers that are not finite. Impute or drop them."
                    )
        numbers = {len(own.names) for own in parts}
        if len(numbers) > 1:
            raise ValueError(
                f"Orders are compared among samples of equally many players, but these have "
                f"{', '.join(map(str, sorted(numbers)))}. Choose as many words or patches of each; "
                "the others are then never hidden."
            )
        nothings = tuple(one.detach().cpu() for one in hidden)
        return cls(inputs, classes, parts, nothings, called)

    @property
    def passes(self) -> int:
        """Inputs that a model is run on at one step: all masks, and each sample as it is."""
        masks = sum(
            2 ** len(players.names) * (len(baseline) if baseline.ndim > x.ndim else 1)
            for x, players, baseline in zip(self.x, self.players, self.baselines, strict=True)
        )
        return masks + len(self.x)

    @property
    def digest(self) -> str:
        """A hash of all that the games are made from."""
        found = hashlib.sha256()
        for x, players, baseline in zip(self.x, self.players, self.baselines, strict=True):
            for tensor in (x, players.owner, baseline):
                found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def tables(
        self, model: nn.Module, score: MakeScore, batch_size: int | None
    ) -> list[Float[Tensor, " coalitions"]]:
        """The values of all coalitions of each sample; they may not be finite.

        Args:
            model: in evaluation mode.
            score: makes what is read.
            batch_size: inputs in one call of the model.
        """
        found: list[Tensor] = []
        for x, target, players, baseline in zip(
            self.x, self.targets, self.players, self.baselines, strict=True
        ):
            read = score(model, target)
            game = masked(
                read, moved(x, model), players, moved(baseline, model), batch_size=batch_size
            )
            assert game.everything is not None  # the games of `masked` have it
            found.append(game.everything().double().cpu())
        return found

    def terms(
        self, tables: Sequence[Float[Tensor, " coalitions"]], precision: float
    ) -> tuple[Interactions, ...]:
        """The sparsest AND-OR terms, those of equally many players solved together.

        Args:
            tables: finite values.
            precision: the gap at which to stop.
        """
        games = [
            Game(
                lambda masks, table=table: table[indices(masks)],
                own.names,
                lambda table=table: table,
            )
            for table, own in zip(tables, self.players, strict=True)
        ]
        return and_or_games(games, precision=precision)

    def predicted(self, model: nn.Module, score: MakeScore) -> tuple[int, ...]:
        """The class that the model chooses for each sample.

        Of a model whose output is no row of classes it is whether the score is positive.

        Args:
            model: in evaluation mode.
            score: makes what is read.
        """
        chosen: list[int] = []
        for x, target in zip(self.x, self.targets, strict=True):
            read = score(model, target)
            output = read.output(moved(x, model)[None])
            if output.ndim == 2 and output.shape[1] > 1:
                chosen.append(int(output[0].argmax()))
            else:
                chosen.append(int(read.of(output)[0] > 0))
        return tuple(chosen)


def _class(target: object) -> int:
    try:
        return index(target.item() if isinstance(target, Tensor) else target)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise TypeError(
            f"The target of a sample is the number of its class, but got {target!r}. Give whole "
            "numbers from 0 on."
        ) from None
