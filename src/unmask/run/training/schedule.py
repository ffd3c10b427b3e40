"""When a training is looked at: often at first, then at steps that grow by a factor."""

import math


def log_spaced(last: int, count: int = 24, *, first: int = 1) -> tuple[int, ...]:
    r"""Step 0, and steps from the first to the last, evenly spaced in log(1 + step).

    The phases of training show on this scale. Early steps that would coincide are told once, so
    that there may be fewer than asked for.

    Args:
        last: step of the training.
        count: how many steps, 0 and the last among them.
        first: the earliest step after 0; in a handful of updates little happens.

    >>> log_spaced(1000, 6), log_spaced(1000, 6, first=10)
    ((0, 1, 8, 44, 211, 1000), (0, 10, 33, 104, 323, 1000))
    """
    if not 1 <= first < last or count < 3:
        raise ValueError(
            f"A schedule goes from step 0 over a first step to a later one, in three or more, but "
            f"got {count} steps, the first {first} and the last {last}. Give the length of the "
            "training, and a dozen steps or more."
        )
    bottom, top = math.log1p(first), math.log1p(last)
    between = [bottom + (top - bottom) * k / (count - 2) for k in range(count - 1)]
    return tuple(sorted({0, *(round(math.expm1(s)) for s in between)}))
