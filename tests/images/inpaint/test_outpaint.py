from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.inpaint.outpaint import outpaint


def test_the_new_side_is_masked_with_an_edge_inside_the_picture():
    larger, mask = outpaint(Image.new("RGB", (60, 40), "red"), None, (0, 0, 20, 0), overlap=8)
    assert larger.size == mask.size == (80, 40)
    levels = np.asarray(mask)
    assert levels[:, :52].max() == 0 and levels[:, 52:].min() == 255


def test_all_sides_may_grow_at_once():
    larger, mask = outpaint(Image.new("RGB", (60, 40)), None, (8, 16, 24, 32), overlap=4)
    assert larger.size == (92, 88)
    kept = np.argwhere(np.asarray(mask) == 0)
    assert kept.min(axis=0).tolist() == [20, 12] and kept.max(axis=0).tolist() == [51, 63]


def test_a_mask_besides_is_kept_in_its_place():
    given = Image.new("L", (60, 40))
    given.paste(255, (5, 5, 10, 10))
    _, mask = outpaint(Image.new("RGB", (60, 40)), given, (16, 0, 0, 0), overlap=0)
    assert mask.getpixel((16 + 7, 7)) == 255 and mask.getpixel((16 + 30, 7)) == 0


def test_the_overlap_leaves_something_of_a_small_picture():
    _, mask = outpaint(Image.new("RGB", (30, 30)), None, (8, 0, 8, 0), overlap=100)
    assert np.asarray(mask)[15].tolist().count(0) == 10
