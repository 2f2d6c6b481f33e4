"""Divides an image into overlapping tiles of one size, and puts them together with soft seams, as A1111 does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
        tile_starts(whole, one, overlap) for whole, one in zip(size, (width, height), strict=True)
    )
    return Tiling(size, (width, height), overlap, lefts, tops)


def tile_starts(length: int, tile: int, overlap: int) -> tuple[int, ...]:
    """Return where the tiles begin along one side, evenly spread, as in A1111.

    Args:
        length: Of the side, in pixels.
        tile: Side of a tile; one that is longer than `length` begins before 0.
        overlap: By how many pixels neighbours overlap at least, less than `tile`.
    """
    if tile >= length:
        return (length - tile,)
    count = math.ceil((length - overlap) / (tile - overlap))
    step = (length - tile) / (count - 1)
    return tuple(min(int(index * step), length - tile) for index in range(count))


def combine_tiles(tiling: Tiling, tiles: Sequence[Image.Image]) -> Image.Image:
    """Return the image of all tiles; each is faded in over the one at its left, each row over the one above.

    Args:
        tiling: Where they lie.
        tiles: RGB, row by row, of the tiling's size.
    """
    columns = len(tiling.lefts)
    whole = Image.new("RGB", tiling.size)
    for row, top in enumerate(tiling.tops):
        strip = Image.new("RGB", (tiling.size[0], tiling.tile[1]))
        for left, tile in zip(tiling.lefts, tiles[row * columns :], strict=False):
            join_tile(strip, tile, left, tiling.overlap, is_row=False)
        join_tile(whole, strip, top, tiling.overlap, is_row=True)
    return whole


def join_tile(
    canvas: Image.Image, tile: Image.Image, start: int, overlap: int, *, is_row: bool
) -> None:
    """Paste a tile into a row of tiles, or a row into the image; beyond the canvas's edge it is faded in.

    Args:
        canvas: Changed.
        tile: As high as the row, or as wide as the image.
        start: Where it begins, from the left or from the top.
        overlap: Over so many pixels it is faded in.
        is_row: Whether it is a row.
    """
    overlap = overlap if start > 0 else 0

    def box(first: int, last: int) -> Box:
        return (0, first, tile.width, last) if is_row else (first, 0, last, tile.height)

    def place(position: int) -> tuple[int, int]:
        return (0, position) if is_row else (position, 0)

    if overlap:
        size = (tile.width, overlap) if is_row else (overlap, tile.height)
        mask = _ramp(overlap, is_row).resize(size, Image.Resampling.NEAREST)
        canvas.paste(tile.crop(box(0, overlap)), place(start), mask)
    end = tile.height if is_row else tile.width
    canvas.paste(tile.crop(box(overlap, end)), place(start + overlap))


@lru_cache(maxsize=8)
def _ramp(overlap: int, is_row: bool) -> Image.Image:
    """Return the opacity of a tile over its overlap, one pixel wide or high: 0 at the edge, rising to 255 after it."""
    values = (np.arange(overlap, dtype=np.float32) * 255 / overlap).astype(np.uint8)
    return Image.fromarray(values[:, None] if is_row else values[None, :])
