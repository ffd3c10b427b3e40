"""Guided integrated gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit, value_and_gradient
from unmask.methods.saliency.gradients.stream import rows_at_once, wide
from unmask.results import Attribution
from unmask.score import Score


@method("kapishnikov2021guided", axioms=("dummy",))
def guided_integrated_gradients(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    baseline: Float[Tensor, "*background"],
    steps: int = 100,
    fraction: float = 0.1,
    batch_size: int | None = None,
) -> Attribution:
    r"""Add up the gradient on a way to the input that moves the flattest parts first.

    $$
    A_i(x) = \int_0^1 \partial_i F\bigl(\gamma(\alpha)\bigr)\, \gamma_i'(\alpha)\, d\alpha
    $$

    The way leads from the baseline x' to x, and every step goes as far in the sum of |x - x'|.
    Within a step the parts of smallest gradient move first, up to their end, a fraction of all
    parts at a time. So steep and noisy places are left until late, when few of them remain on the
    way. Along a step the gradient is a mean of those at both ends, weighted so that it accounts for
    what the step changes F by, as nearly as may be. That matters for ReLU, where the way often runs
    along a kink and crosses it at every step. The values sum to F(x) - F(x') but for the `gap`.

    The way depends on F, so that values of a sum of two scores are no sum of values. Points that
    hold the way near the straight line, an option of the paper, are left out.

    Args:
        score: F, differentiable in its input.
        x: the inputs.
        baseline: x', the input that stands for "nothing".
        steps: of the way.
        fraction: of the parts of an input that move together.
        batch_size: inputs in one call of the model, by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> product = logit(lambda x: x[:, 0] * x[:, 1], 0)
    >>> guided_integrated_gradients(  # the second moves while the first is zero and F is flat
    ...     product, torch.tensor([[2.0, 3.0]]), baseline=torch.tensor([0.0, 1.0]), steps=1000
    ... ).values.round(decimals=1)
    tensor([[6., 0.]])
    """
    admit(score, x, batch_size)
    if steps < 1:
        raise ValueError(f"{steps} steps lead nowhere. Give at least 1.")
    if not 0 < fraction <= 1:
        raise ValueError(f"No parts make a fraction of {fraction}. Give a share above 0, up to 1.")
    x = x.detach()
    start = admission.one_baseline_for(x[0], baseline).expand_as(x)
    rows = torch.arange(len(x), device=x.device)
    parts = [
        _guided(score, start[some], x[some], some, steps, fraction)
        for some in rows.split(rows_at_once(x, batch_size))
    ]
    values = torch.cat([part for part, _ in parts]).to(x.dtype)
    left = torch.cat([change for _, change in parts]) - values.double().reshape(len(x), -1).sum(1)
    return Attribution(values, gap=left, evaluations=(steps + 1) * len(x))


def _guided(
    score: Score, start: Tensor, end: Tensor, rows: Tensor, steps: int, fraction: float
) -> tuple[Float[Tensor, "batch *input"], Float[Tensor, " batch"]]:
    """Values along the way, and the change of the score from its start to its end."""
    goal = end.to(wide(end.dtype)).reshape(len(end), -1)
    place = start.to(goal).reshape(len(end), -1).clone()
    whole = (goal - place).abs().sum(1)
    first, slope = value_and_gradient(score, start, rows)
    last, slope = first, slope.to(goal).reshape(goal.shape)
    values = torch.zeros_like(goal)
    for step in range(steps):
        ahead = (goal - place).abs().sum(1) - whole * (1 - (step + 1) / steps)
        move = _flattest(slope, goal - place, ahead, fraction)
        place = goal if step == steps - 1 else place + move
        before = last
        last, after = value_and_gradient(score, place.view_as(end).to(end.dtype), rows)
        after = after.to(goal).reshape(goal.shape)
        weight = _weight((move * slope).sum(1), (move * after).sum(1), (last - before).to(goal))
        values += move * torch.lerp(slope, after, weight[:, None])
        slope = after
    return values.view_as(end), last.double() - first.double()


def _weight(
    start: Float[Tensor, " batch"], end: Float[Tensor, " batch"], change: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Of the end, so that both together make the change, as nearly as may be."""
    apart = end - start
    weight = (change - start) / torch.where(apart == 0, 1, apart)
    return torch.where(apart == 0, 0.5, weight.clamp(0, 1))


def _flattest(
    slope: Float[Tensor, "batch positions"],
    open_: Float[Tensor, "batch positions"],
    ahead: Float[Tensor, " batch"],
    fraction: float,
) -> Float[Tensor, "batch positions"]:
    """The move of an L1 length along what is still open, the smallest slopes first."""
    order = torch.where(open_ == 0, torch.inf, slope.abs()).argsort(dim=1, stable=True)
    positions = order.shape[1]
    together = max(1, round(fraction * positions))
    ordered = open_.gather(1, order)
    ordered = torch.nn.functional.pad(ordered, (0, -positions % together))
    ordered = ordered.unflatten(1, (-1, together))
    lengths = ordered.abs().sum(2)
    before = lengths.cumsum(1) - lengths
    share = (ahead[:, None] - before) / torch.where(lengths > 0, lengths, 1)
    moved = (ordered * share.clamp(0, 1)[:, :, None]).flatten(1)[:, :positions]
    return torch.zeros_like(open_).scatter(1, order, moved)
