"""Prediction difference analysis."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit_any, refuse_broken
from unmask.masking import Batches, cached_rows
from unmask.methods.saliency.removal.evidence import (
    Belief,
    belief,
    check_laplace,
    counting,
    moved,
    refuse_certain,
)
from unmask.methods.saliency.removal.patch_samplers import ConditionalPatches, Draws, Sampler
from unmask.methods.saliency.removal.windows import Windows, sliding, written
from unmask.results import Attribution
from unmask.score import Score

_ROWS = 2**20
"""Rows whose scores are kept at once."""


@method("zintgraf2017visualizing", "robnik2008explaining")
def prediction_difference(
    score: Score,
    x: Float[Tensor, "batch channels height width"],
    *,
    data: Float[Tensor, "images channels height width"],
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    sampler: Sampler | None = None,
    samples: int = 10,
    trained_on: int | float = 100_000,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Replace each window of an image by what else might be there, and weigh the evidence lost.

    $$
    A_i(x) = \frac{1}{|\{w \ni i\}|} \sum_{w \ni i} \bigl(
    \log_2 \mathrm{odds}(y \mid x) - \log_2 \mathrm{odds}(y \mid x \setminus w) \bigr), \quad
    p(y \mid x \setminus w) = \frac1S \sum_{s=1}^S p(y \mid x_{w \leftarrow x_w^s})
    $$

    The contents $x_w^s$ are drawn given the pixels around the window, so that what is found is
    what cannot be told from there: a patch of plain sky is no evidence, as its surroundings say
    what it is. One bit is evidence that doubles the odds. Every pixel, in all its channels, gets
    the mean of the windows that cover it, and 0 if none does. Windows share their draws of
    chance, which makes them comparable; `errors` says how far the mean over so few samples is
    from that over all, to first order.

    The relation to `feature_omission` is that of a window to a column; with windows side by side
    and `MarginalPatches` of all the data it is the same.

    Args:
        score: log-odds of the class y; another score is taken for log-odds.
        x: the images.
        data: images to learn from what may stand in a window.
        window: height and width, or one number for both. The paper has 10 for photographs.
        stride: from one window to the next, 1 by default. Larger ones cost less and blur more.
        sampler: draws the contents: `ConditionalPatches()` by default, or `MarginalPatches()`.
        samples: S, per window.
        trained_on: N of the correction (p N + 1) / (N + K); math.inf leaves probabilities alone.
        generator: source of the draws; without one they are always the same.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import log_odds
    >>> bright = log_odds(lambda x: x[:, 0, 2:4, 2:4].sum((1, 2)), 1)
    >>> images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> found = prediction_difference(bright, images[:1], data=images, window=2, stride=2)
    >>> bool((found.values[0, 0, :2] == 0).all())
    True
    """
    admit_any(score, x, batch_size)
    check_laplace(trained_on)
    windows = _windows(x, data, window, stride, samples)
    generator = admission.drawing(generator)
    data = data.detach().to(x.device, x.dtype)
    score, classes = counting(score)
    batches = Batches(score, batch_size or cached_rows(x[0]))
    values, errors, rows = [], [], 0
    with torch.inference_mode(False), torch.no_grad():
        draws = (sampler or ConditionalPatches()).fit(data, windows, samples, generator)
        at_once = max(1, _ROWS // (len(windows) * draws.samples))
        for inputs in torch.arange(len(x), device=x.device).split(at_once):
            whole, moves = _moves(batches, x[inputs].detach(), inputs, windows, draws)
            without = moved(whole, moves.mean(2)).corrected(trained_on, classes())
            evidence = whole.corrected(trained_on, classes()).odds - without.odds
            refuse_certain(evidence)
            values.append(windows.mean(evidence))
            rows += len(inputs) + moves.numel()
            if draws.samples > 1 and not draws.exact:
                shrunk = trained_on / (trained_on + classes()) if trained_on < torch.inf else 1.0
                slope = without.odds_slope * shrunk
                errors.append(_errors(windows, slope, moves, batches.rows))
    return Attribution(
        torch.cat(values).to(x.dtype),
        evaluations=rows,
        errors=torch.cat(errors).to(x.dtype) if errors else None,
    )


def _moves(
    batches: Batches,
    x: Float[Tensor, "some channels height width"],
    inputs: Int[Tensor, " some"],
    windows: Windows,
    draws: Draws,
) -> tuple[Belief, Float[Tensor, "some windows samples"]]:
    """What the model believes of each image, and how far each draw moves the probability."""
    size = (len(x), len(windows), draws.samples)
    corners = windows.corners().to(x.device)
    rows = torch.arange(size[0] * size[1] * size[2], device=x.device)
    source, sample = rows // (size[1] * size[2]), rows % size[2]
    corner = rows // size[2] % size[1]

    def drawn() -> Iterator[Tensor]:
        for some, block in written(x, source, batches.rows):
            images = block.view(-1, *x.shape[1:])
            contents = draws(images, corners[corner[some]], sample[some])
            block.scatter_(1, windows.inside(corners[corner[some]]), contents)
            yield images

    values = batches(x.split(batches.rows), len(x), inputs).double()
    refuse_broken(batches.score, values)
    replaced = batches(drawn(), len(rows), inputs[source]).double()
    refuse_broken(batches.score, replaced)
    moves = replaced.sigmoid().view(size) - values.sigmoid().view(-1, 1, 1)
    whole = belief(values)
    return Belief(whole.of[:, None], whole.against[:, None]), moves


def _errors(
    windows: Windows,
    slope: Float[Tensor, "some windows"],
    moves: Float[Tensor, "some windows samples"],
    at_once: int,
) -> Float[Tensor, "some channels height width"]:
    """Standard errors of the values. As windows share their luck, each draw makes a whole map, and
    it is the maps that differ by chance."""
    apart = slope[..., None] * (moves - moves.mean(2, keepdim=True))
    squares = torch.zeros((), dtype=apart.dtype, device=apart.device)
    for some in apart.split(max(1, at_once // len(moves)), dim=2):
        maps = windows.mean(some.movedim(2, 1).flatten(0, 1))
        squares = squares + maps.square().unflatten(0, (len(moves), -1)).sum(1)
    samples = moves.shape[2]
    return (squares / (samples * (samples - 1))).sqrt()


def _windows(
    x: Float[Tensor, "batch channels height width"],
    data: Float[Tensor, "images channels height width"],
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    samples: int,
) -> Windows:
    if x.ndim != 4:
        raise ValueError(
            f"The images have shape {tuple(x.shape)}. Give [batch, channels, height, width]; for "
            "the rows of a table there is feature_omission."
        )
    admission.finite("The data", data)
    if len(data) == 0 or data.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"The data has shape {tuple(data.shape)}, but an image {tuple(x.shape[1:])}. "
            "Give at least one image, shaped like the inputs."
        )
    if samples < 1:
        raise ValueError(f"{samples} samples tell nothing. Give at least 1.")
    windows = sliding(x.shape[1:], window, stride)
    if len(windows.sides) != 2:
        raise ValueError(
            f"The window {windows.sides} has {len(windows.sides)} sides, but that of an image has "
            "two. Give a height and a width, or one number for both."
        )
    return windows
