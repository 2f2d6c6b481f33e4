"""Outlines by formulas: Canny, XDoG, thresholds, line art and straight lines. As in sd-webui-controlnet, if not said otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.sizes import Pixels, pad_edges, resize_to_resolution

_LINE_NOISE = 8  # intensities up to this are no lines
_SAMPLES = 17  # of the contrast along a line
_SOBEL_FULL = 4 * 255  # of an edge between black and white


def find_canny(image: Pixels, resolution: int, low: float, high: float, *_: object) -> Pixels:
    """Return edges by Canny (1986), white on black.

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        low: Gradient above which a pixel goes on with an edge.
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
    import cv2

    small = resize_to_resolution(image, resolution)
    values = pad_edges(small).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), sigma) for sigma in (0.5, 5.0))
    paper = _to_uint8(255 - (coarse - fine).min(axis=2))
    ink = 2 * (255 - paper.astype(np.int32)) % 256  # A1111's sum of bytes wraps
    return _three(_cut(np.where(ink > threshold, 255, 0).astype(np.uint8), small))


def draw_line_art(image: Pixels, resolution: int, *_: object) -> Pixels:
    """Return the lines of a drawing, white on black: what is darker than its surroundings, the median line at 127."""
    import cv2

    small = resize_to_resolution(image, resolution)
    values = pad_edges(small).astype(np.float32)
    ink = (cv2.GaussianBlur(values, (0, 0), 6.0) - values).min(axis=2).clip(0, 255)
    lines = ink[ink > _LINE_NOISE]
    middle = max(16.0, float(np.median(lines))) if lines.size else 16.0
    return _three(_cut(_to_uint8(ink / middle * 127), small))


def apply_threshold(image: Pixels, resolution: int, threshold: float, *_: object) -> Pixels:
    """Return white where all channels are above a threshold, else black."""
    small = resize_to_resolution(image, resolution)
    return _three(np.where(small.min(axis=2) > threshold, 255, 0).astype(np.uint8))


def invert(image: Pixels, *_: object) -> Pixels:
    """Return the negative: a drawing in black on white becomes white on black."""
    return 255 - image


def draw_straight_lines(
    image: Pixels, resolution: int, strength: float, length: float, *_: object
) -> Pixels:
    """Return straight lines, white on black, by OpenCV's line segment detector (von Gioi et al., 2012).

    It stands for the network M-LSD, and takes its sliders.

    Args:
        image: uint8 [height, width, 3].
        resolution: Of the result.
        strength: Contrast of a line, 0 to 1, below which it is left out.
        length: In pixels of the image at 256, as those of M-LSD: shorter lines are left out.
    """
    import cv2

    small = resize_to_resolution(image, resolution)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    found = cv2.createLineSegmentDetector().detect(grey)[0]
    drawing = np.zeros(grey.shape, np.uint8)
    if found is None:
        return _three(drawing)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    ends = found.reshape(-1, 2, 2).astype(np.float64)
    lengths = np.hypot(*(ends[:, 1] - ends[:, 0]).T)
    is_kept = (lengths > length * min(grey.shape) / 256) & (_contrasts(gradient, ends) > strength)
    cv2.polylines(drawing, list(ends[is_kept].astype(np.int32)), isClosed=False, color=255)
    return _three(drawing)


def _contrasts(gradient: NDArray[np.float32], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean gradient along each segment: 1 between black and white.

    Args:
        gradient: By Sobel, of grey values.
        ends: [segments, 2, 2]: x and y of both ends.
    """
    shares = np.linspace(0, 1, _SAMPLES)[None, :, None]
    points = ends[:, None, 0] + shares * (ends[:, None, 1] - ends[:, None, 0])
    x, y = np.rint(points).astype(np.int64).transpose(2, 0, 1)
    height, width = gradient.shape
    values = gradient[y.clip(0, height - 1), x.clip(0, width - 1)]
    return values.mean(axis=1).astype(np.float64) / _SOBEL_FULL


def _cut(values: NDArray[np.uint8], small: Pixels) -> NDArray[np.uint8]:
    return values[: small.shape[0], : small.shape[1]]


def _to_uint8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return values.clip(0, 255).astype(np.uint8)


def _three(grey: NDArray[np.uint8]) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)
