"""What the pixels of a file mean: a picture, a mask or depth. Each kind is read into one mode of Pillow's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAPER = (255, 255, 255)  # behind what is transparent, as in A1111
_OPAQUE = 128  # from more than this on, a pixel of a brush's layer counts as painted
_DEEP = ("I", "F")  # how the modes begin that hold more than 8 bits, all of them grey
_DEEPEST = 65535


def has_transparent_pixels(image: Image.Image) -> bool:
    """Return whether any pixel is not opaque."""
    return (
        image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255
    )


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, on white where it is transparent."""
    if image.mode.startswith(_DEEP):
        return Image.fromarray((_deep_levels(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, PAPER), layer)
    return image.convert("RGB")


def to_mask(image: Image.Image) -> Image.Image:
    """Return a mask in L, as A1111 reads it: white is masked.

    What is transparent anywhere is a brush's layer, and masked is what is opaque; else the grey is the mask.
    """
    if image.mode.startswith(_DEEP):
        return to_rgb(image).convert("L")
    if has_transparent_pixels(image):
        alpha = image.convert("RGBA").getchannel("A")
        return alpha.point([255 if level > _OPAQUE else 0 for level in range(256)])
    return image.convert("L")


def to_depth(image: Image.Image) -> Image.Image:
    """Return depth in 16 bits of grey: white is near. 8 bits are spread over the whole range."""
    if image.mode.startswith(_DEEP):
        return Image.fromarray(_deep_levels(image))
    return Image.fromarray(np.asarray(to_rgb(image).convert("L")).astype(np.uint16) * 257)


def _deep_levels(image: Image.Image) -> NDArray[np.uint16]:
    """Return 16-bit levels. What has no range of its own (32 bits, floats) is taken by its largest value."""
    if image.mode.startswith("I;16"):
        return np.asarray(image.convert("I")).astype(np.uint16)
    values: NDArray[np.floating[Any]] = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = float(values.max(initial=0.0))
    known = (1.0,) if image.mode == "F" else (float(_DEEPEST),)
    top = next((one for one in known if largest <= one), largest)
    return np.rint(np.maximum(values, 0) / top * _DEEPEST).astype(np.uint16)


@dataclass(frozen=True)
class ImageKind:
    """One meaning of an uploaded file's pixels.

    Args:
        mode: What they are kept in.
        channel_bytes: Bytes of one pixel.
        convert: From any mode that Pillow opens.
    """

    mode: str
    channel_bytes: int
    convert: Callable[[Image.Image], Image.Image]


IMAGE = ImageKind("RGB", 3, to_rgb)
MASK = ImageKind("L", 1, to_mask)
DEPTH = ImageKind("I;16", 2, to_depth)
