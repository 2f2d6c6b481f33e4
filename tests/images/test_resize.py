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


PAIRS_OF_SIZES = [  # of an image and of the result
    ((160, 96), (128, 128)),
    ((96, 160), (128, 128)),
    ((97, 61), (40, 72)),
    ((61, 97), (72, 40)),
    ((33, 57), (57, 33)),
    ((30, 20), (96, 64)),
    ((64, 64), (33, 31)),
    ((200, 9), (64, 64)),
    ((3, 40), (64, 48)),
]


def noise(size: tuple[int, int], mode: str) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("size", "target"), PAIRS_OF_SIZES)
def test_crop_and_resize_scales_the_whole_image_and_crops_whole_pixels(
    size: tuple[int, int], target: tuple[int, int], mode: str
):
    """A1111: the smallest size that covers the target, its sides rounded down; the middles meet at half sides."""
    (width, height), (new_width, new_height), image = size, target, noise(size, mode)
    covering = (
        max(new_width, width * new_height // height),
        max(new_height, height * new_width // width),
    )
    left, top = (a // 2 - b // 2 for a, b in zip(covering, target, strict=True))
    scaled = image.resize(covering, Image.Resampling.LANCZOS)
    expected = scaled.crop((left, top, left + new_width, top + new_height))
    assert crop_and_resize(image, *target).tobytes() == expected.tobytes()


def continued_edge(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the lines beyond an edge, from its outermost line and the next one."""
    values = np.floor(1.125 * outer.astype(float) - 0.125 * inner + 0.5)
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("size", "target"), PAIRS_OF_SIZES)
def test_resize_and_fill_continues_the_edges_of_the_scaled_image(
    size: tuple[int, int], target: tuple[int, int], mode: str
):
    """A1111 resizes a box without height to the strips above and below; sideways likewise."""
    (width, height), (new_width, new_height), image = size, target, noise(size, mode)
    fitting = (
        min(new_width, width * new_height // height),
        min(new_height, height * new_width // width),
    )
    scaled = image.resize(fitting, Image.Resampling.LANCZOS)
    canvas = Image.new(mode, target)
    left, top = (a // 2 - b // 2 for a, b in zip(target, fitting, strict=True))
    canvas.paste(scaled, (left, top))
    expected, lines = np.array(canvas), np.asarray(scaled)
    if new_width * height < new_height * width:
        expected[:top] = continued_edge(lines[0], lines[1])
        expected[top + fitting[1] :][:top] = continued_edge(lines[-1], lines[-2])
    else:
        columns = np.moveaxis(lines, 1, 0)
        expected[:, :left] = continued_edge(columns[0], columns[1])[:, None]
        expected[:, left + fitting[0] :][:, :left] = continued_edge(columns[-1], columns[-2])[
            :, None
        ]
    assert np.array_equal(np.asarray(resize_and_fill(image, *target)), expected)


@pytest.mark.parametrize("size", [(1, 16000), (16000, 1)])
@pytest.mark.parametrize("resize", [crop_and_resize, resize_and_fill])
def test_an_image_of_a_single_line_is_resized(resize, size: tuple[int, int]):
    """Scaled to cover the result, it would have 32 million lines."""
    assert resize(Image.new("RGB", size, "red"), 2048, 2048).getcolors() == [
        (2048 * 2048, (255, 0, 0))
    ]


@pytest.mark.parametrize("mode", RESIZE_MODES, ids=lambda mode: mode.label)
def test_an_image_of_the_requested_size_is_unchanged(mode):
    image = white_square((40, 24))
    assert mode.resize(image, 40, 24).tobytes() == image.tobytes()
    assert mode.resize_mask(image, 40, 24).tobytes() == image.tobytes()


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
