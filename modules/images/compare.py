"""Two pictures held against each other, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

WHITE = 255


@dataclass(frozen=True)
class Comparison:
    """How two pictures of one size differ; levels go from 0 to 255.

    Args:
        pixel_count: How many each has.
        differing_count: How many of them differ in any channel.
        max_difference: The largest difference of any channel.
        mean_difference: The mean difference over all channels.
        gain: By how much the differences are brightened in the picture of them; 1 when there are none.
        difference_image: The differences as a picture in RGB, black where there is none.
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
        """Return the share of the pixels that differ, 0 to 1."""
        return self.differing_count / self.pixel_count


def compare(first: Image.Image, second: Image.Image) -> Comparison:
    """Return how two pictures in RGB differ.

    Raises:
        ValueError: they are not of one size.
    """
    if first.size != second.size:
        raise ValueError(f"Pictures of {first.size} and {second.size} have no pixels to pair.")
    levels = (np.asarray(picture.convert("RGB")).astype(np.int16) for picture in (first, second))
    difference = np.abs(next(levels) - next(levels))
    largest = int(difference.max())
    gain = WHITE // largest if largest else 1
    return Comparison(
        pixel_count=first.width * first.height,
        differing_count=int(difference.any(axis=2).sum()),
        max_difference=largest,
        mean_difference=float(difference.mean()),
        gain=gain,
        difference_image=Image.fromarray((difference * gain).astype(np.uint8)),
    )
