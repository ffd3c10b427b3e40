"""Continuity: how fast an explanation moves as the picture slides."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.stability.surroundings import Surroundings, surroundings, whole
from unmask.results import Rating
from unmask.score import Score


@method("montavon2018methods")
def continuity(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    explain: Explain,
    steps: int | None = None,
    fill: Float[Tensor, "channels height width"] | None = None,
    same_class: bool = True,
    batch_size: int | None = None,
) -> Rating:
    r"""How fast an explanation moves at most as the picture slides to either side.

    $$
    \max_{0 < |k| \le K}
    \frac{\lVert \Phi(x) - \Phi(x_k) \rVert_1}{\lVert x - x_k \rVert_2}
    $$

    x_k is the picture slid by k pixels along its width; what it leaves bare is filled. An
    explanation that follows the picture moves too, so that this is never zero of one that says
    anything. What counts is which of two explanations jumps. Their units count too: scale
    both alike.

    `curve` is the ratio at each k. It is NaN where the picture is the same when slid, as one of a
    single colour is, and where no slide keeps the class.

    >>> from unmask import Attribution, logit
    >>> x = torch.zeros(1, 1, 1, 4)
    >>> x[..., 1] = 2.0
    >>> rating = continuity(
    ...     logit(lambda x: x.flatten(1), 0), x, steps=1, same_class=False,
    ...     explain=lambda score, x: Attribution(x),
    ... )
    >>> round(rating.mean, 4)  # 4 over the root of 8
    1.4142

    Args:
        score: what is explained.
        x: the pictures.
        explain: makes the explanation Phi.
        steps: K, in pixels; by default a quarter of the width.
        fill: what is seen where the picture has left, zero by default.
        same_class: whether a slide counts only where the model chooses the class that it does for
            x.
        batch_size: pictures that are explained at a time, by default what a processor's cache
            holds.
    """
    admission.finite("The input", x)
    width = x.shape[-1]
    most = max(1, width // 4) if steps is None else steps
    whole("steps", most, 1)
    if most >= width:
        raise ValueError(
            f"A picture {width} pixels wide that slides by {most} is gone. "
            f"Give fewer steps than {width}."
        )
    about = surroundings(score, x, explain, same_class, batch_size)
    empty = x.new_zeros(x.shape[1:])
    if fill is not None:
        empty = admission.one_baseline_for(x[0], fill)
    shifts = torch.arange(-most, most + 1, device=x.device)
    shifts = shifts[shifts != 0]

    def measure(rows: Tensor, points: Tensor, there: Tensor) -> Tensor:
        way = (points.to(there) - x[rows].to(there)).flatten(1).norm(dim=1)
        moved = (there - about.here[rows]).abs().sum(1)
        return torch.where(way > 0, moved / way, torch.nan)

    curve = about.of(lambda rows, k: _slid(about, rows, shifts[k], empty), len(shifts), measure)
    highest = curve.nan_to_num(-torch.inf).amax(1)
    values = torch.where(highest == -torch.inf, torch.nan, highest)
    return Rating(values, higher_is_better=False, curve=curve, at=shifts.to(curve))


def _slid(about: Surroundings, rows: Tensor, shifts: Tensor, empty: Tensor) -> Tensor:
    """The pictures of these rows, each slid by as many pixels to the right."""
    width = about.x.shape[-1]
    source = torch.arange(width, device=shifts.device) - shifts[:, None]
    there = (source >= 0) & (source < width)
    at = source.clamp(0, width - 1)[:, None, None].expand(-1, *about.x.shape[1:-1], -1)
    return torch.where(there[:, None, None], about.x[rows].gather(-1, at), empty)
