from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.resize import (
    RESIZE_MODES,
    crop_and_resize,
    extend_edges,
    nearest_valid_size,
    resize_and_fill,
    stretch,
)


def white_square(size: tuple[int, int]) -> Image.Image:
    """Return a black image with a white square in its centre."""
    image, side = Image.new("L", size), min(size)
    image.paste(
        255,
        (
            (size[0] - side) // 2,
            (size[1] - side) // 2,
            (size[0] + side) // 2,
            (size[1] + side) // 2,
        ),
    )
    return image


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (300, 100)])
def test_cropping_keeps_the_centre_and_its_aspect_ratio(size: tuple[int, int]):
    square = crop_and_resize(white_square(size), 48, 48)
    assert square.size == (48, 48)
    assert square.crop((6, 6, 42, 42)).getextrema()[0] >= 250
    assert square.getextrema()[0] > 200  # Lanczos reads beyond the edges


@pytest.mark.parametrize("mode", RESIZE_MODES, ids=lambda mode: mode.label)
def test_an_image_of_the_requested_size_is_unchanged(mode):
    image = white_square((40, 24))
    assert mode.resize(image, 40, 24).tobytes() == image.tobytes()


def test_just_resize_stretches():
    squeezed = np.asarray(stretch(white_square((96, 32)), 32, 32))
    assert squeezed[:, :6].max() < 10 < 240 < squeezed[:, 14:18].min()


def test_resize_and_fill_extends_the_edges():
    image = Image.new("RGB", (32, 32), "red")
    image.paste((0, 0, 255), (16, 0, 32, 32))
    filled = resize_and_fill(image, 128, 64)
    assert filled.size == (128, 64)
    assert filled.getpixel((0, 30)) == (255, 0, 0) and filled.getpixel((127, 30)) == (0, 0, 255)
    assert filled.crop((0, 0, 58, 64)).getcolors() == [(58 * 64, (255, 0, 0))]


def test_an_image_is_padded_with_its_outermost_pixels():
    image = Image.fromarray(np.array([[10, 20], [30, 40]], dtype=np.uint8))
    assert np.asarray(extend_edges(image, (1, 0, 2, 1))).tolist() == [
        [10, 10, 20, 20, 20],
        [30, 30, 40, 40, 40],
        [30, 30, 40, 40, 40],
    ]


@pytest.mark.parametrize(
    ("size", "expected"), [((512, 512), (512, 512)), ((515, 517), (512, 520)), ((3, 70), (64, 72))]
)
def test_sizes_are_rounded_to_multiples_of_8(size: tuple[int, int], expected: tuple[int, int]):
    assert nearest_valid_size(*size) == expected


def test_the_modes_have_a1111s_numbers():
    assert [mode.label for mode in RESIZE_MODES] == [
        "Just resize",
        "Crop and resize",
        "Resize and fill",
        "Just resize (latent upscale)",
    ]
