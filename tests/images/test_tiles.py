from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.tiles import combine_tiles, make_tiling, tile_starts


@pytest.mark.parametrize(
    ("size", "overlap", "lefts", "tops"),
    [
        ((384, 192), 32, (0, 85, 170, 256), (0, 64)),
        ((128, 128), 32, (0,), (0,)),
        ((130, 128), 0, (0, 2), (0,)),
        ((256, 129), 127, tuple(range(129)), (0, 1)),
        ((100, 300), 8, (0,), (0, 86, 172)),  # narrower than a tile
    ],
)
def test_tiles_are_spread_evenly_and_end_at_the_edges(
    size: tuple[int, int], overlap: int, lefts: tuple[int, ...], tops: tuple[int, ...]
):
    tiling = make_tiling(size, (128, 128), overlap)
    assert (tiling.lefts, tiling.tops) == (lefts, tops)
    boxes = tiling.boxes()
    assert max(box[2] for box in boxes) == size[0] and max(box[3] for box in boxes) == size[1]


def test_the_last_tile_ends_with_the_image_and_a_longer_one_begins_before_it():
    assert tile_starts(512, 192, 8) == (0, 160, 320)
    assert tile_starts(200, 192, 8) == (0, 8)
    assert tile_starts(192, 192, 8) == (0,)
    assert tile_starts(160, 176, 8) == (-16,)


@pytest.mark.parametrize("overlap", [0, 1, 16])
def test_tiles_of_an_image_give_it_back(overlap: int):
    pixels = np.random.default_rng(5).integers(0, 256, (90, 150, 3), np.uint8)
    image = Image.fromarray(pixels)
    tiling = make_tiling(image.size, (64, 48), overlap)
    tiles = [image.crop(box) for box in tiling.boxes()]
    assert (np.asarray(combine_tiles(tiling, tiles)) == pixels).all()


def test_a_tile_is_faded_in_over_the_one_before():
    tiling = make_tiling((24, 16), (16, 16), 8)
    tiles = [Image.new("RGB", (16, 16), (0, 0, 0)), Image.new("RGB", (16, 16), (255, 255, 255))]
    row = np.asarray(combine_tiles(tiling, tiles))[3, :, 0]
    assert row.tolist() == [0] * 8 + [0, 31, 63, 95, 127, 159, 191, 223] + [255] * 8
