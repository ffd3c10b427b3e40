import base64
import io

import numpy as np
import pytest

from unmask.report.pictures import LARGEST_SIDE, NEGATIVE, POSITIVE, heat, picture

Image = pytest.importorskip("PIL.Image")


def opened(uri: str):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_a_small_picture_is_kept_to_the_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(picture(pixels))), pixels)


def test_a_large_photo_becomes_a_small_jpeg_of_the_same_proportions():
    y, x = np.indices((600, 800))
    noise = np.random.default_rng(0).integers(0, 40, (600, 800))
    pixels = np.stack([x // 4 + noise // 2, y // 3 + noise // 2, noise], -1).astype(np.uint8)
    uri = picture(pixels)
    assert uri.startswith("data:image/jpeg")
    assert opened(uri).size == (LARGEST_SIDE, LARGEST_SIDE * 3 // 4)
    assert len(uri) < 60_000


def test_heat_is_blue_above_zero_and_striped_orange_below():
    values = np.array([[2.0, -2.0], [0.0, 1.0]])
    image = np.asarray(opened(heat(values)).convert("RGBA"))
    side = image.shape[0] // 2
    up, down = image[:side, :side], image[:side, side:]
    none, half = image[side:, :side], image[side:, side:]
    assert (up[..., :3] == POSITIVE).all()
    assert (down[..., :3] == NEGATIVE).all()
    assert len(np.unique(up[..., 3])) == 1
    assert len(np.unique(down[..., 3])) == 2
    assert (none[..., 3] == 0).all()
    assert abs(int(half[0, 0, 3]) * 2 - int(up[0, 0, 3])) <= 2


def test_heat_of_zeros_and_of_broken_numbers_is_a_picture_too():
    assert (np.asarray(opened(heat(np.zeros((3, 3)))).convert("RGBA"))[..., 3] == 0).all()
    broken = np.asarray(opened(heat(np.array([[np.nan, 1.0]]))).convert("RGBA"))
    assert broken[0, 0, 3] == 0
    assert broken[0, -1, 3] > 0
