"""Regions: whatever stands out in an image, each in a colour drawn by chance, as sd-webui-controlnet shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.sizes import Pixels


@dataclass(frozen=True)
class Regions:
    """Regions of an image, smaller ones on top of larger ones.

    Args:
        labels: int32 [height, width]; the number of the topmost region, 0 where there is none.
        count: Of the regions, those that are hidden included.
    """

    labels: NDArray[np.int32]
    count: int

    def crop(self, height: int, width: int) -> Regions:
        """Return the upper left part of them."""
        return Regions(np.ascontiguousarray(self.labels[:height, :width]), self.count)

    def paint(self, generator: np.random.RandomState) -> Pixels:
        """Return them as an image on black.

        Args:
            generator: Draws the colours: red, green and blue of the largest region first, each by itself.
        """
        colours = np.zeros((self.count + 1, 3), np.uint8)
        for colour in colours[1:]:
            colour[:] = [generator.randint(255, dtype=np.uint8) for _ in range(3)]
        return colours[self.labels]


def remove_duplicates(
    boxes: NDArray[np.float64], scores: Sequence[float], most_overlap: float
) -> list[int]:
    """Return which boxes are left, best ones first, when those that overlap a better one are gone.

    Args:
        boxes: [count, 4]; left, top, right and bottom.
        scores: Of each box.
        most_overlap: The part of both boxes together that they may share.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        starts = np.maximum(boxes[waiting, :2], boxes[best, :2])
        ends = np.minimum(boxes[waiting, 2:], boxes[best, 2:])
        shared = np.prod((ends - starts).clip(0), axis=1)
        # Without a division: lines have no area.
        whole = areas[waiting] + areas[best] - shared
        waiting = waiting[shared <= most_overlap * whole]
    return kept
