"""Manual adjustment of a depth map: near and far limits, contrast, inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modules.params.requests.depth import DepthRequest


@dataclass(frozen=True)
class DepthLevels:
    """Adjustment of the depth that conditions the network.

    Args:
        contrast: Contrast around 0.5; 1 changes nothing.
        near: Depth from which everything becomes 1, the nearest.
        far: Depth up to which everything becomes 0, the farthest; below `near`.
        invert: Whether depth is inverted first.
    """

    contrast: float = 1.0
    near: float = 1.0
    far: float = 0.0
    invert: bool = False

    @classmethod
    def from_request(cls, request: DepthRequest) -> DepthLevels:
        """Return a request's adjustment."""
        return cls(
            request.depth_contrast, request.depth_near, request.depth_far, request.depth_invert
        )

    def __call__(
        self, depth: Any
    ) -> Any:  # a torch tensor or a numpy array; this floor does not import torch
        """Return the adjusted depth, 0 (far) to 1 (near), of the same type as the input."""
        if self == NO_ADJUSTMENT:
            return depth
        inverted = 1 - depth if self.invert else depth
        stretched = ((inverted - self.far) / (self.near - self.far)).clip(0, 1)
        return ((stretched - 0.5) * self.contrast + 0.5).clip(0, 1)

    def adjust_image(self, depth: Image.Image) -> Image.Image:
        """Return a depth image, mode L and white for near, adjusted."""
        lookup: NDArray[np.floating[Any]] = self(np.arange(256) / 255)
        return depth.point(np.rint(lookup * 255).astype(int).tolist())


NO_ADJUSTMENT = DepthLevels()
