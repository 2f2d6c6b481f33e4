"""A1111's colour correction: gives an img2img result the colours of its init image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
# IEC 61966-2-1 (sRGB) to CIE XYZ, and its white point, D65.
_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
_WHITE = _TO_XYZ.sum(axis=1)
_LINEAR_BELOW = 6 / 29  # where CIE L*a*b* switches from the cube root to a straight line
_LUMA = np.array([0.3, 0.59, 0.11])  # W3C Compositing and Blending 1, "Lum"


def correct_colours(image: Image.Image, reference: Image.Image) -> Image.Image:
    """Return the image with the colours of the reference and its own luminosity.

    The histograms of L*, a* and b* are matched one by one; then the image's luminosity is blended over (W3C Compositing
    and Blending 1, blend mode "luminosity").

    Args:
        image: RGB.
        reference: RGB, of any size.
    """
    lab, reference_lab = _to_lab(image), _to_lab(reference)
    matched = np.stack(
        [_match_histogram(lab[..., n], reference_lab[..., n]) for n in range(3)], axis=-1
    )
    original: Floats = np.asarray(image) / 255
    corrected = _to_rgb(matched)
    blended = corrected + ((original - corrected) @ _LUMA)[..., None]
    return Image.fromarray(np.rint(_clip_colour(blended) * 255).astype(np.uint8))


def _match_histogram(values: Floats, reference: Floats) -> Floats:
    """Return the values mapped to the reference's distribution, quantile by quantile."""
    _, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    reference_values, reference_counts = np.unique(reference, return_counts=True)
    quantiles = np.cumsum(counts) / values.size
    matched = np.interp(quantiles, np.cumsum(reference_counts) / reference.size, reference_values)
    return np.reshape(matched[indices], values.shape)


def _to_lab(image: Image.Image) -> Floats:
    """Return CIE L*a*b*, [height, width, 3]."""
    rgb: Floats = np.asarray(image.convert("RGB")) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz: Floats = linear @ np.transpose(_TO_XYZ) / _WHITE
    roots = np.where(xyz > _LINEAR_BELOW**3, np.cbrt(xyz), xyz / (3 * _LINEAR_BELOW**2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _to_rgb(lab: Floats) -> Floats:
    """Return sRGB from 0 to 1."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    relative = np.where(roots > _LINEAR_BELOW, roots**3, 3 * _LINEAR_BELOW**2 * (roots - 4 / 29))
    xyz: Floats = relative * _WHITE
    linear = _clip_unit(xyz @ np.transpose(np.linalg.inv(_TO_XYZ)))
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _clip_colour(colours: Floats) -> Floats:
    """Return colours moved towards their grey until they fit into 0 to 1 (W3C, "ClipColor")."""
    grey = (colours @ _LUMA)[..., None]
    low, high = colours.min(axis=-1, keepdims=True), colours.max(axis=-1, keepdims=True)
    lower = np.ones_like(grey)
    np.divide(grey, grey - low, out=lower, where=low < 0)
    upper = np.ones_like(grey)
    np.divide(1 - grey, high - grey, out=upper, where=high > 1)
    return _clip_unit(grey + (colours - grey) * np.minimum(lower, upper))


def _clip_unit(values: Floats) -> Floats:
    return np.minimum(np.maximum(values, 0), 1)
