"""The canvas of A1111's outpainting scripts: an image with new sides, so wide that the whole is a multiple of 64 pixels."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

from PIL import Image, ImageDraw

from modules.images.inpaint.outpaint import Sides

Direction = Literal["left", "right", "up", "down"]
_MULTIPLE = 64


def expanded_sides(size: tuple[int, int], pixels: int, directions: Collection[Direction]) -> Sides:
    """Return how many pixels are added at the left, the top, the right and the bottom.

    Args:
        size: Width and height of the image.
        pixels: At least so many in each direction.
        directions: Others get none.
    """
    left, right = _share(size[0], pixels, "left" in directions, "right" in directions)
    top, bottom = _share(size[1], pixels, "up" in directions, "down" in directions)
    return left, top, right, bottom


def _share(length: int, pixels: int, at_start: bool, at_end: bool) -> tuple[int, int]:
    """Return the pixels at the start and at the end of one axis."""
    if not at_start and not at_end:
        return 0, 0
    added = rounded_up(length + pixels * (at_start + at_end)) - length
    start = 0 if not at_start else added // 2 if at_end else added
    return start, added - start if at_end else 0


def rounded_up(length: int) -> int:
    """Return the next multiple of 64 pixels."""
    return math.ceil(length / _MULTIPLE) * _MULTIPLE


def edge_mask(size: tuple[int, int], kept: tuple[float, float, float, float]) -> Image.Image:
    """Return a mask, L, that is black in a box and white around it.

    Args:
        size: Width and height.
        kept: The box; its right and bottom edges are inclusive, as in A1111.
    """
    mask = Image.new("L", size, 255)
    if kept[0] <= kept[2] and kept[1] <= kept[3]:
        ImageDraw.Draw(mask).rectangle(kept, fill=0)
    return mask
