import re
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.report.regions import anchor, outline


def filled(path: str, height: int, width: int) -> np.ndarray:
    """Which pixel centres lie inside a path by the even-odd rule: crossings, counted one by one."""
    corners: list[list[tuple[int, int]]] = []
    for sign, a, b in re.findall(r"([Mhvz])(-?\d+)?(?: (\d+))?", path):
        if sign == "M":
            corners.append([(int(a), int(b))])
        elif sign == "z":
            corners[-1].append(corners[-1][0])
        else:
            x, y = corners[-1][-1]
            corners[-1].append((x + int(a), y) if sign == "h" else (x, y + int(a)))
    inside = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            for loop in corners:
                for (ax, ay), (bx, by) in pairwise(loop):
                    assert ax == bx or ay == by
                    upright = ax == bx and min(ay, by) <= row < max(ay, by)
                    inside[row, column] ^= upright and ax > column
    return inside


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_the_outline_encloses_the_region_whatever_its_shape(height, width, seed):
    region = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    np.testing.assert_array_equal(filled(outline(region.numpy()), height, width), region.numpy())


def test_a_rectangle_has_four_corners():
    region = np.zeros((20, 30), bool)
    region[3:9, 4:25] = True
    assert outline(region) == "M4 3h21v6h-21z"


def test_the_anchor_lies_inside_even_of_a_ring():
    y, x = np.indices((11, 11))
    ring = abs(np.hypot(y - 5, x - 5) - 4) < 0.7
    across, down = anchor(ring)
    assert ring[int(down), int(across)]
