from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.inpaint.outpaint import outpaint


def test_a_new_side_is_masked_with_an_overlap():
    extended, mask = outpaint(Image.new("RGB", (60, 40), "red"), None, (0, 0, 20, 0), overlap=8)
    assert extended.size == mask.size == (80, 40)
    values = np.asarray(mask)
    assert values[:, :52].max() == 0 and values[:, 52:].min() == 255


def test_all_sides_can_be_extended_at_once():
    extended, mask = outpaint(Image.new("RGB", (60, 40)), None, (8, 16, 24, 32), overlap=4)
    assert extended.size == (92, 88)
    kept = np.argwhere(np.asarray(mask) == 0)
    assert kept.min(axis=0).tolist() == [20, 12] and kept.max(axis=0).tolist() == [51, 63]


def test_an_inpainting_mask_is_kept_in_place():
    inpaint_mask = Image.new("L", (60, 40))
    inpaint_mask.paste(255, (5, 5, 10, 10))
    _, mask = outpaint(Image.new("RGB", (60, 40)), inpaint_mask, (16, 0, 0, 0), overlap=0)
    assert mask.getpixel((16 + 7, 7)) == 255 and mask.getpixel((16 + 30, 7)) == 0


def test_the_overlap_keeps_part_of_a_small_image():
    _, mask = outpaint(Image.new("RGB", (30, 30)), None, (8, 0, 8, 0), overlap=100)
    assert np.asarray(mask)[15].tolist().count(0) == 10
