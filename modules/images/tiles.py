"""Divides an image into overlapping tiles of one size, and puts them together with soft seams, as A1111 does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive


@dataclass(frozen=True)
class Tiling:
    """Where the tiles of an image lie.

    Args:
        size: Width and height of the image.
        tile: Those of each tile.
        overlap: At least so many pixels of a tile lie in the one before; over them it is faded in.
        lefts: Left edge of each column.
        tops: Top edge of each row.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    overlap: int
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    def boxes(self) -> list[Box]:
        """Return the boxes of all tiles, row by row."""
        width, height = self.tile
        return [
            (left, top, left + width, top + height) for top, left in product(self.tops, self.lefts)
        ]


def make_tiling(size: tuple[int, int], tile: tuple[int, int], overlap: int) -> Tiling:
    """Return the tiles that cover an image: evenly spread, the last ones flush with its edges.

    Args:
        size: Width and height of the image.
        tile: Those of a tile; a side beyond that of the image is that of the image.
        overlap: In pixels, less than both sides of a tile.
    """
    width, height = (min(one, whole) for one, whole in zip(tile, size, strict=True))
    lefts, tops = (
        _starts(whole, one, overlap) for whole, one in zip(size, (width, height), strict=True)
    )
    return Tiling(size, (width, height), overlap, lefts, tops)


def _starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    step = (length - tile) / (count - 1) if count > 1 else 0
    starts = (int(index * step) for index in range(count))
    return tuple(length - tile if start + tile >= length else start for start in starts)


def combine_tiles(tiling: Tiling, tiles: Sequence[Image.Image]) -> Image.Image:
    """Return the image of all tiles; each is faded in over the one at its left, each row over the one above.

    Args:
        tiling: Where they lie.
        tiles: RGB, row by row, of the tiling's size.
    """
    columns = len(tiling.lefts)
    height = tiling.tile[1]
    whole = Image.new("RGB", tiling.size)
    for row, top in enumerate(tiling.tops):
        strip = Image.new("RGB", (tiling.size[0], height))
        for left, tile in zip(tiling.lefts, tiles[row * columns :], strict=False):
            _lay(strip, tile, (left, 0), _ramp(tiling.overlap, height, is_horizontal=True))
        ramp = _ramp(tiling.overlap, tiling.size[0], is_horizontal=False)
        _lay(whole, strip, (0, top), ramp)
    return whole


def _lay(
    canvas: Image.Image, image: Image.Image, place: tuple[int, int], ramp: Image.Image
) -> None:
    """Paste an image at a place; where it begins, beyond the canvas's edge, it is faded in by the ramp."""
    if not any(place) or not all(ramp.size):
        canvas.paste(image, place)
        return
    start = canvas.crop((*place, place[0] + ramp.width, place[1] + ramp.height))
    canvas.paste(image, place)
    faded = Image.composite(image.crop((0, 0, *ramp.size)), start, ramp)
    canvas.paste(faded, place)


def _ramp(overlap: int, length: int, *, is_horizontal: bool) -> Image.Image:
    """Return the opacity of a tile over its overlap, L: 0 at the edge, rising to 255 after it."""
    if not overlap:
        return Image.new("L", (0, 0))
    levels = (np.arange(overlap, dtype=np.float32) * 255 / overlap).astype(np.uint8)
    if is_horizontal:
        return Image.fromarray(np.tile(levels, (length, 1)))
    return Image.fromarray(np.tile(levels[:, np.newaxis], (1, length)))
