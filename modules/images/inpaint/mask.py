"""Inpainting masks: blur and crop region. White is repainted, black is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive
_STRIP_ROWS = 64  # few enough to stay in a processor's cache


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Return the mask of an image's transparent pixels; None if there are none."""
    if not image.has_transparency_data:
        return None
    mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    return mask if mask.getbbox() else None


def blur_mask(mask: Image.Image, blur_x: float, blur_y: float) -> Image.Image:
    """Return a mask with soft edges.

    As A1111: along x, then along y, by OpenCV's Gaussian: 2 * int(2.5 * blur + 0.5) + 1 taps, sigma = blur, values
    reflected at the border without repeating the outermost (BORDER_REFLECT_101).

    Args:
        mask: L.
        blur_x: Horizontal standard deviation in pixels; 0 does not blur.
        blur_y: Vertical standard deviation in pixels; 0 does not blur.
    """
    return _blur_axis(_blur_axis(mask, blur_x, is_horizontal=True), blur_y)


def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """Return one half of OpenCV's Gaussian kernel in A1111's size, centre tap first; the whole kernel sums to 1."""
    taps = np.exp(-(np.arange(int(2.5 * sigma + 0.5) + 1) ** 2) / (2 * sigma**2))
    return (taps / (2 * taps.sum() - taps[0])).astype(np.float32)


def _blur_axis(mask: Image.Image, sigma: float, *, is_horizontal: bool = False) -> Image.Image:
    """Return the mask blurred along one axis. Only the region that can change is computed: photos are large."""
    if sigma <= 0:
        return mask
    taps = gaussian_kernel(sigma)
    radius = len(taps) - 1
    edges = _edge_box(mask.getbbox(), ImageOps.invert(mask).getbbox())
    target = _grow(edges, radius, mask.size)
    if target is None:
        return mask
    source = _grow(target, radius, mask.size)
    assert source is not None
    values: NDArray[np.float32] = np.asarray(mask.crop(source)).astype(np.float32)
    values = np.ascontiguousarray(np.transpose(values)) if is_horizontal else values
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="reflect")
    blurred = np.concatenate(list(_convolve_strips(padded, taps)))
    blurred = np.transpose(blurred) if is_horizontal else blurred
    result = mask.copy()
    left, top, right, bottom = (a - b for a, b in zip(target, source[:2] * 2, strict=True))
    result.paste(Image.fromarray(blurred).crop((left, top, right, bottom)), target)
    return result


def _convolve_strips(
    padded: NDArray[np.float32], taps: NDArray[np.float32]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the vertical convolution in strips of rows."""
    radius = len(taps) - 1
    for start in range(0, len(padded) - 2 * radius, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, len(padded) - 2 * radius)
        total = padded[start + radius : stop + radius] * taps[0]
        for distance in range(1, radius + 1):
            above = padded[start + radius - distance : stop + radius - distance]
            below = padded[start + radius + distance : stop + radius + distance]
            total += (above + below) * taps[distance]
        yield np.rint(total).astype(np.uint8)


def _edge_box(white: Box | None, black: Box | None) -> Box | None:
    """Return the box of all edges, from the boxes of what is not black and what is not white."""
    if white is None or black is None:
        return None
    left, top = max(white[0], black[0]), max(white[1], black[1])
    right, bottom = min(white[2], black[2]), min(white[3], black[3])
    # Boxes that only touch, with every pixel of one outside the other: the border between them is the only edge.
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _grow(box: Box | None, margin: int, size: tuple[int, int]) -> Box | None:
    """Return the box grown by a margin on all sides, clipped to an image's size."""
    if box is None:
        return None
    left, top, right, bottom = box
    return (
        max(0, left - margin),
        max(0, top - margin),
        min(size[0], right + margin),
        min(size[1], bottom + margin),
    )


def crop_region(mask: Image.Image, padding: int, width: int, height: int) -> Box | None:
    """Return the region for inpaint area "only masked", A1111's crop region.

    The bounding box of all pixels that are not black grows by the padding, then to the aspect ratio of width to height,
    and is shifted inside the image; if the image is too small for that, the box is clipped and its ratio differs.

    Args:
        mask: Blurred already, of the image's size.
        padding: Margin around the bounding box in pixels.
        width: Generated width.
        height: Generated height.

    Returns:
        None for a black mask.
    """
    box = _grow(mask.getbbox(), padding, mask.size)
    if box is None:
        return None
    left, top, right, bottom = box
    box_width, box_height = right - left, bottom - top
    if box_width / box_height > width / height:
        top, bottom = _widen(top, bottom, int(box_width * height / width), mask.height)
    else:
        left, right = _widen(left, right, int(box_height * width / height), mask.width)
    return left, top, right, bottom


def _widen(start: int, stop: int, length: int, limit: int) -> tuple[int, int]:
    """Return an interval grown around its centre to a length, within 0 to limit."""
    length = min(max(length, stop - start), limit)
    start -= (length - (stop - start)) // 2
    start = min(max(start, 0), limit - length)
    return start, start + length
