from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.inpaint.masked_content import fill_masked


def test_the_masked_area_takes_the_surrounding_colours_and_the_rest_is_kept():
    image = Image.new("RGB", (96, 64), "blue")
    image.paste((0, 160, 0), (0, 0, 48, 64))
    image.paste((255, 0, 0), (40, 20, 72, 44))
    mask = Image.new("L", image.size)
    mask.paste(255, (36, 16, 76, 48))
    filled = np.asarray(fill_masked(image, mask)).astype(int)
    kept = np.asarray(mask) == 0
    assert np.array_equal(filled[kept], np.asarray(image)[kept])
    assert filled[~kept][:, 0].max() < 20, "nothing of the red is left"
    assert filled[32, 38, 1] > filled[32, 38, 2] and filled[32, 74, 2] > filled[32, 74, 1]


def test_no_colour_from_under_the_mask_shines_through_where_its_surroundings_are_far():
    image = Image.new("RGB", (256, 256), "blue")
    image.paste((200, 0, 0), (0, 0, 8, 256))
    mask = Image.new("L", image.size, 255)
    mask.paste(0, (0, 0, 8, 256))
    filled = np.asarray(fill_masked(image, mask)).astype(int)
    assert filled[..., 2].max() == 0
    assert np.abs(filled[..., 0] - 200).max() <= 12, (
        "A1111's layers have 8 bits: they are faint here"
    )


def test_a_mask_that_leaves_nothing_is_filled_with_black():
    filled = fill_masked(Image.new("RGB", (32, 32), (10, 200, 30)), Image.new("L", (32, 32), 255))
    assert filled.getcolors() == [(1024, (0, 0, 0))]
