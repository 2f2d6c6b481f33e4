"""A1111's colour correction: gives an img2img result the colours of its init image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Levels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def correct_colours(image: Image.Image, reference: Image.Image) -> Image.Image:
    """Return the image with the colours of the reference and its own luminosity.

    The histograms of L*, a* and b* are matched one by one, in OpenCV's 8-bit levels; then the image's luminosity is
    blended over (W3C Compositing and Blending 1, blend mode "luminosity", with the luma of BT.601).

    Args:
        image: RGB.
        reference: RGB, of any size.
    """
    import cv2  # here, since the page answers before OpenCV is imported

    lab, reference_lab = (
        np.asarray(cv2.cvtColor(np.asarray(source.convert("RGB")), cv2.COLOR_RGB2LAB), np.uint8)
        for source in (image, reference)
    )
    channels = [match_histogram(lab[..., n], reference_lab[..., n]) for n in range(3)]
    corrected: Floats = cv2.cvtColor(np.stack(channels, axis=-1), cv2.COLOR_LAB2RGB) / 255
    original: Floats = np.asarray(image) / 255
    blended = corrected + (_luminosity(original) - _luminosity(corrected))
    return Image.fromarray((_clip_colour(blended) * 255).astype(np.uint8))  # truncated, as in A1111


def match_histogram(levels: Levels, reference: Levels) -> Levels:
    """Return the levels mapped to the reference's distribution, quantile by quantile.

    Between two levels of the reference they are interpolated and truncated (as scikit-image's `match_histograms` does
    with 8-bit images, which A1111 uses).

    Args:
        levels: Of any shape.
        reference: Of any other.
    """
    quantiles = np.cumsum(np.bincount(levels.ravel(), minlength=256)) / levels.size
    counts = np.bincount(reference.ravel(), minlength=256)
    occurring = np.flatnonzero(counts)
    reference_quantiles = np.cumsum(counts[occurring]) / reference.size
    matched = np.interp(quantiles, reference_quantiles, occurring).astype(np.uint8)
    return matched[levels]


def _luminosity(colours: Floats) -> Floats:
    """Return the luminosity of each colour, [height, width, 1]."""
    red, green, blue = (colours[..., n : n + 1] * weight for n, weight in enumerate(_LUMA))
    return red + green + blue


def _clip_colour(colours: Floats) -> Floats:
    """Return colours moved towards their grey until they fit into 0 to 1 (W3C, "ClipColor")."""
    grey = _luminosity(colours)
    low, high = colours.min(axis=-1, keepdims=True), colours.max(axis=-1, keepdims=True)
    offsets = colours - grey
    # Multiplied before divided: the largest value is to become exactly 1, not the float below, which is a level less.
    np.divide(offsets * grey, grey - low, out=offsets, where=low < 0)
    np.divide(offsets * (1 - grey), high - grey, out=offsets, where=high > 1)
    return np.minimum(np.maximum(grey + offsets, 0), 1)
