from __future__ import annotations

import pytest
from PIL import Image

from modules.images.compare import compare

GREY = Image.new("RGB", (10, 4), (100, 100, 100))


def test_equal_pictures_are_identical():
    found = compare(GREY, GREY.copy())
    assert found.is_identical
    assert (
        found.pixel_count,
        found.differing_count,
        found.max_difference,
        found.mean_difference,
        found.gain,
    ) == (
        40,
        0,
        0,
        0,
        1,
    )
    assert found.difference_image.getcolors() == [(40, (0, 0, 0))]


def test_one_pixel_that_differs_is_found_and_shown_bright():
    other = GREY.copy()
    other.putpixel((3, 2), (103, 100, 90))
    found = compare(GREY, other)
    assert not found.is_identical
    assert (found.differing_count, found.max_difference, found.differing_fraction) == (
        1,
        10,
        1 / 40,
    )
    assert found.mean_difference == pytest.approx(13 / 120)
    assert found.gain == 25
    assert found.difference_image.getpixel((3, 2)) == (75, 0, 250)
    assert found.difference_image.getpixel((0, 0)) == (0, 0, 0)


def test_black_and_white_differ_by_all_there_is():
    found = compare(Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2), "white"))
    assert (found.max_difference, found.mean_difference, found.differing_fraction, found.gain) == (
        255,
        255,
        1,
        1,
    )


def test_pictures_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(GREY, GREY.resize((5, 4)))
