"""Compares two images pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_WHITE = 255


@dataclass(frozen=True)
class Comparison:
    """Differences of two images of one size; channel values go from 0 to 255.

    Args:
        pixel_count: Pixels per image.
        differing_count: Pixels that differ in any channel.
        max_difference: Largest absolute difference of any channel.
        mean_difference: Mean absolute difference over all channels.
        gain: Factor by which `difference_image` is brightened; 1 for identical images.
        difference_image: RGB, absolute differences times the gain; black where the images are equal.
    """

    pixel_count: int
    differing_count: int
    max_difference: int
    mean_difference: float
    gain: int
    difference_image: Image.Image

    @property
    def is_identical(self) -> bool:
        """Return whether every pixel is the same."""
        return self.differing_count == 0

    @property
    def differing_fraction(self) -> float:
        """Return the fraction of pixels that differ, 0 to 1."""
        return self.differing_count / self.pixel_count


def compare(first: Image.Image, second: Image.Image) -> Comparison:
    """Return the differences of two images, compared in RGB.

    Raises:
        ValueError: their sizes differ.
    """
    if first.size != second.size:
        raise ValueError(f"Images of sizes {first.size} and {second.size} cannot be compared.")
    a, b = (np.asarray(image.convert("RGB")).astype(np.int16) for image in (first, second))
    difference = np.abs(a - b)
    max_difference = int(difference.max())
    gain = _WHITE // max_difference if max_difference else 1
    return Comparison(
        pixel_count=first.width * first.height,
        differing_count=int(difference.any(axis=2).sum()),
        max_difference=max_difference,
        mean_difference=float(difference.mean()),
        gain=gain,
        difference_image=Image.fromarray((difference * gain).astype(np.uint8)),
    )
