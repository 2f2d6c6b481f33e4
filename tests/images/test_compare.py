from __future__ import annotations

import pytest
from PIL import Image

from modules.images.compare import compare

GREY = Image.new("RGB", (10, 4), (100, 100, 100))


def test_equal_images_are_identical():
    comparison = compare(GREY, GREY.copy())
    assert comparison.is_identical
    assert (
        comparison.pixel_count,
        comparison.differing_count,
        comparison.max_difference,
        comparison.mean_difference,
        comparison.gain,
    ) == (
        40,
        0,
        0,
        0,
        1,
    )
    assert comparison.difference_image.getcolors() == [(40, (0, 0, 0))]


def test_a_differing_pixel_is_counted_and_brightened():
    other = GREY.copy()
    other.putpixel((3, 2), (103, 100, 90))
    comparison = compare(GREY, other)
    assert not comparison.is_identical
    assert (
        comparison.differing_count,
        comparison.max_difference,
        comparison.differing_fraction,
    ) == (
        1,
        10,
        1 / 40,
    )
    assert comparison.mean_difference == pytest.approx(13 / 120)
    assert comparison.gain == 25
    assert comparison.difference_image.getpixel((3, 2)) == (75, 0, 250)
    assert comparison.difference_image.getpixel((0, 0)) == (0, 0, 0)


def test_black_and_white_differ_by_the_maximum():
    comparison = compare(Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2), "white"))
    assert (
        comparison.max_difference,
        comparison.mean_difference,
        comparison.differing_fraction,
        comparison.gain,
    ) == (
        255,
        255,
        1,
        1,
    )


def test_images_of_different_sizes_are_not_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(GREY, GREY.resize((5, 4)))
