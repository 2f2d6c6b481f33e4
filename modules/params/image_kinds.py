"""Kinds of input images: image, masks and depth. Each is converted to one of Pillow's modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND = (255, 255, 255)  # behind transparent pixels, as in A1111
_ALPHA_THRESHOLD = 128  # a pixel of a brush layer counts as painted above this
_HIGH_BIT_DEPTH_MODES = ("I", "F")  # prefixes of the modes with more than 8 bits, all of them grey
_MAX_UINT16 = 65535


def has_transparent_pixels(image: Image.Image) -> bool:
    """Return whether any pixel is not opaque."""
    return (
        image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB, composited on white where it is transparent."""
    if image.mode.startswith(_HIGH_BIT_DEPTH_MODES):
        return Image.fromarray((_to_uint16(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), layer)
    return image.convert("RGB")


def to_mask(image: Image.Image) -> Image.Image:
    """Return a mask in L, as A1111 reads it: white is masked.

    An image with transparent pixels is a brush layer, whose opaque pixels are masked; else the grey is the mask.
    """
    if image.mode.startswith(_HIGH_BIT_DEPTH_MODES):
        return to_rgb(image).convert("L")
    if has_transparent_pixels(image):
        alpha = image.convert("RGBA").getchannel("A")
        return alpha.point([255 if value > _ALPHA_THRESHOLD else 0 for value in range(256)])
    return image.convert("L")


def to_soft_mask(image: Image.Image) -> Image.Image:
    """Return a mask in L as A1111 reads it where masks are not rounded: a brush layer's alpha stays as soft as it is."""
    if has_transparent_pixels(image):
        return image.convert("RGBA").getchannel("A")
    return to_mask(image)


def to_depth(image: Image.Image) -> Image.Image:
    """Return depth in 16 bits of grey: white is near. 8-bit values are scaled to the full range."""
    if image.mode.startswith(_HIGH_BIT_DEPTH_MODES):
        return Image.fromarray(_to_uint16(image))
    return Image.fromarray(np.asarray(to_rgb(image).convert("L")).astype(np.uint16) * 257)


def _to_uint16(image: Image.Image) -> NDArray[np.uint16]:
    """Return 16-bit values. Modes without a fixed range (32 bits, floats) are scaled by their largest value.

    A float image within 0 to 1 and an integer image within 16 bits keep their scale.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image.convert("I")).astype(np.uint16)
    values: NDArray[np.floating[Any]] = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = float(values.max(initial=0.0))
    full_scale = max(largest, 1.0 if image.mode == "F" else float(_MAX_UINT16))
    return np.rint(np.maximum(values, 0) / full_scale * _MAX_UINT16).astype(np.uint16)


@dataclass(frozen=True)
class ImageKind:
    """What the pixels of an uploaded file mean.

    Args:
        mode: Pillow's mode of the converted image.
        convert: Converts from any mode that Pillow opens.
    """

    mode: str
    convert: Callable[[Image.Image], Image.Image]


IMAGE = ImageKind("RGB", to_rgb)
MASK = ImageKind("L", to_mask)
SOFT_MASK = ImageKind("L", to_soft_mask)
DEPTH = ImageKind("I;16", to_depth)
