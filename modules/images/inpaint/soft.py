"""The composite mask of soft inpainting: each pixel's opacity follows from the change of its latents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.floating[Any]]
# A1111's filter of the changes, on a window of 5 x 5 latent cells: first the largest values spread, then outliers
# are removed. Each row is the range of quantiles of the sorted window, by weight, whose mean is taken.
_WINDOW_RADIUS = 2
_WINDOW_SPREAD = 1.5
_PASSES = ((0.9, 1.0), (0.25, 0.75))
_ALMOST_ONE = 1.00001  # A1111's; at 1 the threshold would be infinite
_SMOOTHING_PX = 4  # hides the steps between latent cells


@dataclass(frozen=True)
class SoftCompositeSettings:
    """A1111's soft inpainting options for the composite.

    Args:
        preservation_strength: Exponent of the mask, times 2; only with mask_influence.
        mask_influence: Influence of the mask, 0 to 1; 0 uses the change alone.
        difference_threshold: The change at which a pixel is half new.
        difference_contrast: Steepness of the transition from old to new around the threshold.
    """

    preservation_strength: float
    mask_influence: float
    difference_threshold: float
    difference_contrast: float


def make_composite_mask(
    latent_change: Floats, mask: Floats, settings: SoftCompositeSettings, size: tuple[int, int]
) -> Image.Image:
    """Return the opacity of the result per pixel, L.

    As A1111 (scripts/soft_inpainting.py), in its 32-bit floats: the change is compared with the threshold, and the mask
    limits nothing; it only moves the threshold, by its influence.

    Args:
        latent_change: Distance between the latents before and after, [height / 8, width / 8].
        mask: The latent mask, same shape, 0 to 1; 1 is repainted.
        settings: Soft inpainting options.
        size: Width and height of the result.
    """
    change, mask = latent_change.astype(np.float32), mask.astype(np.float32)
    for low, high in _PASSES:
        change = _window_mean(change, low, high).astype(np.float32)
    influence = settings.mask_influence
    kept = 1 - mask ** (settings.preservation_strength / 2)
    kept = 0.5 * (1 - influence) + kept * influence
    half = settings.difference_threshold * (kept / (_ALMOST_ONE - kept))
    with np.errstate(all="ignore"):  # at a threshold of 0 all that changed at all is new
        old = 1 / (1 + (change / half) ** settings.difference_contrast)
        new = np.nan_to_num(1 - _smootherstep(old))
    opacity = Image.fromarray((new * 255).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    return opacity.filter(ImageFilter.GaussianBlur(_SMOOTHING_PX))


def _window_mean(values: Floats, low: float, high: float) -> Floats:
    """Return, per cell, the weighted mean of its window's values between two quantiles."""
    radius = _WINDOW_RADIUS
    rows, columns = values.shape
    padded = np.pad(values, radius)
    inside = np.pad(np.ones_like(values), radius)
    offsets = [(y, x) for y in range(2 * radius + 1) for x in range(2 * radius + 1)]
    shifted: list[Floats] = []
    shifted_weights: list[Floats] = []
    for y, x in offsets:
        weight = _cell_weight(y - radius, x - radius)
        shifted.append(padded[y : y + rows, x : x + columns])
        shifted_weights.append(inside[y : y + rows, x : x + columns] * weight)
    window, weights = np.stack(shifted), np.stack(shifted_weights)
    order = np.argsort(window, axis=0, kind="stable")
    window = np.take_along_axis(window, order, axis=0)
    weights = np.take_along_axis(weights, order, axis=0)
    cumulative = np.cumsum(weights, axis=0)
    total = cumulative[-1]
    # At least as wide as the centre cell's weight, so that no range is empty.
    centre, width = (low + high) / 2 * total, np.maximum((high - low) * total, 1.0)
    start = np.minimum(np.maximum(centre - width / 2, 0), total - width)
    overlap = np.minimum(cumulative, start + width) - np.maximum(cumulative - weights, start)
    overlap = np.maximum(overlap, 0)
    return (window * overlap).sum(axis=0) / overlap.sum(axis=0)


def _cell_weight(y: int, x: int) -> float:
    """Return the weight of a window's cell: a Gaussian, lowered so that it is 0 a cell beyond the window."""
    outside = math.exp(-(((_WINDOW_RADIUS + 1) / _WINDOW_SPREAD) ** 2))
    weight = math.exp(-(y**2 + x**2) / _WINDOW_SPREAD**2)
    return max(0.0, weight - outside) / (1 - outside)


def _smootherstep(x: Floats) -> Floats:
    """Return Perlin's smootherstep (2002), 0 to 1."""
    return x * x * x * (x * (6 * x - 15) + 10)
