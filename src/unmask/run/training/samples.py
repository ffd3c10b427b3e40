"""The samples that a training is watched on, and what the logic of a network is on them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask.game import LARGEST_TABLE, Game
from unmask.interactions import and_or_games
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
    """

    x: tuple[Tensor, ...]
    targets: tuple[int, ...]
    players: tuple[Players, ...]
    baselines: tuple[Tensor, ...]

    @classmethod
    def of(
        cls,
        x: Tensor | Sequence[Tensor],
        targets: Int[Tensor, " samples"] | Sequence[int],
        players: Players | Sequence[Players],
        baseline: Tensor | Sequence[Tensor],
    ) -> "Samples":
        """Samples from a batch or a list, with players and baselines for all or one for each."""
        inputs = tuple(one.detach().cpu().clone() for one in x)
        classes = tuple(int(one) for one in targets)
        count = len(inputs)
        parts = (players,) * count if isinstance(players, Players) else tuple(players)
        hidden = (baseline,) * count if isinstance(baseline, Tensor) else tuple(baseline)
        found = {"targets": len(classes), "players": len(parts), "baselines": len(hidden)}
        odd = [f"{number} {what}" for what, number in found.items() if number != count]
        if count == 0 or odd:
            raise ValueError(
                f"There are {count} samples, but {', '.join(odd) or 'one is needed at least'}. "
                "Give a target for each, and players and a baseline for all or for each."
            )
        for number, (one, own) in enumerate(zip(inputs, parts, strict=True)):
            if one.shape != own.owner.shape:
                raise ValueError(
                    f"The players of sample {number} label positions of shape "
                    f"{tuple(own.owner.shape)}, but it has shape {tuple(one.shape)}. Give samples "
                    "with the batch as first axis, and players of one of them."
                )
            if len(own.names) > LARGEST_TABLE:
                raise ValueError(
                    f"Sample {number} has {len(own.names)} players, at most {LARGEST_TABLE} fit a "
                    "table. Group them into fewer, larger parts; ten are usual."
                )
        numbers = {len(own.names) for own in parts}
        if len(numbers) > 1:
            raise ValueError(
                f"Orders are compared among samples of equally many players, but these have "
                f"{', '.join(map(str, sorted(numbers)))}. Choose as many words or patches of each; "
                "the others are then never hidden."
            )
        return cls(inputs, classes, parts, tuple(one.detach().cpu() for one in hidden))

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
