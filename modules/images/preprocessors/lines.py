"""Outlines by formulas: Canny, XDoG, thresholds, line art and straight lines. As in sd-webui-controlnet unless noted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.sizes import Pixels, pad_edges, resize_to_resolution

_LINE_NOISE = 8  # intensities up to this are no lines
Numbers = NDArray[Any]  # OpenCV returns arrays of any dtype
_SAMPLES = 17  # of the contrast along a line
_SOBEL_FULL = 4 * 255  # of an edge between black and white


def find_canny(image: Pixels, resolution: int, low: float, high: float, *_: object) -> Pixels:
    """Return edges by Canny (1986), white on black.

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        low: Gradient above which a pixel continues an edge.
        high: Gradient above which one begins.
    """
    import cv2

    small = resize_to_resolution(image, resolution)
    return _three(_cut(cv2.Canny(pad_edges(small), int(low), int(high)), small))


def draw_xdog(image: Pixels, resolution: int, threshold: float, *_: object) -> Pixels:
    """Return a scribble, white on black: where a fine blur is darker than a coarse one (Winnemöller et al., 2012).

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        threshold: A larger one leaves fewer lines.
    """
    small = resize_to_resolution(image, resolution)
    paper = _to_uint8(255 - _smallest_difference(pad_edges(small), 5.0, 0.5))
    ink = (255 - paper) * np.uint8(2)  # A1111's sum of bytes, which begins again at 256
    return _three(_cut(_white_above(ink, threshold), small))


def draw_line_art(image: Pixels, resolution: int, *_: object) -> Pixels:
    """Return the lines of a drawing, white on black: what is darker than its surroundings, the median line at 127."""
    small = resize_to_resolution(image, resolution)
    ink = _smallest_difference(pad_edges(small), 6.0).clip(0, 255)
    lines = ink[ink > _LINE_NOISE]
    middle = max(16.0, float(np.median(lines))) if lines.size else 16.0
    return _three(_cut(_to_uint8(ink / middle * 127), small))


def apply_threshold(image: Pixels, resolution: int, threshold: float, *_: object) -> Pixels:
    """Return white where all channels are above a threshold, else black."""
    import cv2

    small = resize_to_resolution(image, resolution)
    lowest, highest = (int(threshold) + 1,) * 3, (255,) * 3
    return _three(np.asarray(cv2.inRange(small, lowest, highest), np.uint8))


def invert(image: Pixels, *_: object) -> Pixels:
    """Return the negative: a drawing in black on white becomes white on black."""
    return 255 - image


def draw_straight_lines(
    image: Pixels, resolution: int, strength: float, length: float, *_: object
) -> Pixels:
    """Return straight lines, white on black, by OpenCV's line segment detector (von Gioi et al., 2012).

    It replaces the network M-LSD, and takes its sliders.

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        strength: Contrast of a line, 0 to 1, below which it is left out.
        length: In pixels of the image at 256, as those of M-LSD: shorter lines are left out.
    """
    import cv2

    small = resize_to_resolution(image, resolution)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    # Any: OpenCV's stubs say that there always are lines.
    detector: Any = cv2.createLineSegmentDetector()
    found = detector.detect(grey)[0]
    drawing = np.zeros(grey.shape, np.uint8)
    if found is None:
        return _three(drawing)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    ends: Numbers = found.reshape((-1, 2, 2)).astype(np.float64)
    lengths: Numbers = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    is_kept = (lengths > length * min(grey.shape) / 256) & (_contrasts(gradient, ends) > strength)
    cv2.polylines(drawing, list(ends[is_kept].astype(np.int32)), isClosed=False, color=255)
    return _three(drawing)


def _contrasts(gradient: Numbers, ends: Numbers) -> Numbers:
    """Return the mean gradient along each segment: 1 between black and white.

    Args:
        gradient: By Sobel, of grey values.
        ends: [segments, 2, 2]: x and y of both ends.
    """
    shares = np.linspace(0, 1, _SAMPLES)[None, :, None]
    points = ends[:, None, 0] + shares * (ends[:, None, 1] - ends[:, None, 0])
    places: Numbers = np.rint(points).astype(np.int64)
    height, width = gradient.shape
    columns: Numbers = np.minimum(np.maximum(places[:, :, 0], 0), width - 1)
    rows: Numbers = np.minimum(np.maximum(places[:, :, 1], 0), height - 1)
    return gradient[rows, columns].mean(axis=1) / _SOBEL_FULL


def _cut(values: Numbers, small: Pixels) -> NDArray[np.uint8]:
    return values[: small.shape[0], : small.shape[1]]


def _to_uint8(values: Numbers) -> NDArray[np.uint8]:
    return values.clip(0, 255).astype(np.uint8)


def _smallest_difference(image: Pixels, coarse: float, fine: float = 0.0) -> Numbers:
    """Return a coarse blur less a fine one, of the channel where that is smallest; float32 [height, width].

    Channel by channel and in place: new memory for all of them takes longer than the blurs.

    Args:
        image: uint8 [height, width, 3].
        coarse: Sigma of the blur in pixels.
        fine: Likewise; 0 for the image itself.
    """
    import cv2

    smallest: Numbers | None = None
    for channel in cv2.split(image):
        values = channel.astype(np.float32)
        difference = cv2.GaussianBlur(values, (0, 0), coarse)
        sharp = cv2.GaussianBlur(values, (0, 0), fine, dst=values) if fine else values
        cv2.subtract(difference, sharp, dst=difference)
        smallest = difference if smallest is None else cv2.min(smallest, difference, dst=smallest)
    assert smallest is not None, "an image has channels"
    return smallest


def _white_above(values: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
    import cv2

    white = cv2.threshold(values, int(threshold), 255, cv2.THRESH_BINARY)[1]
    return np.asarray(white, np.uint8)


def _three(grey: NDArray[np.uint8]) -> Pixels:
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB), np.uint8)
