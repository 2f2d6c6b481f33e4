"""A1111's colour correction: a repainted picture keeps the colours of the one it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
# IEC 61966-2-1 (sRGB) to CIE XYZ, and its white, D65.
_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
_WHITE = _TO_XYZ.sum(axis=1)
_EDGE = 6 / 29  # where CIE L*a*b* goes from the cube root to a straight line
_LUMA = np.array([0.3, 0.59, 0.11])  # W3C Compositing and Blending 1, "Lum"


def correct_colours(image: Image.Image, reference: Image.Image) -> Image.Image:
    """Return the result with the colours of another picture and its own luminosity.

    The histograms of L*, a* and b* are matched one by one; then the result's luminosity is laid over (W3C Compositing
    and Blending 1, blend mode "luminosity").

    Args:
        image: RGB.
        reference: RGB, of any size.
    """
    new, old = _lab(image), _lab(reference)
    matched = np.stack([_matched(new[..., n], old[..., n]) for n in range(3)], axis=-1)
    own: Floats = np.asarray(image) / 255
    corrected = _rgb(matched)
    lit = corrected + ((own - corrected) @ _LUMA)[..., None]
    return Image.fromarray(np.rint(_clipped(lit) * 255).astype(np.uint8))


def _matched(values: Floats, wanted: Floats) -> Floats:
    """Return the values with the distribution of others: each takes the value at its own quantile."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    levels, level_counts = np.unique(wanted, return_counts=True)
    quantiles = np.cumsum(counts) / values.size
    found = np.interp(quantiles, np.cumsum(level_counts) / wanted.size, levels)
    return np.reshape(found[place], values.shape)


def _lab(image: Image.Image) -> Floats:
    """Return CIE L*a*b*, [height, width, 3]."""
    rgb: Floats = np.asarray(image.convert("RGB")) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    share: Floats = linear @ np.transpose(_TO_XYZ) / _WHITE
    roots = np.where(share > _EDGE**3, np.cbrt(share), share / (3 * _EDGE**2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _rgb(lab: Floats) -> Floats:
    """Return sRGB from 0 to 1."""
    light, a, b = np.moveaxis(lab, -1, 0)
    y = (light + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    share = np.where(roots > _EDGE, roots**3, 3 * _EDGE**2 * (roots - 4 / 29))
    xyz: Floats = share * _WHITE
    linear = _bounded(xyz @ np.transpose(np.linalg.inv(_TO_XYZ)))
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _clipped(colours: Floats) -> Floats:
    """Return colours drawn towards their grey until they fit into 0 to 1 (W3C, "ClipColor")."""
    grey = (colours @ _LUMA)[..., None]
    low, high = colours.min(axis=-1, keepdims=True), colours.max(axis=-1, keepdims=True)
    room = np.ones_like(grey)
    np.divide(grey, grey - low, out=room, where=low < 0)
    upper = np.ones_like(grey)
    np.divide(1 - grey, high - grey, out=upper, where=high > 1)
    return _bounded(grey + (colours - grey) * np.minimum(room, upper))


def _bounded(values: Floats) -> Floats:
    return np.minimum(np.maximum(values, 0), 1)
