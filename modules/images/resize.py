"""Resizes images by A1111's resize modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from modules.params.param import Param

SIZE_MULTIPLE = 8  # pixels per latent cell
_MIN_SIDE = 64
_LANCZOS = Image.Resampling.LANCZOS


def stretch(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the image stretched to the size (Lanczos), A1111's "Just resize"."""
    if image.size == (width, height):
        return image
    return image.resize((width, height), _LANCZOS)


def resize_and_blend(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    second: Image.Resampling | None,
    second_visibility: float,
) -> Image.Image:
    """Return the image stretched to a size, with the result of a second resampling blended in, as A1111's Extras do."""
    resized = image.resize(size, resampling)
    if second is None:
        return resized
    return Image.blend(resized, image.resize(size, second), second_visibility)


def crop_and_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the image's centre, cropped to the new aspect ratio and scaled (Lanczos), A1111's "Crop and resize"."""
    return ImageOps.fit(image, (width, height), _LANCZOS)


def resize_and_fill(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the whole image scaled and centred, its edge pixels extended into the rest, A1111's "Resize and fill"."""
    scale = min(width / image.width, height / image.height)
    scaled = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    left, top = (width - scaled[0]) // 2, (height - scaled[1]) // 2
    sides = left, top, width - scaled[0] - left, height - scaled[1] - top
    return extend_edges(stretch(image, *scaled), sides)


def extend_edges(image: Image.Image, sides: tuple[int, int, int, int]) -> Image.Image:
    """Return the image padded by repeating its outermost pixels.

    Args:
        image: RGB or L.
        sides: Padding in pixels: left, top, right, bottom.
    """
    if not any(sides):
        return image
    left, top, right, bottom = sides
    padding = [(top, bottom), (left, right), (0, 0)]
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, padding[: pixels.ndim], mode="edge"))


@dataclass(frozen=True)
class ResizeMode:
    """One row of RESIZE_MODES.

    Args:
        label: A1111's label.
        resize: Takes image, width and height; returns the resized image.
        upscales_latents: Whether a smaller image keeps its size and its latents are upscaled instead.
    """

    label: str
    resize: Callable[[Image.Image, int, int], Image.Image]
    upscales_latents: bool = False


# Their indices are the numbers of A1111's API.
RESIZE_MODES = (
    ResizeMode("Just resize", stretch),
    ResizeMode("Crop and resize", crop_and_resize),
    ResizeMode("Resize and fill", resize_and_fill),
    ResizeMode("Just resize (latent upscale)", stretch, upscales_latents=True),
)


def nearest_valid_size(width: int, height: int) -> tuple[int, int]:
    """Return the nearest width and height that can be generated: multiples of 8, at least 64."""
    new_width, new_height = (
        max(_MIN_SIDE, round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE) for side in (width, height)
    )
    return new_width, new_height


def scale_size(size: tuple[int, int], factor: float, side_param: Param) -> tuple[int, int]:
    """Return a size times a factor, with both sides valid for `side_param`; proportions are kept where possible."""
    assert side_param.ge is not None and side_param.le is not None and side_param.multiple_of
    factor = min(factor, side_param.le / max(size))
    factor = max(factor, min(side_param.ge / min(size), side_param.le / max(size)))
    return tuple(
        int(
            max(
                side_param.ge,
                min(
                    side_param.le,
                    length * factor // side_param.multiple_of * side_param.multiple_of,
                ),
            )
        )
        for length in size
    )  # pyright: ignore[reportReturnType] - two sides


def upscale_image(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling | None
) -> Image.Image:
    """Return the image stretched to a size by an upscaler, through the sizes that A1111 takes.

    The upscaler enlarges both sides by the larger of the two factors, to whole pixels; Lanczos shrinks that to the
    multiples of 8 below, and stretches those to the size. An upscaler never shrinks an image itself, and enlarges none
    that has those multiples of 8 already.

    Args:
        image: RGB.
        size: Width and height.
        resampling: The upscaler's filter; None stretches straight to the size, by Lanczos.
    """
    factor = max(size[0] / image.width, size[1] / image.height)
    width, height = image.width * factor, image.height * factor
    floor = (
        int(width // SIZE_MULTIPLE * SIZE_MULTIPLE),
        int(height // SIZE_MULTIPLE * SIZE_MULTIPLE),
    )
    if resampling is not None and factor > 1:
        if floor[0] > image.width or floor[1] > image.height:
            image = image.resize((int(width), int(height)), resampling)
        image = stretch(image, *floor)
    return stretch(image, *size)
