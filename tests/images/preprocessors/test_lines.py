"""Tests of outlines by formulas, on small drawings."""

import numpy as np
import pytest

from modules.images.preprocessors.lines import (
    apply_threshold,
    draw_line_art,
    draw_straight_lines,
    draw_xdog,
    find_canny,
    invert,
)
from modules.images.preprocessors.sizes import Pixels


def paper(side: int = 128) -> Pixels:
    return np.full((side, side, 3), 255, np.uint8)


def test_canny_finds_the_outline_of_a_square_alone():
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:40, 30:60] = 255
    edges = find_canny(image, 64, 100, 200)
    assert edges.shape == (64, 96, 3)
    assert set(np.unique(edges)) == {0, 255}
    rows, columns = np.nonzero(edges[:, :, 0])
    assert 19 <= rows.min() <= 20
    assert 39 <= rows.max() <= 40
    assert 29 <= columns.min() <= 30
    assert 59 <= columns.max() <= 60
    assert not edges[23:37, 33:57].any()


def test_canny_takes_edges_between_the_thresholds_only_where_they_go_on_from_a_strong_one():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 40  # its gradient is 160
    assert find_canny(image, 64, 100, 150)[32].any()
    assert not find_canny(image, 64, 100, 170)[32].any()


def test_the_resolution_is_the_shorter_side_of_the_result():
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, 40:60] = 255
    edges = find_canny(image, 128, 100, 200)
    assert edges.shape == (128, 256, 3)
    columns = np.nonzero(edges[64, :, 0])[0]
    assert columns.tolist() == pytest.approx([102, 153], abs=2)


def test_invert_makes_the_negative():
    image = np.array([[[0, 100, 255]]], np.uint8)
    assert invert(image, 512).tolist() == [[[255, 155, 0]]]


def test_a_threshold_asks_for_the_darkest_channel():
    image = np.array([[[128, 255, 255], [127, 255, 255]]], np.uint8).repeat(8, 0).repeat(4, 1)
    assert apply_threshold(image, 8, 127)[0, :, 0].tolist() == [255] * 4 + [0] * 4


def test_xdog_draws_dark_lines_in_white():
    image = paper()
    image[60:63, 20:100] = 150
    scribble = draw_xdog(image, 128, 32)
    assert (scribble[61, 25:95] == 255).all()
    assert not scribble[:50].any()
    assert not scribble[75:].any()
    image[60:63, 20:100] = 245
    assert not draw_xdog(image, 128, 32).any()


def test_xdog_loses_lines_at_which_a_sum_of_bytes_begins_again_as_a1111_does():
    image = paper()
    image[60:62, 20:100] = 0
    assert (draw_xdog(image, 128, 32)[60, 40:80] == 255).all()
    image[60:62, 20:100] = 70  # about 137 darker than its surroundings: twice that is 18 above 255
    assert not draw_xdog(image, 128, 32)[60, 40:80].any()


def test_line_art_puts_the_median_line_at_127_and_paper_at_black():
    image = paper()
    image[60:62, 20:100] = 100
    drawing = draw_line_art(image, 128)
    assert drawing[60, 40:80, 0] == pytest.approx(127, abs=3)
    assert not drawing[:40].any()
    assert not draw_line_art(paper(), 128).any()


def test_straight_lines_lie_on_the_sides_of_a_rectangle_and_nowhere_else():
    image = paper()
    image[30:90, 20:100] = 0
    lines = draw_straight_lines(image, 128, 0.1, 0.1)[:, :, 0]
    rows, columns = np.nonzero(lines)
    near_side = (np.minimum(np.abs(rows - 30), np.abs(rows - 90)) <= 2) | (
        np.minimum(np.abs(columns - 20), np.abs(columns - 100)) <= 2
    )
    assert near_side.all()
    assert (lines[28:33, 30:90].max(axis=0) == 255).mean() > 0.9
    assert (lines[40:80, 18:23].max(axis=1) == 255).mean() > 0.9


def test_straight_lines_leave_out_weak_and_short_ones():
    image = paper()
    image[30:90, 20:100] = 215
    assert draw_straight_lines(image, 128, 0.05, 0.1).any()
    assert not draw_straight_lines(image, 128, 0.5, 0.1).any()
    image = paper(512)
    image[200:216, 200:216] = 0
    assert draw_straight_lines(image, 512, 0.1, 0.1).any()
    assert not draw_straight_lines(image, 512, 0.1, 20).any()
    assert not draw_straight_lines(paper(), 128, 0.1, 0.1).any()
