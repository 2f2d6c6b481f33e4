from __future__ import annotations

import pytest
from PIL import Image

from modules.images.grid import make_grid, row_count
from modules.params.settings.saving import GridSettings


@pytest.mark.parametrize(
    ("count", "batch_size", "settings", "rows"),
    [
        (4, 1, {}, 2),
        (5, 1, {}, 2),
        (7, 1, {}, 3),
        (1, 1, {}, 1),
        (6, 3, {"n_rows": 0}, 3),
        (6, 1, {"n_rows": 1}, 1),
        (3, 1, {"n_rows": 16}, 3),
        (7, 1, {"grid_prevent_empty_spots": True}, 1),
        (6, 1, {"grid_prevent_empty_spots": True}, 2),
    ],
)
def test_the_number_of_rows_is_a1111s(
    count: int, batch_size: int, settings: dict[str, int], rows: int
):
    assert row_count(count, batch_size, GridSettings(**settings)) == rows


def test_images_are_laid_out_row_by_row_on_the_background():
    images = [Image.new("RGB", (8, 4), colour) for colour in ("red", "green", "blue")]
    result = make_grid(images, 1, GridSettings(grid_background_color="#123456"))
    assert result is not None and result.size == (16, 8)
    colours = [result.getpixel(position) for position in ((0, 0), (8, 0), (0, 4), (8, 4))]
    assert colours == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (0x12, 0x34, 0x56)]


def test_a_grid_with_too_many_pixels_is_not_made():
    images = [Image.new("RGB", (8, 8))] * 2
    assert make_grid(images, 1, GridSettings(), max_pixels=127) is None
    assert make_grid(images, 1, GridSettings(), max_pixels=128) is not None


def test_a_smaller_image_is_in_the_middle_of_its_cell():
    images = [Image.new("RGB", (8, 3), "red"), Image.new("RGB", (3, 8), "green")]
    result = make_grid(images, 1, GridSettings(n_rows=1, grid_background_color="#123456"))
    assert result is not None and result.size == (16, 8)
    assert result.getbbox() == (0, 0, 16, 8)
    reds = [y for y in range(8) if result.getpixel((0, y)) == (255, 0, 0)]
    greens = [x for x in range(8, 16) if result.getpixel((x, 0)) == (0, 128, 0)]
    assert (reds, greens) == ([2, 3, 4], [10, 11, 12])
