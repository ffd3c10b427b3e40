"""Whether the second phase of training has begun, asked again at every checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.admission import drawing
from unmask.card import method
from unmask.interactions.terms.snapshot import Snapshot
from unmask.methods.dynamics.bent_line import shoulders, valley
from unmask.methods.dynamics.centre_curves import CentreCurves, centre_curves
from unmask.methods.dynamics.rising import FEWEST, lowest, noise_of, rising
from unmask.results import Measurement

_HALF = 12
"""Looks by which half of the allowed chance of a false alarm is spent."""
_DRAWS = 500
_FALLS = 2000
"""Draws behind a p-value that is compared with the level itself, not with a share of it."""
_TAILS = (0.05, 0.95)


@method("zhang2024two")
def phase_two_begun(
    history: Sequence[Snapshot],
    *,
    tau: float = 0.0,
    least: float = 0.01,
    level: float = 0.05,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Tell during training whether interactions have begun to grow more complex, and how surely.

    `two_phase` looks back at a whole training. Here the same question is asked at each checkpoint
    of what is known by then, and who looks often enough will see a rise in noise. So the k-th
    look, the first being at the fifth checkpoint, may take only a share $w_k$ of the chance of a
    false alarm:

    $$
    p_K = \min_{k \le K} \frac{p(T_k)}{w_k}, \qquad w_k = \frac{h}{(h + k - 1)(h + k)}, \qquad
    \sum_{k=1}^\infty w_k = 1
    $$

    $T_k$ is the strongest rise of the mean order in windows that end at that checkpoint, and
    p(T) how often a course that never rises would show one as strong (see `two_phase`). Of all
    trainings whose mean order never rises, at most the share `level` is ever told to have begun
    phase two, however long one goes on looking. h is 12, by which half is spent. The looks depend
    on each other, so that the share is really smaller.

    Phase two follows phase one. It has `begun` if $p_K$ is at most the `level`, counting only
    windows that begin at the lowest point so far (less one checkpoint) or later; if a fall before
    that point is as sure; and if the rise since then is at least the share `least` of n. A network
    whose order rises from the beginning has begun nothing that ended a phase one: see `p_fall`.

    Numbers: `begun`; `p_value`, $p_K$, at most 1; `p_fall`; `since`, the step of the switch, with
    `since_low` and `since_high`; `rise`, in shares of n; `looks`. Curves: `step`, `mean_order`, and
    `chance`, what the p-value was at each checkpoint, 1 where nothing could be said.

    Args:
        history: the same inputs at five checkpoints or more, at steps that grow by a factor;
            training inputs serve, no test set is needed.
        tau: the least strength of a term that counts, relative to the strongest of its input.
        least: the smallest rise that is told, in shares of n.
        level: the allowed chance of ever giving a false alarm.
        generator: source of the draws.

    >>> from unmask.interactions import and_interaction
    >>> from unmask import Game
    >>> def at(step, pair):  # two players alone, and together
    ...     game = Game(lambda s: s.sum(1) + pair * s.all(1).double(), ("a", "b"))
    ...     return Snapshot(step, (and_interaction(game),))
    >>> pairs = {0: 8.0, 2: 4.0, 8: 2.0, 30: 1.0, 100: 0.5}
    >>> phase_two_begun([at(step, pair) for step, pair in pairs.items()]).numbers["begun"]
    0.0
    """
    _check(least, level)
    curves = centre_curves(history, tau, FEWEST)
    if generator is not None:
        drawing(generator)  # refuses what is none
    looks = [look(curves.until(count), generator) for count in range(FEWEST, len(curves.steps) + 1)]
    found = verdict(curves, looks, least, level)
    device = history[0].terms[0].effects.device
    return Measurement(found.numbers, {name: one.to(device) for name, one in found.curves.items()})


@dataclass(frozen=True)
class Look:
    """What one checkpoint shows.

    Args:
        rise: p-values of a rise up to this checkpoint, of the windows from each one on.
        fall: p-values of a fall up to each checkpoint.
    """

    rise: Float[Tensor, " checkpoints"]
    fall: Float[Tensor, " checkpoints"]


def look(curves: CentreCurves, generator: torch.Generator | None = None) -> Look:
    """Look at the last checkpoint, in the light of those before.

    Args:
        curves: what is known by then.
        generator: source of the draws; without one, that of this number of checkpoints.
    """
    count = len(curves.steps)
    if generator is None:
        generator = torch.Generator().manual_seed(count)
    ending = rising(curves.times, curves.orders, at_the_end=True, generator=generator)
    whole = rising(curves.times, curves.orders, at_the_end=False, generator=generator, draws=_FALLS)
    return Look(
        torch.tensor([ending.of_a_rise(begin) for begin in range(count)], dtype=torch.float64),
        torch.tensor([whole.of_a_fall(end) for end in range(count)], dtype=torch.float64),
    )


def verdict(curves: CentreCurves, looks: Sequence[Look], least: float, level: float) -> Measurement:
    """What the looks so far say together.

    Args:
        curves: what is known at the last look.
        looks: one per checkpoint, from the fifth on.
        least: the smallest rise that is told, in shares of n.
        level: the allowed chance of ever giving a false alarm.
    """
    mean = curves.orders.mean(0)
    turn = lowest(mean)
    begin = max(0, turn - 1)
    chances = torch.ones(len(mean), dtype=torch.float64)
    for k, one in enumerate(looks, start=1):
        here = FEWEST + k - 2
        share = _HALF / ((_HALF + k - 1) * (_HALF + k))
        found = float(one.rise[begin]) / share if begin < len(one.rise) else 1.0
        chances[here] = min(float(chances[here - 1]), found, 1.0)
    p_value = float(chances[-1])
    p_fall = float(looks[-1].fall[min(turn + 1, len(mean) - 1)])
    rise = float(mean[-1] - mean[turn]) / curves.players
    place, low, high = _since(curves)
    return Measurement(
        {
            "begun": float(p_value <= level and p_fall <= level and rise >= least),
            "p_value": p_value,
            "p_fall": p_fall,
            "since": place,
            "since_low": low,
            "since_high": high,
            "rise": rise,
            "looks": float(len(looks)),
        },
        {"step": curves.steps, "mean_order": mean, "chance": chances},
    )


def _since(curves: CentreCurves) -> tuple[float, float, float]:
    """The step of the switch, with bounds of 90 %."""
    noise = noise_of(curves.times, curves.orders)
    mean = curves.orders.mean(0)
    drawn = noise.around(curves.orders, _DRAWS, torch.Generator().manual_seed(0))
    weights = noise.weights
    shown = curves.times.clamp(*shoulders(curves.times, mean, weights))
    place = valley(shown, torch.cat([mean[None], drawn]), weights).place.expm1()
    low, high = place[1:].quantile(torch.tensor(_TAILS, dtype=place.dtype)).tolist()
    return float(place[0]), low, high


def _check(least: float, level: float) -> None:
    if not 0 <= least <= 1:
        raise ValueError(
            f"least is a share of the number of players, but got {least}. "
            "Give a number from 0 to 1, such as 0.01."
        )
    if not 0 < level < 1:
        raise ValueError(
            f"The level is a chance of a false alarm, but got {level}. Give 0.05, or less."
        )
