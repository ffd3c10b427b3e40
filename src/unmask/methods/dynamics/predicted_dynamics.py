"""The course of training as theory predicts it: interactions under noise that dies away."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, log

import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, means, middle, resampled, surrounded
from unmask.card import method
from unmask.interactions.terms.orders import mean_order, order_shares, total_variation
from unmask.interactions.terms.snapshot import Snapshot
from unmask.interactions.terms.stacked import stacked
from unmask.methods.dynamics.shrunken import (
    coordinates,
    dividends,
    from_coordinates,
    least_root,
)
from unmask.results import Measurement

_PER_DECADE = 20
_MOST = 100.0
_LEAST = 1e-4
_BOUNDS = {
    "distance": (0.0, 1.0),
    "distance_without_noise": (0.0, 1.0),
    "mean_distance": (0.0, 1.0),
    "mean_distance_without_noise": (0.0, 1.0),
    "divergence": (0.0, torch.inf),
    "rank_correlation": (-1.0, 1.0),
}


@method("ren2024towards")
def predicted_dynamics(
    history: Sequence[Snapshot],
    *,
    ands_alone: bool = True,
    since: int | None = None,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Set the orders of every checkpoint beside those that the theory of noise predicts.

    $$
    \hat w(\sigma) = (J^\top J + 2^n \mathrm{diag}(c))^{-1} J^\top J\, w, \quad
    c_S = 2^{|S|} \sigma^2, \qquad
    \sigma_t = \arg\min_\sigma \tfrac12 \sum_k |D_t(k) - \hat D_\sigma(k)|
    $$

    Training is seen as a regression on the terms of the finished network, w, whose triggers are
    noisy, the more so the more players they have; what it finds is $\hat w$, and with falling noise
    higher orders come in. One sigma is fitted to each checkpoint, so that one number has to
    explain n shares of strength. D_t and $\hat D_\sigma$ are the shares of each order, averaged
    over inputs, no term left out.

    The theory is one of AND terms, so that the terms of every network are first written as ANDs
    alone, its dividends. With `ands_alone=False` AND and OR are kept: an OR is an AND of the
    complemented game, and both are shrunken, each by itself; of a single player they are then
    added up. That is a reading of our own, for nothing says how noise would split a game into the
    two, and the worse one: of LeNet on MNIST (one seed, 120 inputs) it fits no better than w itself
    does, while dividends do. The value of the empty coalition is no term.

    The theory speaks of the second phase only. It holds as far as `distance` lies below
    `distance_without_noise`, that of w itself, and as far as the noise falls: `rank_correlation` of
    noise and step from the step of least mean order on (or `since`), -1 if it falls throughout.
    The last checkpoint counts for neither, as w is its own. How the paper chooses sigma could
    not be made out, nor whether it leaves weak terms out; this choice is ours. Noise is sought from
    where it changes nothing to 100; a fitted value at an end says that none fits better within.

    Numbers: `inputs`; `phase_two`, the step from which the correlation is taken; `checkpoints` in
    it; `rank_correlation`, NaN with fewer than three of them; `mean_distance` and
    `mean_distance_without_noise` over these checkpoints. Curves over `step`: `noise`,
    sigma^2; `distance`, total variation; `distance_without_noise`; `divergence`, that of Kullback
    and Leibler of the real from the predicted, infinite where nothing was predicted and something
    is; `mean_order` and `predicted_mean_order`. All but the counts with `_low` and `_high`, a
    bootstrap over inputs.

    Args:
        history: snapshots of the same inputs; the last is taken for the truth.
        ands_alone: whether to write the terms as ANDs alone.
        since: the step at which phase two begins, if it is known.
        draws: of the bootstrap.
        confidence: of the intervals.
        generator: source of the draws.

    >>> import torch
    >>> from unmask.interactions import Snapshot, and_interaction
    >>> from unmask import Game
    >>> def network(v):
    ...     return (and_interaction(Game(lambda masks: v, ("a", "b", "c"), lambda: v)),)
    >>> table = torch.tensor([0.0, 1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 9.0])
    >>> history = [Snapshot(0, network(table.clamp(max=3.0))), Snapshot(10, network(table))]
    >>> noise = predicted_dynamics(history).curves["noise"]
    >>> bool(noise[0] > noise[1])
    True
    """
    real, effects = _read(history, dividends if ands_alone else lambda stack: stack)
    steps = torch.tensor([float(snapshot.step) for snapshot in history]).to(real)
    alike = torch.full((1, len(real)), 1 / len(real), dtype=torch.float64)
    centres = mean_order(means(alike, real)[0]).nan_to_num(torch.inf)
    start = float(steps[centres.argmin()]) if since is None else float(since)
    phase = ((steps >= start) & (steps < steps[-1])).nonzero()[:, 0]
    theory = _theory(effects)
    final = order_shares(effects)

    def described(
        weights: Float[Tensor, "draws inputs"],
        level: Float[Tensor, "draws checkpoints"],
        best: Float[Tensor, "draws checkpoints orders"],
    ) -> dict[str, Tensor]:
        ours, plain = means(weights, real), means(weights, final)[:, None]
        return _compared(ours, level, best, plain, phase)

    if generator is None:
        generator = torch.Generator().manual_seed(0)
    level, best = theory.fitted(means(alike, real)[0])
    weights = resampled(len(real), draws, generator)
    drawn = described(weights, *theory.nearest(weights, means(weights, real)))
    found = surrounded(
        {name: value[0] for name, value in described(alike, level[None], best[None]).items()},
        drawn,
        confidence,
        _BOUNDS,
    )
    # Where the nearest noise lies is no mean: its draws may jump, and are taken as they fall.
    found["noise_low"], found["noise_high"] = middle(drawn["noise"], confidence)
    numbers = {"inputs": float(len(real)), "phase_two": start, "checkpoints": float(len(phase))}
    return Measurement(
        numbers | {name: float(value) for name, value in found.items() if value.dim() == 0},
        {"step": steps} | {name: value for name, value in found.items() if value.dim()},
        {
            "mean order": ("step", "mean_order", "predicted_mean_order"),
            "distance": ("step", "distance", "distance_without_noise"),
            "noise": ("step", "noise"),
            "divergence": ("step", "divergence"),
        },
    )


def predicted_shares(
    effects: Float[Tensor, "inputs kinds coalitions"], noise: float
) -> Float[Tensor, "inputs orders"]:
    """The share of each order in what noise leaves of effects.

    Args:
        effects: of the finished network, as `stacked` gives them, or `dividends` of them.
        noise: sigma^2.
    """
    return _shares(coordinates(effects), noise)


def _shares(
    coordinates: Float[Tensor, "inputs kinds coalitions"], noise: float
) -> Float[Tensor, "inputs orders"]:
    left = from_coordinates(coordinates, noise)
    singles = 2 ** torch.arange(left.shape[-1].bit_length() - 1)
    left[:, 0, singles] += left[:, 1, singles]  # an OR of one player is an AND, as in the data
    left[:, 1, singles] = 0
    return order_shares(left)


@dataclass(frozen=True)
class _Theory:
    """The shares of each order that theory predicts from given effects, for any noise.

    Args:
        coordinates: of the effects, in the basis where noise only shortens them.
        levels: logarithms of noise.
        grid: the shares at each.
    """

    coordinates: Float[Tensor, "inputs kinds coalitions"]
    levels: Float[Tensor, " levels"]
    grid: Float[Tensor, "inputs levels orders"]

    def shares(self, level: float) -> Float[Tensor, "inputs orders"]:
        """At one level, the logarithm of the noise."""
        return _shares(self.coordinates, exp(level))

    def nearest(
        self,
        weights: Float[Tensor, "draws inputs"],
        real: Float[Tensor, "draws checkpoints orders"],
    ) -> tuple[Float[Tensor, "draws checkpoints"], Float[Tensor, "draws checkpoints orders"]]:
        """The level of the grid that predicts each checkpoint best, and what it predicts."""
        profiles = means(weights, self.grid)
        place = torch.stack(
            [total_variation(profiles, one[:, None]).argmin(-1) for one in real.unbind(1)], 1
        )
        best = profiles.gather(1, place[..., None].expand(*place.shape, profiles.shape[-1]))
        return self.levels[place], best

    def fitted(
        self, real: Float[Tensor, "checkpoints orders"]
    ) -> tuple[Float[Tensor, " checkpoints"], Float[Tensor, "checkpoints orders"]]:
        """The same for all inputs alike, to more digits than the grid has."""
        inputs = len(self.coordinates)
        alike = torch.full((1, inputs), 1 / inputs, dtype=torch.float64)
        first, second, last = self.levels[[0, 1, -1]].tolist()
        step = second - first
        level = self.nearest(alike, real[None])[0][0].tolist()
        for i, shares in enumerate(real):

            def distance(level: float, shares: Tensor = shares) -> float:
                return float(total_variation(means(alike, self.shares(level))[0], shares))

            bounds = (max(level[i] - step, first), min(level[i] + step, last))
            found = minimize_scalar(distance, bounds=bounds, method="bounded")
            if found.fun < distance(level[i]):
                level[i] = float(found.x)
        best = torch.stack([means(alike, self.shares(one))[0] for one in level])
        return torch.tensor(level).to(real), best


def _theory(effects: Float[Tensor, "inputs kinds coalitions"]) -> _Theory:
    """Predictions from where noise takes 0.01 % of the weakest coordinate to 100."""
    there, coalitions = coordinates(effects), effects.shape[-1]
    low = log(least_root(coalitions.bit_length() - 1) / coalitions * _LEAST)
    count = ceil((log(_MOST) - low) / log(10) * _PER_DECADE) + 1
    levels = torch.linspace(low, log(_MOST), count).to(there)
    return _Theory(there, levels, torch.stack([_shares(there, exp(v)) for v in levels.tolist()], 1))


def _compared(
    real: Float[Tensor, "draws checkpoints orders"],
    level: Float[Tensor, "draws checkpoints"],
    best: Float[Tensor, "draws checkpoints orders"],
    plain: Float[Tensor, "draws final orders"],
    phase: Int[Tensor, " phase"],
) -> dict[str, Tensor]:
    """How near the prediction comes, at each checkpoint and over the second phase."""
    level = torch.where(real.isnan().any(-1), torch.nan, level)
    found = {
        "noise": level.exp(),
        "distance": total_variation(real, best),
        "distance_without_noise": total_variation(real, plain),
        "divergence": torch.special.xlogy(real, real / best).sum(-1),
        "mean_order": mean_order(real),
        "predicted_mean_order": mean_order(best),
    }
    if len(phase) < 3:
        return found
    for name in ("distance", "distance_without_noise"):
        found[f"mean_{name}"] = found[name][:, phase].mean(-1)
    return found | {"rank_correlation": _rank_correlation(level[:, phase])}


def _rank_correlation(levels: Float[Tensor, "draws phase"]) -> Float[Tensor, " draws"]:
    """Spearman's, of each row with its places."""
    ranks = torch.as_tensor(rankdata(levels.cpu().numpy(), axis=1)).to(levels)
    place = torch.arange(levels.shape[1]).to(levels)
    ranks, place = ranks - ranks.mean(-1, keepdim=True), place - place.mean()
    return (ranks @ place) / (ranks.square().sum(-1) * place.square().sum()).sqrt()


def _read(
    history: Sequence[Snapshot], written: Callable[[Tensor], Tensor]
) -> tuple[Float[Tensor, "inputs checkpoints orders"], Float[Tensor, "inputs kinds coalitions"]]:
    """The shares of each order at every checkpoint, and the effects at the last."""
    steps = [snapshot.step for snapshot in history]
    if len(steps) < 2 or any(one >= two for one, two in pairwise(steps)):
        raise ValueError(
            f"A history goes from checkpoint to later checkpoint, but its steps are {steps}. Give "
            "two snapshots or more, in the order of training."
        )
    shapes = sorted({(len(one.terms), len(term.names)) for one in history for term in one.terms})
    if len(shapes) != 1:
        raise ValueError(
            "A history follows the same inputs with the same players, but its inputs and players "
            f"are {', '.join(f'{inputs} and {players}' for inputs, players in shapes) or 'none'}. "
            "Explain the same at every checkpoint."
        )
    effects = written(stacked(history[-1].terms))
    if not effects.any():
        raise ValueError(
            f"The last checkpoint, at step {steps[-1]}, has no term on any input, so that nothing "
            "can be predicted. Give a network whose output depends on its input."
        )
    return torch.stack([order_shares(written(stacked(one.terms))) for one in history], 1), effects
