"""Resizes images by A1111's resize modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from modules.params.param import Param

SIZE_MULTIPLE = 8  # pixels per latent cell
# Returns an image stretched to a width and height: `stretch`, or an upscaler.
Stretch = Callable[[Image.Image, int, int], Image.Image]
_MIN_SIDE = 64
_LANCZOS = Image.Resampling.LANCZOS
# An image that would be larger before it is cropped is cropped first, and its middle then at most half a pixel off: a
# line of thousands of pixels would need gigabytes.
_MAX_SCALED_PIXELS = 2**26


def stretch(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the image stretched to the size (Lanczos), A1111's "Just resize"."""
    if image.size == (width, height):
        return image
    return image.resize((width, height), _LANCZOS)


def just_resize(
    image: Image.Image, width: int, height: int, scale: Stretch = stretch
) -> Image.Image:
    """Return the image stretched to the size, A1111's "Just resize"."""
    return scale(image, width, height)


def crop_and_resize(
    image: Image.Image, width: int, height: int, scale: Stretch = stretch
) -> Image.Image:
    """Return the image scaled to cover the size, its middle cropped to it: A1111's "Crop and resize"."""
    proportions = width * image.height / (height * image.width)
    if width * height * max(proportions, 1 / proportions) > _MAX_SCALED_PIXELS:
        return ImageOps.fit(image, (width, height), _LANCZOS)
    if proportions > 1:
        return centre(_scale_to_width(image, width, scale), width, height)
    return centre(_scale_to_height(image, height, scale), width, height)


def resize_and_fill(
    image: Image.Image, width: int, height: int, scale: Stretch = stretch
) -> Image.Image:
    """Return the whole image scaled and centred, the rest filled with its edges: A1111's "Resize and fill".

    Args:
        image: RGB or L.
        width: In pixels.
        height: Likewise. An odd number of pixels can leave one line at the end black, as in A1111.
        scale: How it is scaled.
    """
    if width * image.height < height * image.width:
        scaled = _scale_to_width(image, width, scale)
        filled, strip = centre(scaled, width, height), height // 2 - scaled.height // 2
        if strip:
            top, bottom = (0, 0, width, 0), (0, scaled.height, width, scaled.height)
            filled.paste(_stretch_edge(scaled, top, (width, strip)))
            filled.paste(_stretch_edge(scaled, bottom, (width, strip)), (0, strip + scaled.height))
        return filled
    scaled = _scale_to_height(image, height, scale)
    filled, strip = centre(scaled, width, height), width // 2 - scaled.width // 2
    if strip:
        left, right = (0, 0, 0, height), (scaled.width, 0, scaled.width, height)
        filled.paste(_stretch_edge(scaled, left, (strip, height)))
        filled.paste(_stretch_edge(scaled, right, (strip, height)), (strip + scaled.width, 0))
    return filled


def _scale_to_width(image: Image.Image, width: int, scale: Stretch) -> Image.Image:
    return scale(image, width, max(1, image.height * width // image.width))


def _scale_to_height(image: Image.Image, height: int, scale: Stretch) -> Image.Image:
    return scale(image, max(1, image.width * height // image.height), height)


def centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the image in the middle of a black one of the size; what does not fit is cropped."""
    if image.size == (width, height):
        return image
    canvas = Image.new(image.mode, (width, height))
    # Each half is rounded by itself, as in A1111: of an odd difference the middle may lie half a pixel off.
    canvas.paste(image, (width // 2 - image.width // 2, height // 2 - image.height // 2))
    return canvas


def _stretch_edge(
    image: Image.Image, edge: tuple[int, int, int, int], size: tuple[int, int]
) -> Image.Image:
    """Return an edge of the image, a box without width or height, stretched to a size.

    Pillow's bicubic filter takes two lines for it: every line of the result is 1.125 of the outermost one less 0.125 of
    the next one.
    """
    return image.resize(size, Image.Resampling.BICUBIC, box=edge)


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


class Resize(Protocol):
    """Resizes an image to a width and height by a mode."""

    def __call__(
        self, image: Image.Image, width: int, height: int, scale: Stretch = stretch, /
    ) -> Image.Image:
        """Return the resized image."""
        ...


@dataclass(frozen=True)
class ResizeMode:
    """One row of RESIZE_MODES.

    Args:
        label: A1111's label.
        resize: Resizes an image.
        resize_mask: Resizes a mask.
        resizes_latents: Whether an image without outpainting is encoded at its own size and its latents are resized.
    """

    label: str
    resize: Resize
    resize_mask: Resize
    resizes_latents: bool = False


# Their indices are the numbers of A1111's API.
RESIZE_MODES = (
    ResizeMode("Just resize", just_resize, just_resize),
    ResizeMode("Crop and resize", crop_and_resize, crop_and_resize),
    ResizeMode("Resize and fill", resize_and_fill, resize_and_fill),
    # A1111 has no mode of its own for the masks of the last one.
    ResizeMode("Just resize (latent upscale)", just_resize, resize_and_fill, resizes_latents=True),
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
