"""Recurrent layers, a step at a time: what is fed in, and what is carried on, each multiplied once.

The layers of PyTorch do both products for every row at every step. Rows that differ only in what
they are fed carry the same on, and rows that are fed the same need that product once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = tuple[tuple[Tensor, ...], ...]
"""What goes from step to step: of each layer its output and, of an LSTM, its cells."""


@dataclass(frozen=True)
class Cell:
    """All layers of a recurrent module, in one direction.

    Args:
        module: an LSTM, a GRU or a plain network; of one layer if it reads in both directions.
        backwards: whether it is the direction that reads the end first.
    """

    module: nn.RNNBase
    backwards: bool = False

    def fed(
        self, lines: Float[Tensor, "lines width"], layer: int = 0
    ) -> Float[Tensor, "lines gates"]:
        """What an input adds to the gates of a layer.

        Args:
            lines: what is fed in.
            layer: its number.
        """
        return self._product(lines, "ih", layer)

    def carried(self, state: State) -> tuple[Tensor, ...]:
        """What the state adds to the gates of each layer.

        Args:
            state: after the step before.
        """
        return tuple(self._product(own[0], "hh", layer) for layer, own in enumerate(state))

    def step(self, fed: Float[Tensor, "..."], carried: tuple[Tensor, ...], state: State) -> State:
        """The state after one more step.

        Args:
            fed: to the first layer; one line for all rows, or one for each.
            carried: from the step before, which stays as it is.
            state: after the step before, which stays as it is.
        """
        after: list[tuple[Tensor, ...]] = []
        for layer, (product, own) in enumerate(zip(carried, state, strict=True)):
            below = fed if layer == 0 else self.fed(after[-1][0], layer)
            if self.module.mode == "LSTM":
                after.append(self._lstm(below, product, own[1], layer))
            elif self.module.mode == "GRU":
                after.append((_gru(below, product, own[0]),))
            elif self.module.mode == "RNN_RELU":
                after.append(((below + product).relu_(),))
            else:
                after.append(((below + product).tanh_(),))
        return tuple(after)

    def _lstm(self, fed: Tensor, carried: Tensor, cells: Tensor, layer: int) -> tuple[Tensor, ...]:
        gates = fed + carried
        take, keep, new, show = gates.chunk(4, 1)
        kept = keep.sigmoid_() * cells
        kept.addcmul_(take.sigmoid_(), new.tanh_())
        shown = kept.tanh().mul_(show.sigmoid_())
        if self.module.proj_size:
            shown = shown @ self._weight("weight_hr", layer).T
        return shown, kept

    def _product(self, lines: Tensor, what: str, layer: int) -> Tensor:
        weight = self._weight(f"weight_{what}", layer)
        if not self.module.bias:
            return lines @ weight.T
        return torch.addmm(self._weight(f"bias_{what}", layer), lines, weight.T)

    def _weight(self, name: str, layer: int) -> Tensor:
        return getattr(self.module, f"{name}_l{layer}{'_reverse' if self.backwards else ''}")


def _gru(fed: Tensor, carried: Tensor, before: Tensor) -> Tensor:
    width = before.shape[1]
    gates = fed[..., : 2 * width] + carried[:, : 2 * width]
    reset, keep = gates.sigmoid_().chunk(2, 1)
    new = torch.addcmul(fed[..., 2 * width :], reset, carried[:, 2 * width :]).tanh_()
    return torch.lerp(new, before, keep)
