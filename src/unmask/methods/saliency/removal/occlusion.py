"""Occlusion."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit_any, refuse_broken
from unmask.masking import Batches, cached_rows
from unmask.methods.saliency.removal.windows import Windows, sliding, written
from unmask.results import Attribution
from unmask.score import Score

_WINDOWS = 2**20
"""Windows whose scores are kept at once."""


@method("zeiler2014visualizing", axioms=("linearity",))
def occlusion(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    *,
    baseline: Shaped[Tensor, "*background"],
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Slide a window of nothing over the input and see how far the score falls.

    $$
    A_i(x) = \frac{1}{|\{w \ni i\}|} \sum_{w \ni i} \bigl( F(x) - F(x_{w \leftarrow x'}) \bigr)
    $$

    A part gets the mean of what is lost in the windows w that cover it; one that none covers, as
    at the far border where the stride does not fit, gets 0. A window holds all channels. The
    numbers sum to nothing in particular: of two parts that do the same work neither is missed,
    and what needs two parts is lost with either. How large the window is decides what is seen.

    A window in which the input is the baseline already loses nothing, and the model is not asked.

    Args:
        score: F.
        x: the inputs: images, signals, embeddings, token ids or rows of a table.
        baseline: x', what the window shows; with one axis more, a set of them that is averaged
            over.
        window: its sides along the last axes of an input. A single number is the side along every
            axis behind the channels; of inputs with one axis, along that.
        stride: from one window to the next, 1 by default; likewise.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> x = torch.tensor([[1.0, 2.0, 0.0, 4.0]])
    >>> total = logit(lambda x: x.sum(1), 0)
    >>> occlusion(total, x, baseline=torch.zeros(4), window=2).values
    tensor([[3.0000, 2.5000, 3.0000, 4.0000]])
    """
    admit_any(score, x, batch_size)
    windows = sliding(x.shape[1:], window, stride)
    x = x.detach()
    backgrounds = admission.backgrounds_for(x[0], baseline)
    batches = Batches(score, batch_size or cached_rows(x[0]))
    at_once = max(1, _WINDOWS // (len(windows) * len(backgrounds)))
    values, rows = [], 0
    with torch.inference_mode(False), torch.no_grad():
        for inputs in torch.arange(len(x), device=x.device).split(at_once):
            drops, run = _drops(batches, x[inputs], inputs, windows, backgrounds)
            values.append(windows.mean(drops))
            rows += run
    kind = x.dtype if x.is_floating_point() else torch.float32
    return Attribution(torch.cat(values).to(kind), evaluations=rows)


def _drops(
    batches: Batches,
    x: Shaped[Tensor, "some *input"],
    inputs: Int[Tensor, " some"],
    windows: Windows,
    backgrounds: Shaped[Tensor, "backgrounds *input"],
) -> tuple[Float[Tensor, "some windows"], int]:
    """By how much each window makes the score of each input fall, and how many rows were run."""
    # Where x is the background already, the row would be x itself.
    differs = torch.stack([windows.any(x != background) for background in backgrounds], 2)
    source, which, shown = differs.nonzero().unbind(1)
    corners, behind = windows.corners().to(x.device), backgrounds.reshape(-1)

    def rows() -> Iterator[Tensor]:
        for some, block in written(x, source, batches.rows):
            places = windows.inside(corners[which[some]])
            hidden = behind.take(places + shown[some, None] * block.shape[1])
            yield block.scatter_(1, places, hidden).view(-1, *x.shape[1:])

    whole = batches(x.split(batches.rows), len(x), inputs).double()
    refuse_broken(batches.score, whole)
    drops = whole.new_zeros(differs.shape)
    if len(source):
        without = batches(rows(), len(source), inputs[source]).double()
        refuse_broken(batches.score, without)
        drops[differs] = whole[source] - without
    return drops.mean(2), len(x) + len(source)
