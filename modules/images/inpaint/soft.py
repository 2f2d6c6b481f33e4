"""The last step of soft inpainting: how much of each pixel is new follows from how much the latents have changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.floating[Any]]
# A1111's filter of the changes, on a window of 5 x 5 latent cells: first what is largest there spreads, then outliers
# go. Each row is the part of the sorted window, by weight, whose mean is taken.
_WINDOW_RADIUS = 2
_WINDOW_SPREAD = 1.5
_PASSES = ((0.9, 1.0), (0.25, 0.75))
_SMOOTHING_PX = 4  # takes away the steps of the latent cells


@dataclass(frozen=True)
class SoftCompositeSettings:
    """What A1111's soft inpainting asks of the composite.

    Args:
        mask_influence: How far the mask itself decides, 0 to 1, instead of the change alone.
        difference_threshold: The change at which half of a pixel is new.
        difference_contrast: How sharply it goes from old to new around the threshold.
    """

    mask_influence: float
    difference_threshold: float
    difference_contrast: float


def make_composite_mask(
    latent_change: Floats, mask: Floats, settings: SoftCompositeSettings, size: tuple[int, int]
) -> Image.Image:
    """Return how much of each pixel is new, in L.

    Args:
        latent_change: Distance between the latents before and after, [height / 8, width / 8].
        mask: The latents' mask, same shape, 0 to 1; 1 is repainted.
        settings: See there.
        size: Width and height of the result.
    """
    for low, high in _PASSES:
        latent_change = _window_mean(latent_change, low, high)
    influence = settings.mask_influence
    kept = 0.5 * (1 - influence) + (1 - mask ** (influence / 2)) * influence
    half = settings.difference_threshold * kept / (1.00001 - kept)
    old = 1 / (1 + (latent_change / np.maximum(half, 1e-6)) ** settings.difference_contrast)
    new = 1 - _smootherstep(old)
    share = Image.fromarray((new * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return share.filter(ImageFilter.GaussianBlur(_SMOOTHING_PX))


def _window_mean(values: Floats, low: float, high: float) -> Floats:
    """Return, around each value, the weighted mean of those between two quantiles."""
    radius = _WINDOW_RADIUS
    rows, columns = values.shape
    padded = np.pad(values, radius)
    inside = np.pad(np.ones_like(values), radius)
    offsets = [(y, x) for y in range(2 * radius + 1) for x in range(2 * radius + 1)]
    parts: list[Floats] = []
    shares: list[Floats] = []
    for y, x in offsets:
        weight = np.exp(-((y - radius) ** 2 + (x - radius) ** 2) / _WINDOW_SPREAD**2)
        parts.append(padded[y : y + rows, x : x + columns])
        shares.append(inside[y : y + rows, x : x + columns] * weight)
    window, weights = np.stack(parts), np.stack(shares)
    order = np.argsort(window, axis=0, kind="stable")
    window = np.take_along_axis(window, order, axis=0)
    weights = np.take_along_axis(weights, order, axis=0)
    ends = np.cumsum(weights, axis=0)
    total = ends[-1]
    # At least as wide as the middle's weight, so that no part is empty.
    middle, width = (low + high) / 2 * total, np.maximum((high - low) * total, 1.0)
    start = np.minimum(np.maximum(middle - width / 2, 0), total - width)
    taken = np.minimum(ends, start + width) - np.maximum(ends - weights, start)
    taken = np.maximum(taken, 0)
    return (window * taken).sum(axis=0) / taken.sum(axis=0)


def _smootherstep(x: Floats) -> Floats:
    """Return Perlin's improved step (2002), 0 to 1."""
    return x * x * x * (x * (6 * x - 15) + 10)
