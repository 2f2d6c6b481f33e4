from __future__ import annotations

import pytest
from PIL import Image

from modules.images.resize import crop_and_resize


def striped(size: tuple[int, int]) -> Image.Image:
    """Return a picture whose middle square is white, and the rest black."""
    image, side = Image.new("L", size), min(size)
    image.paste(255, ((size[0] - side) // 2, (size[1] - side) // 2, (size[0] + side) // 2, (size[1] + side) // 2))
    return image


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (300, 100)])
def test_the_middle_is_kept_in_its_proportions(size: tuple[int, int]):
    square = crop_and_resize(striped(size), 48, 48)
    assert square.size == (48, 48)
    assert square.crop((6, 6, 42, 42)).getextrema()[0] >= 250
    assert square.getextrema()[0] > 200  # Lanczos looks beyond the edges


def test_a_picture_of_the_right_size_is_left_as_it_is():
    image = striped((40, 24))
    assert crop_and_resize(image, 40, 24).tobytes() == image.tobytes()
