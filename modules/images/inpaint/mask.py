"""Masks: which pixels of a picture are repainted. White is repainted, black stays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are the first outside
_STRIP_ROWS = 64  # few enough to stay in a processor's cache


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Return the mask of what is transparent in a picture; None where nothing is."""
    if not image.has_transparency_data:
        return None
    mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    return mask if mask.getbbox() else None


def blur_mask(mask: Image.Image, blur_x: float, blur_y: float) -> Image.Image:
    """Return a mask with soft edges.

    As A1111: along x, then along y, by OpenCV's Gaussian: 2 * int(2.5 * blur + 0.5) + 1 taps, sigma = blur, levels
    reflected at the border without repeating the outermost (BORDER_REFLECT_101).

    Args:
        mask: L.
        blur_x: Standard deviation in pixels; 0 leaves the mask as it is.
        blur_y: Likewise, downwards.
    """
    return _blurred_downwards(_blurred_downwards(mask, blur_x, sideways=True), blur_y)


def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """Return the taps of OpenCV's Gaussian as A1111 sizes it, from the middle outwards; with the mirrored ones they sum to 1."""
    taps = np.exp(-(np.arange(int(2.5 * sigma + 0.5) + 1) ** 2) / (2 * sigma**2))
    return (taps / (2 * taps.sum() - taps[0])).astype(np.float32)


def _blurred_downwards(mask: Image.Image, sigma: float, *, sideways: bool = False) -> Image.Image:
    """Return the mask blurred along one direction. Only what can change is computed: photos are large."""
    if sigma <= 0:
        return mask
    taps = gaussian_kernel(sigma)
    radius = len(taps) - 1
    changing = _grown(_meeting(mask.getbbox(), ImageOps.invert(mask).getbbox()), radius, mask.size)
    if changing is None:
        return mask
    source = _grown(changing, radius, mask.size)
    assert source is not None
    levels: NDArray[np.float32] = np.asarray(mask.crop(source)).astype(np.float32)
    levels = np.ascontiguousarray(np.transpose(levels)) if sideways else levels
    padded = np.pad(levels, ((radius, radius), (0, 0)), mode="reflect")
    soft = np.concatenate(list(_strips(padded, taps)))
    soft = np.transpose(soft) if sideways else soft
    result = mask.copy()
    inner = tuple(a - b for a, b in zip(changing, source[:2] * 2, strict=True))
    result.paste(Image.fromarray(soft).crop((inner[0], inner[1], inner[2], inner[3])), changing)
    return result


def _strips(padded: NDArray[np.float32], taps: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """Yield the weighted sums over the rows around each row, strip by strip."""
    radius = len(taps) - 1
    for start in range(0, len(padded) - 2 * radius, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, len(padded) - 2 * radius)
        total = padded[start + radius : stop + radius] * taps[0]
        for distance in range(1, radius + 1):
            above = padded[start + radius - distance : stop + radius - distance]
            below = padded[start + radius + distance : stop + radius + distance]
            total += (above + below) * taps[distance]
        yield np.rint(total).astype(np.uint8)


def _meeting(one: Box | None, other: Box | None) -> Box | None:
    if one is None or other is None:
        return None
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    # They only touch where every pixel of one lies outside the other: a border between them is all that changes.
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _grown(box: Box | None, by: int, size: tuple[int, int]) -> Box | None:
    if box is None:
        return None
    left, top, right, bottom = box
    return max(0, left - by), max(0, top - by), min(size[0], right + by), min(size[1], bottom + by)


def crop_region(mask: Image.Image, padding: int, width: int, height: int) -> Box | None:
    """Return the part of a picture that is repainted when only the masked area is: A1111's crop region.

    The box around all that is not black grows by the padding, then to the proportions of width to height, and is
    shifted inside the picture; where that is too small, it keeps to the picture and other proportions.

    Args:
        mask: Blurred already, of the picture's size.
        padding: Pixels around.
        width: Of what is made of the box.
        height: Likewise.

    Returns:
        None when the mask is black.
    """
    box = _grown(mask.getbbox(), padding, mask.size)
    if box is None:
        return None
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    if wide / high > width / height:
        top, bottom = _widened(top, bottom, int(wide * height / width), mask.height)
    else:
        left, right = _widened(left, right, int(high * width / height), mask.width)
    return left, top, right, bottom


def _widened(start: int, stop: int, length: int, limit: int) -> tuple[int, int]:
    """Return a stretch grown around its middle to a length, inside 0 to limit."""
    length = min(max(length, stop - start), limit)
    start -= (length - (stop - start)) // 2
    start = min(max(start, 0), limit - length)
    return start, start + length
