from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.params.image_kinds import DEPTH, IMAGE, MASK, to_depth, to_mask, to_rgb, to_soft_mask


def test_a_brush_layer_is_read_by_its_alpha():
    layer = Image.new("RGBA", (3, 1), (0, 0, 0, 128))
    layer.putpixel((1, 0), (0, 0, 0, 129))
    layer.putpixel((2, 0), (255, 255, 255, 0))
    assert to_mask(layer).tobytes() == bytes([0, 255, 0])


def test_a_soft_brush_layer_keeps_its_alpha_and_another_mask_its_grey_value():
    layer = Image.new("RGBA", (2, 1), (255, 255, 255, 128))
    layer.putpixel((1, 0), (0, 0, 0, 129))
    assert to_soft_mask(layer).tobytes() == bytes([128, 129])
    assert to_soft_mask(Image.new("RGB", (1, 1), (100, 100, 100))).tobytes() == bytes([100])


def test_an_opaque_mask_is_read_by_its_grey_value():
    opaque = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    opaque.putpixel((1, 0), (100, 100, 100, 255))
    assert to_mask(opaque).tobytes() == bytes([255, 100])
    assert to_mask(opaque.convert("RGB")).tobytes() == bytes([255, 100])


def grey16(values: list[int]) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=np.uint16))


def test_depth_keeps_16_bits_and_8_bits_are_scaled_to_them():
    assert np.asarray(to_depth(grey16([0, 1, 32768, 65535]))).tolist() == [[0, 1, 32768, 65535]]
    assert np.asarray(
        to_depth(Image.fromarray(np.array([[0, 1, 255]], dtype=np.uint8)))
    ).tolist() == [[0, 257, 65535]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], dtype=np.float32), [0, 32768, 65535]),
        (np.array([[-1, 5, 10]], dtype=np.float32), [0, 32768, 65535]),
        (np.array([[0, 1, 65535]], dtype=np.int32), [0, 1, 65535]),
        (np.array([[0, 50000, 100000]], dtype=np.int32), [0, 32768, 65535]),
        (np.array([[0, np.nan, 1]], dtype=np.float32), [0, 0, 65535]),
    ],
)
def test_modes_without_a_fixed_range_are_scaled_by_the_largest_value(
    values: np.ndarray, expected: list[int]
):
    assert np.asarray(to_depth(Image.fromarray(values)))[0].tolist() == expected


def test_a_16_bit_image_keeps_its_upper_8_bits():
    assert to_rgb(grey16([0, 32768, 65535])).tobytes() == bytes([0] * 3 + [128] * 3 + [255] * 3)
    assert to_mask(grey16([0, 65535])).tobytes() == bytes([0, 255])


@pytest.mark.parametrize("kind", [IMAGE, MASK, DEPTH], ids=lambda kind: kind.mode)
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_every_mode_of_pillow_is_read(kind, mode: str):
    converted = kind.convert(Image.new(mode, (3, 2)))
    assert (converted.mode, converted.size) == (kind.mode, (3, 2))


def test_a_mask_in_a_palette_is_read_by_its_grey_value():
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.putpixel((1, 0), 1)
    assert to_mask(palette).tobytes() == bytes([0, 255])
