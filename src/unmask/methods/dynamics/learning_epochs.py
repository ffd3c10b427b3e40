"""When concepts are learned: the terms of each order along a training."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.bootstrap import bootstrap, means
from unmask.card import method
from unmask.interactions.terms.snapshot import Snapshot
from unmask.interactions.terms.stacked import salient, stacked
from unmask.lattice import by_order, sizes
from unmask.results import Interactions, Measurement


@method("liu2023towards")
def learning_epochs(
    history: Sequence[Snapshot],
    *,
    truth: Sequence[Interactions] | None = None,
    tau: float = 0.05,
    fraction: float = 0.5,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Find at which step of a training the concepts of each order were learned.

    $$
    t(T) = \min \{ t : I_t(T) / I^*(T) \ge \mathrm{fraction} \}
    $$

    A concept is a salient term of the truth, AND or OR: of what was planted, or of the last
    checkpoint. Measured against the last checkpoint, all are learned in the end whatever happens,
    and a concept that was learned and lost again is none. Learned is what was there once, even if
    it did not stay, so that a term that wanders at random counts as learned where it comes by.

    Curves over `order`, of the orders that have concepts: `concepts`, how many; `learned`, the
    share of them that was learned at all; `step`, the mean step at which these were, of steps on
    a logarithmic scale (of step plus one), with `step_low` and `step_high`. Numbers: `correlation`
    of order and logarithm of the step over all learned concepts, with `correlation_low` and
    `correlation_high`; `ordered`, 1 if the step rises from each order to the next; `inputs` and
    `checkpoints`. The bounds hold the value in 19 of 20 resamplings of the inputs; of one input
    they are NaN. NaN, too, is the step where nothing was learned, and the correlation where all
    was of one order or at one step.

    Args:
        history: explanations of the same inputs along the training.
        truth: I*, an explanation of each input; without it, those of the last checkpoint.
        tau: the least strength of a concept, relative to the strongest of its input.
        fraction: how much of a concept must be there.
        generator: source of the resamplings.

    >>> from unmask.planted import terms_of
    >>> history = [
    ...     Snapshot(step, (terms_of("ab", ands={("a",): first, ("a", "b"): second}),))
    ...     for step, first, second in ((0, 0.0, 0.0), (10, 1.0, 0.2), (20, 1.1, 0.9))
    ... ]
    >>> learning_epochs(history).curves["step"].round(decimals=6)
    tensor([10., 20.], dtype=torch.float64)
    """
    steps, stacks, target = _stacks(history, truth)
    if not 0 < fraction <= 1:
        raise ValueError(
            f"A concept counts as learned at a fraction of its effect, but got {fraction}. "
            "Give a number above 0, up to 1."
        )
    concepts = salient(target, tau)
    reached = concepts & (stacks * target.sign() >= fraction * target.abs())
    learned = reached.any(0)
    late = torch.where(learned, steps[reached.int().argmax(0)].log1p(), 0)

    counts, known, sums = (_by_order(part.to(target)) for part in (concepts, learned, late))
    there = counts.sum(0) > 0
    order = torch.arange(1, len(there) + 1, dtype=target.dtype, device=target.device)
    # What a correlation is made of: of every input the sums over its concepts.
    moments = torch.stack(
        [
            known.sum(1),
            known @ order,
            sums.sum(1),
            known @ order.square(),
            late.square().flatten(1).sum(1),
            sums @ order,
        ],
        1,
    )
    parts = torch.cat([sums[:, there], known[:, there], moments], 1)
    found = bootstrap(lambda weights: _told(means(weights, parts)), len(parts), generator=generator)
    curves = {name: found.pop(name).expm1() for name in ("step", "step_low", "step_high")}
    return Measurement(
        {
            **{name: float(value) for name, value in found.items()},
            "ordered": float(all(a < b for a, b in pairwise(curves["step"].tolist()))),
            "inputs": float(len(target)),
            "checkpoints": float(len(steps)),
        },
        {
            "order": order[there],
            "concepts": counts.sum(0)[there],
            "learned": (known.sum(0) / counts.sum(0))[there],
            **curves,
        },
    )


@method("liu2023towards")
def learning_curves(
    history: Sequence[Snapshot],
    *,
    truth: Sequence[Interactions] | None = None,
    tau: float = 0.05,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Follow along a training how much of the concepts of each order is there.

    $$
    \rho_k(t) = \frac{\sum_{|T| = k} I_t(T)\, I^*(T)}{\sum_{|T| = k} I^*(T)^2}
    $$

    over the concepts T of all inputs, which are the salient terms of the truth: 0 where nothing is
    learned of them, 1 where they are as in the truth. Curves over `step`: `order_1` and so on, of
    the orders that have concepts, each with `low` and `high` that hold it in 19 of 20 resamplings
    of the inputs; `strength_1` to `strength_n`, the sum of |I_t| over all terms of an order,
    concepts or not, as a share of the mean |v(N) - v(empty)| of that checkpoint. NaN where that
    is zero. Numbers: `inputs` and `concepts`.

    Args:
        history: explanations of the same inputs along the training.
        truth: I*, an explanation of each input; without it, those of the last checkpoint.
        tau: the least strength of a concept, relative to the strongest of its input.
        generator: source of the resamplings.

    >>> from unmask.planted import terms_of
    >>> history = [
    ...     Snapshot(step, (terms_of("ab", ands={("a", "b"): effect}),))
    ...     for step, effect in ((0, 0.0), (10, 1.0), (20, 2.0))
    ... ]
    >>> learning_curves(history).curves["order_2"]
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    steps, stacks, target = _stacks(history, truth)
    concepts = salient(target, tau)
    aim = torch.where(concepts, target, 0)
    along, power = _by_order(stacks * aim), _by_order(aim.square())
    curves = {"step": steps}
    for k in (power.sum(0) > 0).nonzero()[:, 0].tolist():
        parts = torch.cat([along[:, :, k].T, power[:, k, None]], 1)

        def there(weights: Tensor, name: str = f"order_{k + 1}", parts: Tensor = parts):
            found = means(weights, parts)
            return {name: found[:, :-1] / found[:, -1:]}

        curves |= bootstrap(there, len(parts), generator=generator)
    scale = stacks.sum((-2, -1)).abs().mean(1)
    for k, strength in enumerate(_by_order(stacks.abs()).mean(1).T):
        curves[f"strength_{k + 1}"] = strength / scale
    shares = [name for name in curves if name.startswith("order_") and name[-1].isdigit()]
    strengths = [name for name in curves if name.startswith("strength_")]
    return Measurement(
        {"inputs": float(len(target)), "concepts": float(concepts.sum())},
        curves,
        {
            "concepts that are there": ("step", *shares),
            "strength of all terms": ("step", *strengths),
        },
    )


def _stacks(
    history: Sequence[Snapshot], truth: Sequence[Interactions] | None
) -> tuple[
    Float[Tensor, " checkpoints"],
    Float[Tensor, "checkpoints inputs kinds coalitions"],
    Float[Tensor, "inputs kinds coalitions"],
]:
    if not history:
        raise ValueError("The history is empty. Give one Snapshot per checkpoint of a training.")
    steps = [snapshot.step for snapshot in history]
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError(
            f"A history goes forward, but its steps are {steps}. Sort the checkpoints by step, "
            "each once."
        )
    counts = {len(snapshot.terms) for snapshot in history}
    if truth is not None:
        counts.add(len(truth))
    if len(counts) > 1:
        raise ValueError(
            "Every checkpoint, and the truth, explains the same inputs, but there are "
            f"{' and '.join(map(str, sorted(counts)))} explanations. Leave out what is not in all."
        )
    every = [*(one for snapshot in history for one in snapshot.terms), *(truth or ())]
    stack = stacked(every)
    inputs = len(history[0].terms)
    stacks = stack[: len(history) * inputs].view(len(history), inputs, *stack.shape[1:])
    target = stacks[-1] if truth is None else stack[len(history) * inputs :]
    if not target.any():
        whose = "the last checkpoint" if truth is None else "the truth"
        raise ValueError(
            f"There is nothing to be learned: {whose} has no term on any input. Give a network "
            "whose output depends on its input, or a truth with terms."
        )
    return torch.tensor(steps).to(stack), stacks, target


def _by_order(
    values: Float[Tensor, "*inputs kinds coalitions"],
) -> Float[Tensor, "*inputs orders"]:
    players = values.shape[-1].bit_length() - 1
    return by_order(values.sum(-2), sizes(players).to(values.device), players)


def _told(means: Float[Tensor, "draws parts"]) -> dict[str, Tensor]:
    """The correlation, and the mean logarithm of the step of each order."""
    orders = (means.shape[1] - 6) // 2
    sums, known, moments = means.split([orders, orders, 6], 1)
    count, order, late, orders_squared, late_squared, product = moments.unbind(1)
    both = count * product - order * late
    spread = (count * orders_squared - order**2) * (count * late_squared - late**2)
    # Of one order, or at one step, rounding alone is left of the spread.
    alike = spread <= 1e-12 * (count * orders_squared * count * late_squared)
    correlation = torch.where(alike, torch.nan, both / spread.clamp(min=0).sqrt())
    return {"correlation": correlation, "step": sums / known}
