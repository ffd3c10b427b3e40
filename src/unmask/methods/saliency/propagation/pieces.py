"""Large tensors, a few rows at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

_CACHED = 2**16
"""Numbers of which several copies fit into a processor's cache."""


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few rows of each at a time, so that nothing as large as a layer is made in between.

    The first use of new memory takes many times as long as the arithmetic in it, and what is small
    stays in a processor's cache. Of a tensor with a single row, which stands for all, that row.

    Args:
        tensors: of as many rows as the first, or of one.
    """
    first, *_ = tensors = torch.atleast_1d(*tensors)
    whole = first.is_cuda or first.numel() <= _CACHED
    rows = len(first) if whole else max(1, _CACHED * len(first) // first.numel())
    for start in range(0, len(first), max(1, rows)):
        yield tuple(one if len(one) == 1 else one[start : start + rows] for one in tensors)
