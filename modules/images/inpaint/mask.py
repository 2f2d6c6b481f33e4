"""Inpainting masks: blur, cut-outs and crop region. White is repainted, black is kept."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive


def mask_from_alpha(image: Image.Image) -> Image.Image | None:
    """Return the mask of an image's transparent pixels; None if there are none."""
    if not image.has_transparency_data:
        return None
    mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    return mask if mask.getbbox() else None


def blur_mask(mask: Image.Image, blur_x: float, blur_y: float) -> Image.Image:
    """Return a mask with soft edges.

    As A1111: along x, then along y, by OpenCV's Gaussian of 2 * int(2.5 * blur + 0.5) + 1 taps with sigma = blur. On
    8 bits OpenCV computes it in fixed point, so that no other Gaussian gives the same mask.

    Args:
        mask: L.
        blur_x: Horizontal standard deviation in pixels; 0 does not blur.
        blur_y: Vertical standard deviation in pixels; 0 does not blur.
    """
    return _blur_axis(_blur_axis(mask, blur_x, is_horizontal=True), blur_y, is_horizontal=False)


def cut_out(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return what a mask leaves of an image, transparent black elsewhere.

    Args:
        image: RGB.
        mask: L, of the image's size; white is cut away.

    Returns:
        RGBa: premultiplied, as A1111 composites it. Its 8 bits lose digits where little is left.
    """
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBa"), mask=ImageOps.invert(mask))
    return kept


def _blur_axis(mask: Image.Image, sigma: float, *, is_horizontal: bool) -> Image.Image:
    """Return the mask blurred along one axis. Only the region that can change is computed: photos are large."""
    if sigma <= 0:
        return mask
    import cv2  # not before a run: the page answers without it

    radius = int(2.5 * sigma + 0.5)
    edges = _edge_box(mask.getbbox(), ImageOps.invert(mask).getbbox())
    target = _grow(edges, radius, mask.size)
    source = _grow(target, radius, mask.size)
    if target is None or source is None:
        return mask
    taps = 2 * radius + 1
    kernel_size = (taps, 1) if is_horizontal else (1, taps)
    blurred = Image.fromarray(cv2.GaussianBlur(np.asarray(mask.crop(source)), kernel_size, sigma))
    left, top, right, bottom = (a - b for a, b in zip(target, source[:2] * 2, strict=True))
    result = mask.copy()
    result.paste(blurred.crop((left, top, right, bottom)), target)
    return result


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
    box_width, box_height, ratio = right - left, bottom - top, width / height
    if (
        box_width / box_height > ratio
    ):  # by the ratio, as in A1111: rounded in another order, it can be a pixel less
        top, bottom = _widen(top, bottom, int(box_width / ratio), mask.height)
    else:
        left, right = _widen(left, right, int(box_height * ratio), mask.width)
    return left, top, right, bottom


def _widen(start: int, stop: int, length: int, limit: int) -> tuple[int, int]:
    """Return an interval grown around its centre to a length, within 0 to limit."""
    length = min(max(length, stop - start), limit)
    start -= (length - (stop - start)) // 2
    start = min(max(start, 0), limit - length)
    return start, start + length
