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
        pixels: How many each has.
        differing: How many of them differ in any channel.
        largest: The largest difference of any channel.
        mean: The mean difference over all channels.
        gain: By how much the differences are brightened in the picture of them; 1 when there are none.
        picture: The differences as a picture in RGB, black where there is none.
    """

    pixels: int
    differing: int
    largest: int
    mean: float
    gain: int
    picture: Image.Image

    @property
    def is_identical(self) -> bool:
        """Return whether every pixel is the same."""
        return self.differing == 0

    @property
    def share(self) -> float:
        """Return the share of the pixels that differ, 0 to 1."""
        return self.differing / self.pixels


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
        pixels=first.width * first.height,
        differing=int(difference.any(axis=2).sum()),
        largest=largest,
        mean=float(difference.mean()),
        gain=gain,
        picture=Image.fromarray((difference * gain).astype(np.uint8)),
    )
