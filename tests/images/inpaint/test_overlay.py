from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.inpaint.canvas import Overlay


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def soft_mask(size: tuple[int, int]) -> Image.Image:
    """Return a mask with every level."""
    return Image.fromarray(np.random.default_rng(9).integers(0, 256, size[::-1], dtype=np.uint8))


def test_where_the_mask_is_black_the_original_is_kept_and_where_white_it_is_replaced():
    original, result, mask = noise((40, 30), 1), noise((40, 30), 2), soft_mask((40, 30))
    made = np.asarray(Overlay(original, (0, 0, 40, 30), mask).composite(result))
    levels = np.asarray(mask)
    assert np.array_equal(made[levels == 0], np.asarray(original)[levels == 0])
    assert np.array_equal(made[levels == 255], np.asarray(result)[levels == 255])
    half = np.asarray(original).astype(float) + (
        np.asarray(result).astype(float) - np.asarray(original)
    ) * (levels[..., None] / 255)
    assert np.abs(made - half).max() <= 1


def test_a_part_goes_back_to_its_place_in_the_whole_picture():
    original = noise((400, 300), 1)
    box = (100, 50, 200, 100)
    made = Overlay(original, box, Image.new("L", (100, 50), 255)).composite(
        Image.new("RGB", (64, 32), "red")
    )
    assert made.size == (400, 300)
    assert made.crop(box).getcolors() == [(5000, (255, 0, 0))]
    made.paste(original.crop(box), box)
    assert made.tobytes() == original.tobytes()
