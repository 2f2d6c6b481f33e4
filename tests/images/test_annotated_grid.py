from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.annotated_grid import Caption, Legend, draw_grid, matrix_legend
from modules.params.settings.saving import GridSettings

COLOURS = ("red", "green", "blue", "black")
CELLS = [Image.new("RGB", (100, 50), colour) for colour in COLOURS]
TITLES = Legend(
    columns=((Caption("one"),), (Caption("two"),)),
    rows=((Caption("first"),), (Caption("second", is_active=False),)),
    margin=6,
)


def test_cells_are_copied_beside_captions_with_margins_between_them():
    grid = draw_grid(CELLS, 2, GridSettings(), TITLES)
    left, top = 75, grid.height - 106  # three quarters of a cell for the captions of the rows
    assert grid.width == left + 206 and 8 <= top <= 16
    for index, cell in enumerate(CELLS):
        x, y = left + index % 2 * 106, top + index // 2 * 56
        assert grid.crop((x, y, x + 100, y + 50)).tobytes() == cell.tobytes()
    assert grid.getpixel((left + 103, top + 20)) == (255, 255, 255)


def test_captions_stand_above_columns_and_left_of_rows_in_their_colours():
    colours = {"grid_text_active_color": "#ff0000", "grid_text_inactive_color": "#00ff00"}
    grid = np.asarray(draw_grid(CELLS, 2, GridSettings(**colours), TITLES), int)
    top = len(grid) - 106
    parts = [grid[:top, 75:175], grid[top : top + 50, :75], grid[top + 56 :, :75]]
    redness = [(part[..., 0] - part[..., 1]).max() for part in parts]
    greenness = [(part[..., 1] - part[..., 0]).max() for part in parts]
    assert min(redness[:2]) > 150 and greenness == [0, 0, 255], "the last one is crossed out"


def test_a_grid_without_captions_has_no_space_for_them():
    assert draw_grid(CELLS[:3], 1, GridSettings()).size == (300, 50)
    empty = Legend(columns=((Caption(""),),) * 2, rows=((),) * 2)
    assert draw_grid(CELLS, 2, GridSettings(), empty).size == (200, 100)


def test_a_missing_image_is_a_cell_of_background_and_the_largest_one_is_the_cell():
    larger = Image.new("RGB", (120, 60), "blue")
    settings = GridSettings(grid_background_color="#123456")
    grid = draw_grid([CELLS[0], None, larger], 1, settings)
    assert grid.size == (360, 60)
    assert grid.getpixel((130, 5)) == grid.getpixel((10, 55)) == (0x12, 0x34, 0x56)


def test_bit_k_of_a_cell_switches_part_k_of_a_matrix_on():
    legend = matrix_legend(["a", "b", "c"])
    active = [[part.text for part in one if part.is_active] for one in legend.columns]
    assert active == [[], ["a"], ["b"], ["a", "b"]]
    assert [one[0].is_active for one in legend.rows] == [False, True]


def test_long_captions_are_wrapped_or_written_smaller_and_never_reach_into_the_cells():
    word = "w" * 60
    legend = Legend(rows=((Caption(f"{'a b ' * 30}{word}"),), (Caption(word, False),)))
    grid = draw_grid([CELLS[0].resize((100, 400))] * 2, 2, GridSettings(), legend)
    assert (np.asarray(grid)[:, 75:] == (255, 0, 0)).all()


def test_a_font_that_cannot_be_read_is_replaced_and_logged(caplog: pytest.LogCaptureFixture):
    grid = draw_grid(CELLS, 2, GridSettings(font="/dev/zero"), TITLES)
    assert grid.size == draw_grid(CELLS, 2, GridSettings(), TITLES).size
    assert "The font /dev/zero cannot be read: there is no such file." in caplog.text


def test_a_grid_with_too_many_pixels_is_refused_in_words():
    with pytest.raises(UserError, match="would have 200 x 100 pixels"):
        draw_grid(CELLS, 2, GridSettings(), max_pixels=19_999)
