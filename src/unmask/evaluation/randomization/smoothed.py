"""Explanations averaged over noisy copies of an input, so that they vary less."""

import torch
from torch import Tensor

from unmask import admission
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.masking import cached_rows
from unmask.results import Attribution
from unmask.score import Score


def smoothed(
    explain: Explain,
    *,
    samples: int = 50,
    noise: float = 0.1,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Explain:
    r"""The mean of the explanations of noisy copies.

    $$
    \bar A(F, x) = \frac1n \sum_{j=1}^n A(F, x + \sigma \varepsilon_j), \qquad
    \varepsilon_j \sim \mathcal N(0, 1)
    $$

    The noise is drawn once, and is the same for all inputs and models: only what they make of it
    can differ.

    Args:
        explain: A.
        samples: n.
        noise: sigma as a share of each input's range, from its least to its largest.
        generator: source of randomness.
        batch_size: copies that are explained at a time.
    """
    if samples < 1 or not noise >= 0:
        raise ValueError(
            f"There is no mean of {samples} copies with noise of size {noise}. "
            "Give one sample at least, and a share such as 0.1."
        )
    admission.batched(batch_size)
    source = admission.drawing(generator)
    seed = int(torch.randint(2**31, (), generator=source, device=source.device))

    def mean(score: Score, x: Tensor) -> Attribution:
        wide = torch.promote_types(x.dtype, torch.float32)
        same = torch.Generator().manual_seed(seed)
        clean = x.detach().to(wide)
        span = (clean.flatten(1).amax(1) - clean.flatten(1).amin(1)) * noise
        sigma = span.view(-1, *[1] * (x.ndim - 1))
        rows = batch_size or cached_rows(x[0])
        together = max(1, rows // len(x))
        total: Tensor | int = 0
        counted = Counted(explain)
        for first in range(0, samples, together):
            count = min(together, samples - first)
            # One after the other, so that the batch does not change what is drawn.
            drawn = [torch.randn(x.shape[1:], generator=same, dtype=wide) for _ in range(count)]
            epsilon = torch.stack(drawn).to(x.device)[:, None]
            points = (clean + sigma * epsilon).flatten(0, 1).to(x.dtype)
            made_from = torch.arange(len(x), device=x.device).repeat(count)
            values = explained(score, points, counted, rows=made_from, batch_size=rows).values
            total = total + values.unflatten(0, (count, len(x))).sum(0)
        assert isinstance(total, Tensor)  # there is one sample at least
        return Attribution(total / samples, evaluations=counted.evaluations)

    return mean
