"""The rounds and sizes through which A1111 enlarges an image, whatever enlarges it in each of them."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from PIL.Image import Resampling

from modules.images.resize import SIZE_MULTIPLE, stretch

# One round: returns an RGB image enlarged. Filters take the factor for both sides, networks have one of their own.
EnlargeOnce = Callable[[Image.Image, float], Image.Image]
_MAX_ROUNDS = 3


def enlarge_by_filter(resampling: Resampling) -> EnlargeOnce:
    """Return the round of one of Pillow's filters."""

    def enlarge(image: Image.Image, scale: float) -> Image.Image:
        size = int(image.width * scale), int(image.height * scale)
        return image.resize(size, resampling)

    return enlarge


def upscaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the size of an image that is upscaled by a factor: multiples of 8, as in A1111."""
    width, height = (
        max(SIZE_MULTIPLE, int(side * scale // SIZE_MULTIPLE * SIZE_MULTIPLE)) for side in size
    )
    return width, height


def upscale_by(image: Image.Image, scale: float, enlarge: EnlargeOnce) -> Image.Image:
    """Return the image enlarged by a factor, its sides multiples of 8, as A1111's upscalers do.

    There are up to three rounds, until both sides are large enough or a round changes nothing; Lanczos makes the exact
    size of that. A factor of 1 has one round.

    Args:
        image: RGB.
        scale: The factor for both sides.
        enlarge: Of the upscaler.
    """
    target = upscaled_size(image.size, scale)
    for index in range(_MAX_ROUNDS):
        is_large = image.width >= target[0] and image.height >= target[1]
        if is_large and (index or scale != 1):
            break
        before = image.size
        image = enlarge(image, scale)
        if image.size == before:
            break
    return stretch(image, *target)


def upscale_to(
    image: Image.Image, size: tuple[int, int], enlarge: EnlargeOnce | None
) -> Image.Image:
    """Return the image stretched to a size by an upscaler, as A1111's "Just resize" does.

    The upscaler enlarges both sides by the larger of the two factors (see `upscale_by`), and Lanczos stretches that to
    the size. An upscaler never shrinks an image.

    Args:
        image: RGB.
        size: Width and height.
        enlarge: Of the upscaler; None stretches straight to the size.
    """
    scale = max(size[0] / image.width, size[1] / image.height)
    if enlarge is not None and scale > 1:
        image = upscale_by(image, scale, enlarge)
    return stretch(image, *size)
