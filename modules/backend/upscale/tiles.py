"""Enlarges an image in overlapping tiles, so that the memory of a network does not grow with the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from PIL import Image

from modules.plan.upscaling import Tiles

# Called after each tile with the number of tiles done and of all; it may raise to stop.
OnTile = Callable[[int, int], None]
_SMALLEST = 32
# A1111's tiles reach outside a smaller image, to its left and above, where it is black. More than so many pixels of that
# make no other image, and would be computed for nothing.
_MAX_PADDING = 16


def ignore_tiles(done: int, count: int) -> None:
    """Follow nothing."""
    del done, count


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where the tiles begin along one side, evenly spread, as in A1111.

    Args:
        length: Of the side, in pixels.
        tile: Side of a tile; one that is longer than `length` begins before 0.
        overlap: By how many pixels neighbours overlap at least, less than `tile`.
    """
    if tile >= length:
        return [length - tile]
    count = math.ceil((length - overlap) / (tile - overlap))
    step = (length - tile) / (count - 1)
    return [min(int(index * step), length - tile) for index in range(count)]


def enlarge_in_tiles(
    image: Image.Image,
    tiles: Tiles,
    enlarge: Callable[[Image.Image], Image.Image],
    on_tile: OnTile = ignore_tiles,
) -> Image.Image:
    """Return the image enlarged tile by tile; each blends into those on its left and above it.

    Args:
        image: RGB.
        tiles: Their size and overlap.
        enlarge: Enlarges a tile by a whole factor.
        on_tile: Called after each tile.
    """
    width, height = (
        min(tiles.size, side + _MAX_PADDING) if tiles.size else side for side in image.size
    )
    columns = starts(image.width, width, tiles.overlap)
    rows = starts(image.height, height, tiles.overlap)
    count = len(columns) * len(rows)
    if (width, height) == image.size:
        enlarged = enlarge(image)
        on_tile(1, 1)
        return enlarged
    result: Image.Image | None = None
    for row, top in enumerate(rows):
        strip: Image.Image | None = None
        for column, left in enumerate(columns):
            tile = enlarge(image.crop((left, top, left + width, top + height)))
            scale = tile.width // width
            strip = strip or Image.new("RGB", (image.width * scale, tile.height))
            _join(strip, tile, left * scale, tiles.overlap * scale, is_row=False)
            on_tile(row * len(columns) + column + 1, count)
        assert strip is not None
        scale = strip.width // image.width
        result = result or Image.new("RGB", (strip.width, image.height * scale))
        _join(result, strip, top * scale, tiles.overlap * scale, is_row=True)
    assert result is not None
    return result


def _join(
    canvas: Image.Image, tile: Image.Image, start: int, overlap: int, *, is_row: bool
) -> None:
    """Paste a tile at a place along one axis; its first pixels blend into what is there."""
    overlap = overlap if start > 0 else 0

    def box(first: int, last: int) -> tuple[int, int, int, int]:
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
    """Return a mask that rises from 0, one pixel wide or high."""
    values = (np.arange(overlap, dtype=np.float32) * 255 / overlap).astype(np.uint8)
    return Image.fromarray(values[:, None] if is_row else values[None, :])


def smaller(tiles: Tiles, size: tuple[int, int]) -> Iterator[Tiles]:
    """Yield the tiles for an image of a size, then ever smaller ones, each half as long."""
    yield tiles
    side = min(tiles.size or max(size), max(size)) // 2
    while side >= _SMALLEST:
        yield Tiles(side, min(tiles.overlap, side // 4))
        side //= 2
