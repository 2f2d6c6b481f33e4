"""A picture in another size, by A1111's resize modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

SIZE_MULTIPLE = 8  # one cell of the latents
_LANCZOS = Image.Resampling.LANCZOS


def stretch(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture stretched to the size (Lanczos), A1111's "Just resize"."""
    if image.size == (width, height):
        return image
    return image.resize((width, height), _LANCZOS)


def crop_and_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture's middle, cut to the new proportions and scaled (Lanczos); nothing is stretched.

    It is A1111's "Crop and resize".
    """
    return ImageOps.fit(image, (width, height), _LANCZOS)


def resize_and_fill(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the whole picture in the middle of the size, its edges drawn out to the sides that stay free.

    It is A1111's "Resize and fill".
    """
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    sides = left, top, width - inner[0] - left, height - inner[1] - top
    return extend_edges(stretch(image, *inner), sides)


def extend_edges(image: Image.Image, sides: tuple[int, int, int, int]) -> Image.Image:
    """Return the picture with its outermost pixels repeated outwards.

    Args:
        image: RGB or L.
        sides: Pixels to add at the left, the top, the right and the bottom.
    """
    if not any(sides):
        return image
    left, top, right, bottom = sides
    room = [(top, bottom), (left, right), (0, 0)]
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, room[: pixels.ndim], mode="edge"))


@dataclass(frozen=True)
class ResizeMode:
    """One way to give a picture the asked size.

    Args:
        label: A1111's.
        resize: Picture, width and height to the resized picture.
        upscales_latents: Whether a smaller picture keeps its size and its latents are enlarged in its place.
    """

    label: str
    resize: Callable[[Image.Image, int, int], Image.Image]
    upscales_latents: bool = False


# Their places are the numbers of A1111's API.
RESIZE_MODES = (
    ResizeMode("Just resize", stretch),
    ResizeMode("Crop and resize", crop_and_resize),
    ResizeMode("Resize and fill", resize_and_fill),
    ResizeMode("Just resize (latent upscale)", stretch, upscales_latents=True),
)


def nearest_valid_size(width: int, height: int) -> tuple[int, int]:
    """Return the nearest sizes that are multiples of 8, at least 64: what can be made."""
    wide, high = (max(64, round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE) for side in (width, height))
    return wide, high
