"""Pictures as data URIs: the input as the eye sees it, and heat maps to lay over it."""

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_SIDE = 384
"""Pixels that a side of a picture keeps; the page never shows it larger than that."""
POSITIVE, NEGATIVE = (0, 98, 168), (204, 85, 0)
"""Blue and orange, which colour-blind eyes tell apart."""
_LEVELS = 8
_MUCH = 24_000


def picture(pixels: np.ndarray) -> str:
    """An image [height, width, 3] of bytes as a data URI; photographs become JPEG."""
    from PIL import Image

    image = _shrunk(Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8), "RGB"))
    exact = _encoded(image, "PNG", optimize=True)
    if len(exact) <= _MUCH:
        return _uri("png", exact)
    return _uri("jpeg", _encoded(image, "JPEG", quality=86, optimize=True))


def heat(values: np.ndarray) -> str:
    """A map [height, width] of numbers: blue above zero, striped orange below.

    The stripes tell the sign where there is no colour. Few levels keep the file small.
    """
    from PIL import Image

    values = np.nan_to_num(values)
    top = np.abs(values).max() or 1.0
    level = np.rint(np.abs(values) / top * _LEVELS).astype(np.uint8)
    index = np.where(values < 0, level + _LEVELS, level).astype(np.uint8)
    index[level == 0] = 0
    longest = max(index.shape)
    if longest > LARGEST_SIDE:
        step = -(-longest // LARGEST_SIDE)
        index = index[::step, ::step]
    index = index.repeat(scale := max(1, 256 // max(index.shape)), 0).repeat(scale, 1)

    down, across = np.indices(index.shape)
    gap = ((down + across) // max(2, max(index.shape) // 85)) % 2 == 1
    negative = index > _LEVELS
    # A stripe is a third as strong, not absent, so that a single pixel is never lost in it.
    index[negative & gap] = _LEVELS + np.ceil((index[negative & gap] - _LEVELS) / 3).astype(
        np.uint8
    )

    image = Image.fromarray(index, "P")
    image.putpalette([0, 0, 0, *POSITIVE * _LEVELS, *NEGATIVE * _LEVELS])
    alpha = [round(235 * i / _LEVELS) for i in range(1, _LEVELS + 1)]
    return _uri("png", _encoded(image, "PNG", optimize=True, transparency=bytes([0, *alpha * 2])))


def _shrunk(image: "Image") -> "Image":
    longest = max(image.size)
    if longest <= LARGEST_SIDE:
        return image
    width, height = (max(1, round(side * LARGEST_SIDE / longest)) for side in image.size)
    return image.resize((width, height))


def _encoded(image: "Image", kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
