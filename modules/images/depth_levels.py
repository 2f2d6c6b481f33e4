"""Depth adjusted by hand: which levels count as nearest and farthest, and how far they lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.params.requests.depth import DepthRequest


@dataclass(frozen=True)
class DepthLevels:
    """What is done to depth before the network sees it.

    Args:
        contrast: Around the middle; 1 leaves it.
        near: What is at least so near counts as the nearest.
        far: What is at most so near counts as the farthest; below near.
        invert: Whether near and far are exchanged first.
    """

    contrast: float = 1.0
    near: float = 1.0
    far: float = 0.0
    invert: bool = False

    @classmethod
    def from_request(cls, request: DepthRequest) -> DepthLevels:
        """Return what a request asks for."""
        return cls(
            request.depth_contrast, request.depth_near, request.depth_far, request.depth_invert
        )

    def __call__(
        self, depth: Any
    ) -> Any:  # a torch tensor or an array; this floor does not know torch
        """Return the adjusted depth, 0 (far) to 1 (near), as the depth given."""
        if self == NO_ADJUSTMENT:
            return depth
        turned = 1 - depth if self.invert else depth
        spread = ((turned - self.far) / (self.near - self.far)).clip(0, 1)
        return ((spread - 0.5) * self.contrast + 0.5).clip(0, 1)

    def adjust_image(self, depth: Image.Image) -> Image.Image:
        """Return a picture of depth, in L and white for near, adjusted."""
        table: NDArray[np.floating[Any]] = self(np.arange(256) / 255)
        return depth.point(np.rint(table * 255).astype(int).tolist())


NO_ADJUSTMENT = DepthLevels()
