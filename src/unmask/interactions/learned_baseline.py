"""Learned baselines: what stands for "hidden", chosen so that the fewest terms are left."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.admission import one_baseline_for
from unmask.card import method
from unmask.game import LARGEST_TABLE
from unmask.interactions.solver.dual import of_ands, of_sparsest
from unmask.internals import admit, plain, refuse_broken, value_and_gradient
from unmask.masking import cached_rows
from unmask.players import Players
from unmask.results import Synthesis
from unmask.score import Score

SHORTEST = 1e-7
"""A step of less than this share of the box is none; the search is over."""
LONGER, SHORTER = 1.5, 0.5
"""What becomes of the length after a step that was taken, and after one that was not. With 1.2 to
2 and 0.5 to 0.7, L on breast_cancer ended within 4 % of each other."""


@method("ren2023defining")
def learned_baseline(
    score: Score,
    data: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    players: Players,
    radius: float | Float[Tensor, "*reach"],
    ands_only: bool = False,
    steps: int = 50,
    rate: float = 0.1,
    precision: float = 1e-3,
    batch_size: int | None = None,
) -> Synthesis:
    r"""Learn the one baseline of many inputs with which their interactions are the sparsest.

    $$
    \min_b \frac1K \sum_{k=1}^K \min_{\text{terms of } v_k} \sum_T |I(T)|, \qquad
    v_k(S) = F\bigl(m_S \odot x_k + (1 - m_S) \odot b\bigr), \qquad |b - b_0| \le \mathrm{radius}
    $$

    A baseline that does not hide what it should leaves its own traces in the game, and these
    show as further terms. The L1 norm of the sparsest AND-OR terms is a maximum over all dual
    vectors u that keep the limits of the linear programme, $L = \max_u \langle u, v \rangle$, so
    that the best of them is the derivative of L by v and leads to the exact one by b:

    $$
    \frac{\partial L}{\partial b} = \sum_S u(S)\, (1 - m_S) \odot
        \nabla F\bigl(m_S \odot x + (1 - m_S) \odot b\bigr)
    $$

    Where several u are best, L has a kink, and this is one of its subgradients. Steps go down
    along it, the box being the unit of length, and are pressed into the box. One that does not
    make the terms sparser is not taken, and the next is half as long; so `trace` never rises. It
    holds L before the first step and after each of the `steps`, and `score` is the last of these.
    What is found is a local minimum at best, and on a kink the search may stop above it.

    A small L is no proof of a good baseline: a baseline that equals an input hides nothing of it,
    and then no term is left at all. This is why the radius must be given, why there should be many
    inputs, and why L is to be read beside the change F(x) - F(b) that the terms have to make up.

    The networks of the paper were explained by AND terms alone, whose L1 norm is lessened if
    `ands_only`; the scale of the steps and the rule for their length are ours. Every step runs
    the model on all coalitions of all inputs, and once more with gradients where it is taken.

    Args:
        score: F, differentiable in its input.
        data: the inputs x that share the baseline; one class for all or one each.
        baseline: b at the beginning, and the middle of the box.
        players: who owns which position; what nobody owns is never hidden, and stays as it is.
        radius: how far each number may move from where it begins, one for all or one for each. Of
            words the paper takes 0.05 standard deviations of the vocabulary's embeddings.
        ands_only: lessen the L1 norm of the AND terms, not of the sparsest AND-OR terms.
        steps: baselines to try.
        rate: how far the first step moves the number that moves most, as a share of the radius.
        precision: of L, the largest relative gap between the terms found and the least possible.
        batch_size: inputs in one call of the model.

    >>> from unmask import constant, features
    >>> data = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    >>> product = Score(lambda x: (x - 0.25).prod(1, keepdim=True), lambda y, rows: y[:, 0])
    >>> begin = torch.tensor([0.0, 0.5])
    >>> found = learned_baseline(product, data, baseline=begin, players=features(2), radius=0.5)
    >>> bool((found.inputs - 0.25).abs().max() < 0.02)
    True
    """
    admit(score, data, batch_size)
    players.refuse_other(data.shape[1:])
    _admit(players, steps, rate, precision)
    data = plain(data)
    start = one_baseline_for(data[0], baseline)
    reach = _reach(radius, start)
    begin = start.to(reach.dtype)
    rows = cached_rows(data[0]) if batch_size is None else batch_size
    hiding = _Hiding(score, data, players, rows)

    at, l1, pull = begin, *_proven(hiding.tables(start), ands_only, precision)
    slope = hiding.slope(start, pull) * reach
    trace, length = [float(l1)], rate
    for _ in range(steps):
        # What would only be pressed back into the box is no part of the direction.
        open_ = torch.where(slope > 0, at > begin - reach, at < begin + reach)
        steepest = (slope * open_).abs().max()
        if length >= SHORTEST and steepest > 0:
            tried = at - length * reach * slope * open_ / steepest
            tried = tried.clamp(begin - reach, begin + reach)
            tables = hiding.tables(tried.to(data.dtype))
            # The old u keeps its limits whatever the game, so that it bounds the new L from below.
            least = (pull * tables).sum(1).mean()
            found = None if least >= l1 else _proven(tables, ands_only, precision)
            if found is not None and found[0] < l1:
                at, (l1, pull) = tried, found
                slope = hiding.slope(at.to(data.dtype), pull) * reach
                length = min(1.0, length * LONGER)
            else:
                length *= SHORTER
        trace.append(float(l1))
    kept = torch.promote_types(data.dtype, torch.float32)
    values = torch.tensor([trace], dtype=kept, device=data.device)
    return Synthesis(at.to(data.dtype)[None], values[:, -1], values)


@dataclass(frozen=True)
class _Hiding:
    """All inputs under all coalitions, with whatever baseline.

    Args:
        score: F.
        data: the inputs.
        players: of each.
        rows: hidden inputs in one call of the model.
    """

    score: Score
    data: Float[Tensor, "batch *input"]
    players: Players
    rows: int

    def tables(self, baseline: Float[Tensor, "*input"]) -> Float[Tensor, "batch coalitions"]:
        """The game of each input, in lattice order."""
        count = 2 ** len(self.players.names)
        total, device = len(self.data) * count, self.data.device
        with torch.inference_mode(False), torch.no_grad():
            values = torch.empty(total, dtype=torch.float64, device=device)
            for places in torch.arange(total, device=device).split(self.rows):
                index, visible = self._shown(places)
                found = self.score(torch.where(visible, self.data[index], baseline), index)
                refuse_broken(self.score, found)
                values[places] = found.double()
        return values.view(len(self.data), count)

    def slope(
        self, baseline: Float[Tensor, "*input"], pull: Float[Tensor, "batch coalitions"]
    ) -> Float[Tensor, "*input"]:
        """The derivative by the baseline of the mean of <u, v>, u being the pull."""
        kept = torch.promote_types(self.data.dtype, torch.float32)
        total = torch.zeros(self.data.shape[1:], dtype=kept, device=self.data.device)
        weight = pull.clone()
        weight[:, -1] = 0  # where all take part nothing is hidden
        weight = weight.flatten()
        felt = weight.nonzero()[:, 0]
        for places in felt.split(self.rows) if len(felt) else ():
            index, visible = self._shown(places)
            points = torch.where(visible, self.data[index], baseline)
            _, gradient = value_and_gradient(self.score, points, index)
            hidden = torch.where(visible, 0, gradient.to(kept)).flatten(1)
            total += (weight[places].to(kept) @ hidden).view_as(total)
        return total / len(self.data)

    def _shown(
        self, places: Int[Tensor, " rows"]
    ) -> tuple[Int[Tensor, " rows"], Bool[Tensor, "rows *input"]]:
        """Which input each place is of, and what of it is visible."""
        n = len(self.players.names)
        bits = torch.arange(n, device=places.device)
        return places >> n, self.players.cover((places[:, None] >> bits & 1).bool())


def _proven(
    tables: Float[Tensor, "batch coalitions"], ands_only: bool, precision: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch coalitions"]]:
    """The mean of the L1 norms, and of each game the u that proves it."""
    found = of_ands(tables) if ands_only else of_sparsest(tables, precision=precision)
    return found.l1.mean(), found.weight


def _reach(
    radius: float | Float[Tensor, "*reach"], start: Float[Tensor, "*input"]
) -> Float[Tensor, "*input"]:
    """Half the box, number by number, in a type that holds small steps."""
    kept = torch.promote_types(start.dtype, torch.float32)
    if not isinstance(radius, Tensor):
        radius = torch.tensor(float(radius), dtype=kept)
    reach = radius.detach().to(start.device, kept)
    if reach.ndim > 0 and reach.shape != start.shape:
        raise ValueError(
            f"The radius is one number, or one for each of the baseline's {tuple(start.shape)}, "
            f"but has shape {tuple(reach.shape)}. Give a tensor shaped like the baseline."
        )
    if not bool(reach.isfinite().all() & (reach >= 0).all() & (reach > 0).any()):
        raise ValueError(
            f"The radius says how far the baseline may move, but is {radius}. Give a finite number "
            "above zero; of a tensor some may be zero, where the baseline stays as it is."
        )
    return reach.expand_as(start)


def _admit(players: Players, steps: int, rate: float, precision: float) -> None:
    n = len(players.names)
    if n > LARGEST_TABLE:
        raise ValueError(
            f"{n} players have 2^{n} coalitions; at most {LARGEST_TABLE} players fit a table. "
            "Group the players into fewer, larger parts."
        )
    if steps < 1:
        raise ValueError(f"A baseline is learned in steps, but steps is {steps}. Give at least 1.")
    if not 0 < rate <= 1:
        raise ValueError(
            f"The rate is the share of the radius that the first step goes, but is {rate}. "
            "Give a number above 0, up to 1."
        )
    if not 0 < precision < 1:
        raise ValueError(
            f"The precision is a relative gap between 0 and 1, but is {precision}. "
            "Give a small number such as 0.001."
        )
