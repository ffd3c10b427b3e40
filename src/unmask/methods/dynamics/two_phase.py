"""The two phases of training: interactions first lose their order, then gain it again."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.admission import drawing
from unmask.bootstrap import DRAWS, resampled
from unmask.card import method
from unmask.interactions.terms.snapshot import Snapshot
from unmask.methods.dynamics.bent_line import Bent, any_bend, hinge, shoulders, straight, valley
from unmask.methods.dynamics.centre_curves import CentreCurves, centre_curves
from unmask.methods.dynamics.rising import FEWEST, Evidence, inverse, lowest, noise_of, rising
from unmask.results import Measurement

_LEVEL = 0.05
_TAILS = (0.05, 0.95)
_ALIKE = math.log(2)
"""Log-steps apart at which two moments of a training still count as one: a factor of two."""


@method("zhang2024two")
def two_phase(
    history: Sequence[Snapshot],
    *,
    tau: float = 0.0,
    least: float = 0.01,
    after: int = 0,
    samples: int = DRAWS,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Find when training turns from simpler interactions to more complex ones, and how surely.

    A network begins with interactions of middle orders, drops them for low ones (phase one), and
    then takes up higher and higher ones (phase two), which generalise worse. Followed is the mean
    order of each input's terms, averaged over the inputs, in log-steps s:

    $$
    \mu(t) = \frac1N \sum_{x} \frac{\sum_T |T|\,|I_t(T \mid x)|}{\sum_T |I_t(T \mid x)|}, \qquad
    \mu(s) \approx a + b_1 \min(s - c, 0) + b_2 \max(s - c, 0), \quad b_1 \le 0 \le b_2, \quad
    s = \log(1 + t)
    $$

    c is the switch, found by trying a fine grid with weights of one over the variance;
    `switch_by_median` is its robust twin, the lowest median of three neighbouring checkpoints. A
    course that only falls switches at its last step, one that only rises at its first.

    The course may be level before its fall and after its rise: such shoulders are looked for, and
    what lies beyond them does not draw the lines.

    **Whether there are phases is another question than where they meet**: lines are fitted to
    anything, and of noise about a level the second one rises more often than not. So the verdicts
    rest on windows of three checkpoints or more. `p_rise` is how often a course that never rises,
    whatever its shape, would show so strong a rise in any window, and `p_fall` the same of a fall.
    `phase_one` is 1 if there is a fall before the switch at a level of 5 %, if it is at least the
    share `least` of n, and if the lower bound of `drop` is above zero; `phase_two` likewise of a
    rise after the lowest point. Noise is that of averaging over the inputs, which stay the same all
    along, and that of training, anew at every checkpoint and estimated from how rough the course
    is. A network that wanders with a memory over several checkpoints is taken to rise and fall: it
    does. And the course alone cannot say why it turned. Where the switch is followed by fewer than
    six checkpoints and they are noisy, the second phase is easily missed.

    Bounds hold 90 % of the courses that result from drawing the inputs anew and adding the noise
    of training. The loss gap, test minus training, is level up to its onset g and rises from there
    (a hinge, fitted in the same way, its inputs or batches drawn anew as well). `lead` is c - g in
    log-steps. The two are `aligned` if its bounds hold zero or they are a factor of two apart at
    most; wide bounds hold zero easily, so look at them. Without losses at every checkpoint,
    or if they are not finite, these numbers are NaN.
    Where test labels are cleaner than training labels, the gap begins below zero and falls before
    it rises: then fit it from the step `after` only.

    Numbers: `switch`, `switch_low`, `switch_high`, `switch_by_median`, in steps; `phase_one`,
    `phase_two`; `p_fall`, `p_rise`; `drop` and `rise`, the change of the mean order from the first
    checkpoint to the one nearest the switch and from there to the last, in shares of n, with
    bounds; `centre_at_start`, `centre_at_switch`, `centre_at_end`; `p_value`, of the bend against
    one line by permuted residuals, which takes them for independent; `gap_onset`, `gap_onset_low`,
    `gap_onset_high`, in steps; `lead` with bounds; `aligned`; `inputs`, that were followed, and
    `left_out`, those without a term at some checkpoint. Curves: `step`, `mean_order`
    with bounds, `fitted`, and `gap`.

    Args:
        history: the same inputs at six checkpoints or more, better a dozen, at steps that grow by
            a factor; training inputs serve, no test set is needed.
        tau: the least strength of a term that counts, relative to the strongest of its input.
        least: the smallest drop or rise that is called a phase, in shares of n.
        after: the step from which the loss gap is fitted, such as the end of the second epoch.
        samples: draws behind each bound and behind `p_value`.
        generator: source of the draws.

    >>> from unmask.interactions import and_interaction
    >>> from unmask import Game
    >>> def at(step, pair):  # two players alone, and together
    ...     game = Game(lambda s: s.sum(1) + pair * s.all(1).double(), ("a", "b"))
    ...     return Snapshot(step, (and_interaction(game),))
    >>> pairs = {0: 8.0, 2: 4.0, 8: 2.0, 30: 1.0, 100: 0.5, 300: 1.0, 1000: 2.0, 3000: 4.0}
    >>> found = two_phase([at(step, pair) for step, pair in pairs.items()])
    >>> round(found.numbers["switch"]), round(found.numbers["centre_at_switch"], 6)
    (93, 1.2)
    """
    _check(least, after, samples)
    curves = centre_curves(history, tau, FEWEST + 1)
    generator = drawing(generator)
    course, places, drawn = _course(curves, samples, generator)
    mean = curves.orders.mean(0)
    evidence = rising(curves.times, curves.orders, at_the_end=False, generator=generator)
    numbers = _moments("switch", course.place, places)
    numbers["switch_by_median"] = float(curves.steps[lowest(mean)])
    numbers |= _phases(curves, evidence, course.place, places, drawn, least)
    numbers["p_value"] = _bend(curves, samples, generator)
    gap, onset, onsets = _gap(history, after, samples, generator)
    numbers |= _moments("gap_onset", onset, onsets) | _lead(course.place, places, onset, onsets)
    numbers |= {"inputs": float(len(curves.orders)), "left_out": float(curves.left_out)}
    low, high = drawn.quantile(_tails(drawn), dim=0)
    told = {
        "step": curves.steps,
        "mean_order": mean,
        "mean_order_low": low,
        "mean_order_high": high,
        "fitted": course.fitted[0],
        "gap": gap,
    }
    device = history[0].terms[0].effects.device
    return Measurement(
        numbers,
        {name: curve.to(device) for name, curve in told.items()},
        {"mean order": ("step", "mean_order", "fitted"), "loss gap": ("step", "gap")},
    )


def _course(
    curves: CentreCurves, samples: int, generator: torch.Generator
) -> tuple[Bent, Float[Tensor, " draws"], Float[Tensor, "draws checkpoints"]]:
    """The valley in the mean course, the switches of courses drawn anew, and these courses."""
    times, courses = curves.times, curves.orders
    mean = courses.mean(0)
    noise = noise_of(times, courses)
    drawn = noise.around(courses, samples, generator)
    shown = times.clamp(*shoulders(times, mean, noise.weights))
    places = valley(shown, drawn, noise.weights).place
    return valley(shown, mean[None], noise.weights), places, drawn


def _phases(
    curves: CentreCurves,
    evidence: Evidence,
    place: Tensor,
    places: Tensor,
    drawn: Float[Tensor, "draws checkpoints"],
    least: float,
) -> dict[str, float]:
    """The drop, the rise, and whether they are phases."""
    mean = curves.orders.mean(0)[None]
    at, found = _at(curves, mean, place)
    _, draws = _at(curves, drawn, places)
    bounds = draws.quantile(_tails(draws), dim=0)
    turn = lowest(mean[0])
    p_fall, p_rise = evidence.of_a_fall(turn + 1), evidence.of_a_rise(max(0, turn - 1))
    drop, rise = found[0].tolist()
    (drop_low, rise_low), (drop_high, rise_high) = bounds.tolist()
    return {
        "phase_one": float(p_fall <= _LEVEL and drop_low > 0 and drop >= least),
        "phase_two": float(p_rise <= _LEVEL and rise_low > 0 and rise >= least),
        "p_fall": p_fall,
        "p_rise": p_rise,
        "drop": drop,
        "drop_low": drop_low,
        "drop_high": drop_high,
        "rise": rise,
        "rise_low": rise_low,
        "rise_high": rise_high,
        "centre_at_start": float(mean[0, 0]),
        "centre_at_switch": float(mean[0, at[0]]),
        "centre_at_end": float(mean[0, -1]),
    }


def _at(curves: CentreCurves, means: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The checkpoint nearest the switch, and the drop up to it and the rise from it."""
    nearest = (curves.times - places[:, None]).abs().argmin(1)
    switch = means.gather(1, nearest[:, None])
    return nearest, (means[:, [0, -1]] - switch) / curves.players


def _bend(curves: CentreCurves, draws: int, generator: torch.Generator) -> float:
    """How often a straight course would seem as bent: its residuals are permuted."""
    times, mean = curves.times, curves.orders.mean(0)
    weights = noise_of(times, curves.orders).weights

    def ratio(rows: Tensor) -> Tensor:
        _, one = straight(times, rows, weights)
        two = any_bend(times, rows, weights).error
        return ((one - two) / 2) / (two / (len(times) - 4)).clamp(min=1e-30)

    line, _ = straight(times, mean[None], weights)
    left = (mean - line[0]) * weights.sqrt()
    order = torch.rand(draws, len(times), generator=generator, device=generator.device).argsort(1)
    permuted = line + left[order.cpu()] / weights.sqrt()
    beyond = (ratio(permuted) >= ratio(mean[None])).sum()
    return float(beyond + 1) / (draws + 1)


def _gap(
    history: Sequence[Snapshot], after: int, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss gap at every checkpoint, its onset in log-steps, and the onsets of gaps drawn anew.

    NaN where there are no losses.
    """
    nothing = torch.full((1,), math.nan, dtype=torch.float64)
    train = _losses("training", [snapshot.train_losses for snapshot in history])
    test = _losses("test", [snapshot.test_losses for snapshot in history])
    if train is None or test is None:
        return nothing.expand(len(history)), nothing, nothing.expand(2)
    sides = (test, train)
    gap = sides[0].mean(0) - sides[1].mean(0)
    here = torch.tensor([snapshot.step >= after for snapshot in history])
    if int(here.sum()) < 4 or not gap[here].isfinite().all():
        return gap, nothing, nothing.expand(2)
    times = torch.tensor([math.log1p(snapshot.step) for snapshot in history], dtype=torch.float64)
    variance = sum(side.var(0, correction=0) / len(side) for side in sides)
    assert isinstance(variance, Tensor)
    weights = inverse(variance[here])
    means = [
        # One loss says nothing of how it varies; it is taken as it is.
        resampled(len(side), draws, generator) @ side if len(side) > 1 else side.expand(draws, -1)
        for side in sides
    ]
    drawn = (means[0] - means[1])[:, here]
    onset = hinge(times[here], gap[None, here], weights).place
    return gap, onset, hinge(times[here], drawn, weights).place


def _losses(
    kind: str, losses: Sequence[Float[Tensor, " losses"] | None]
) -> Float[Tensor, "losses checkpoints"] | None:
    """The losses of all checkpoints; None unless all have them."""
    known = [one.double().cpu() for one in losses if one is not None]
    if not known or len(known) < len(losses):
        return None
    counts = sorted({len(one) for one in known})
    if len(counts) > 1 or counts[0] == 0:
        raise ValueError(
            f"The {kind} losses are followed along the training, but the snapshots hold "
            f"{' and '.join(map(str, counts))} of them. Give as many at every checkpoint, of the "
            "same inputs or batches, or none at all."
        )
    return torch.stack(known, 1)


def _moments(name: str, place: Tensor, places: Tensor) -> dict[str, float]:
    """A moment in steps, with bounds."""
    low, high = places.quantile(_tails(places)).expm1().tolist()
    return {name: float(place.expm1()), f"{name}_low": low, f"{name}_high": high}


def _lead(place: Tensor, places: Tensor, onset: Tensor, onsets: Tensor) -> dict[str, float]:
    lead = float(place - onset)
    if math.isnan(lead):
        return dict.fromkeys(("lead", "lead_low", "lead_high", "aligned"), math.nan)
    low, high = (places - onsets).quantile(_tails(places)).tolist()
    aligned = low <= 0 <= high or abs(lead) < _ALIKE
    return {"lead": lead, "lead_low": low, "lead_high": high, "aligned": float(aligned)}


def _tails(draws: Tensor) -> Tensor:
    return draws.new_tensor(_TAILS)


def _check(least: float, after: int, samples: int) -> None:
    if not 0 <= least <= 1:
        raise ValueError(
            f"least is a share of the number of players, but got {least}. "
            "Give a number from 0 to 1, such as 0.01."
        )
    if after < 0:
        raise ValueError(f"Training begins at step 0, but after is {after}. Give a step.")
    if samples < 2:
        raise ValueError(
            f"Bounds need at least two draws, but samples is {samples}. Give a thousand."
        )
