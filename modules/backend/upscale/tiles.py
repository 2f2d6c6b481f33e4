"""Enlarges an image in overlapping tiles, so that the memory of a network does not grow with the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image

from modules.images.tiles import join_tile, tile_starts
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
    columns = tile_starts(image.width, width, tiles.overlap)
    rows = tile_starts(image.height, height, tiles.overlap)
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
            join_tile(strip, tile, left * scale, tiles.overlap * scale, is_row=False)
            on_tile(row * len(columns) + column + 1, count)
        assert strip is not None
        scale = strip.width // image.width
        result = result or Image.new("RGB", (strip.width, image.height * scale))
        join_tile(result, strip, top * scale, tiles.overlap * scale, is_row=True)
    assert result is not None
    return result


def smaller(tiles: Tiles, size: tuple[int, int]) -> Iterator[Tiles]:
    """Yield the tiles for an image of a size, then ever smaller ones, each half as long."""
    yield tiles
    side = min(tiles.size or max(size), max(size)) // 2
    while side >= _SMALLEST:
        yield Tiles(side, min(tiles.overlap, side // 4))
        side //= 2
