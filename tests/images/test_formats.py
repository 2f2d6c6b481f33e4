from __future__ import annotations

from typing import get_args

from PIL import Image

from modules.images.formats import FILE_FORMATS, choose_format
from modules.params.settings.saving import ImageFormat


def test_every_format_that_can_be_chosen_can_be_written():
    assert set(FILE_FORMATS) == set(get_args(ImageFormat))


def test_a_format_that_cannot_hold_the_image_is_replaced_by_png():
    assert choose_format("jpg", Image.new("L", (8, 8)), "text") == "jpg"
    assert choose_format("jpg", Image.new("L", (65536, 1)), "text") == "png"
