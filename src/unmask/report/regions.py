"""The outlines of players on a picture, as SVG paths."""

import numpy as np

_STEPS = {(1, 0): "h", (-1, 0): "h-", (0, 1): "v", (0, -1): "v-"}


def outline(region: np.ndarray) -> str:
    """The edge of a set of pixels, of any shape and with any holes, for the rule `evenodd`.

    Every pixel edge that separates inside from outside is walked once, with the inside on the
    right, and straight runs are joined.

    >>> import numpy as np
    >>> outline(np.array([[True, True], [False, True]]))
    'M0 0h2v2h-1v-1h-1z'
    """
    follows = _edges(np.pad(region, 1))
    loops = []
    for start in list(follows):
        while start in follows:
            loops.append(_loop(follows, start))
    return "".join(loops)


def anchor(region: np.ndarray) -> tuple[float, float]:
    """The middle (x, y) of the pixel of a region that lies nearest to the region's centre."""
    y, x = np.nonzero(region)
    nearest = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    return float(x[nearest]) + 0.5, float(y[nearest]) + 0.5


def _edges(inside: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The directed pixel edges of a padded mask: corner -> the corners that follow it."""
    follows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    core = inside[1:-1, 1:-1]
    sides = (
        (core & ~inside[:-2, 1:-1], (0, 0), (1, 0)),  # above is outside: go right
        (core & ~inside[1:-1, 2:], (1, 0), (1, 1)),  # right is outside: go down
        (core & ~inside[2:, 1:-1], (1, 1), (0, 1)),  # below is outside: go left
        (core & ~inside[1:-1, :-2], (0, 1), (0, 0)),  # left is outside: go up
    )
    for edge, (ax, ay), (bx, by) in sides:
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(edge)), strict=True):
            follows.setdefault((x + ax, y + ay), []).append((x + bx, y + by))
    return follows


def _loop(follows: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> str:
    path, run, heading, here = f"M{start[0]} {start[1]}", 0, "", start
    while True:
        after = follows[here].pop()
        if not follows[here]:
            del follows[here]
        step = _STEPS[after[0] - here[0], after[1] - here[1]]
        if step != heading and run:
            path += f"{heading}{run}"
            run = 0
        heading, run, here = step, run + 1, after
        if here == start:
            # The last run leads back to the start; where it is straight `z` draws it.
            return path + "z"
