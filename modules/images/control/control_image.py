"""Brings control images to the size of the result: edges stay one pixel wide, and the colours of classes stay pure.

The rules are those of sd-webui-controlnet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.params.requests.control_unit import ResizeMode

Pixels = NDArray[np.uint8]  # [height, width, channels]
_MOST_CLASSES = 200  # an image of fewer colours, and more than two, is a map of classes
_DARK, _LIGHT = 16, 240  # beyond them lie the colours of black and white images
_MIDDLE_GREY = 127
_WHITE = 255
# Of a line of one pixel's width, in four directions.
_LINES = (
    ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
    ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
)
# Golay's L for thinning: 1 belongs to a shape, -1 does not, 0 is either; turned four times.
_THINNING = (((-1, -1, -1), (0, 1, 0), (1, 1, 1)), ((0, -1, -1), (1, 1, -1), (0, 1, 0)))
_MAX_THINNINGS = 32


def fit_control_image(image: Pixels, width: int, height: int, mode: ResizeMode) -> Pixels:
    """Return a control image of the size of the result.

    Args:
        image: uint8 [height, width, channels]; a fourth channel is the mask of an inpainting one.
        width: In pixels.
        height: Likewise.
        mode: What becomes of other proportions.
    """
    rows, columns = image.shape[:2]
    if mode == "Just Resize":
        return resize_control_image(image, width, height)
    scales = height / rows, width / columns
    scale = max(scales) if mode == "Crop and Resize" else min(scales)
    scaled = resize_control_image(
        image, max(1, round(columns * scale)), max(1, round(rows * scale))
    )
    rows, columns = scaled.shape[:2]
    if mode == "Crop and Resize":
        top, left = max(0, (rows - height) // 2), max(0, (columns - width) // 2)
        return np.ascontiguousarray(scaled[top : top + height, left : left + width])
    filled = np.empty((height, width, image.shape[2]), np.uint8)
    filled[:] = _border_colour(scaled)
    filled[:, :, 3:] = _WHITE  # what is filled is new
    top, left = max(0, (height - rows) // 2), max(0, (width - columns) // 2)
    filled[top : top + rows, left : left + columns] = scaled[: height - top, : width - left]
    return filled


def resize_control_image(image: Pixels, width: int, height: int) -> Pixels:
    """Return a control image stretched to a size; see `fit_control_image`."""
    import cv2  # not before a run: the page answers without it

    if image.shape[:2] == (height, width):
        return image
    colours, mask = image[:, :, :3], image[:, :, 3:]
    old, new = image.shape[0] * image.shape[1], width * height
    count = _count_colours(colours)
    if 2 < count < _MOST_CLASSES:
        interpolation = cv2.INTER_NEAREST
    else:
        interpolation = cv2.INTER_AREA if new < old else cv2.INTER_CUBIC
    stretched = cv2.resize(
        np.ascontiguousarray(colours), (width, height), interpolation=interpolation
    )
    resized: Pixels = np.asarray(stretched, np.uint8)
    if count == 2 and colours.min() < _DARK and colours.max() > _LIGHT:
        resized = _make_binary(resized, is_thin=_is_thin(colours))
    if not mask.size:
        return resized
    resized_mask = cv2.resize(
        np.ascontiguousarray(mask), (width, height), interpolation=interpolation
    )
    is_masked = np.where(resized_mask > _MIDDLE_GREY, np.uint8(255), np.uint8(0))
    return np.dstack([resized, is_masked]).astype(np.uint8)


def _count_colours(image: Pixels) -> int:
    packed = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return len(np.unique(packed))


def _border_colour(image: Pixels) -> NDArray[np.uint8]:
    """Return the median colour of the outermost pixels."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return np.asarray(np.median(border, axis=0), np.uint8)


def _is_thin(image: Pixels) -> bool:
    """Return whether most of what is white lies in lines of a pixel's width: opening removes them."""
    import cv2

    opened = cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    thin, white = np.count_nonzero(opened < image), np.count_nonzero(image > _MIDDLE_GREY)
    return 2 * int(thin) > int(white)


def _make_binary(image: Pixels, *, is_thin: bool) -> Pixels:
    """Return a resized image in black and white again, lines of a pixel's width as such."""
    import cv2

    grey = image.mean(axis=2).clip(0, 255).astype(np.uint8)
    if is_thin:
        ridges = np.zeros_like(grey)
        for line in _LINES:
            is_ridge = cv2.dilate(grey, np.array(line, np.uint8)) == grey
            ridges[is_ridge] = grey[is_ridge]
        grey = ridges
    binary: Pixels = np.asarray(
        cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1], np.uint8
    )
    if is_thin:
        binary = _thin(binary)
    return np.repeat(binary[:, :, None], 3, axis=2)


def _thin(image: Pixels) -> Pixels:
    """Return white shapes worn down to lines (Gonzalez and Woods, Digital Image Processing, 9.5: thinning)."""
    import cv2

    kernels = [np.rot90(np.array(row), turn) for turn in range(4) for row in _THINNING]
    thinned = image
    for _ in range(_MAX_THINNINGS):
        before = thinned
        for kernel in kernels:
            hits = cv2.morphologyEx(thinned, cv2.MORPH_HITMISS, kernel.astype(np.int32))
            thinned: Pixels = thinned & ~np.asarray(hits, np.uint8)
        if np.array_equal(before, thinned):
            break
    return thinned
