"""Control images of depth: as grey, and as normals of the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from modules.images.preprocessors.sizes import Pixels

_FORWARD = 2 * np.pi  # length of a normal's part towards the camera, in units of depth a pixel


def to_depth_image(depth: NDArray[np.float32]) -> Pixels:
    """Return inverse depth, [height, width], as grey from black for the farthest to white for the nearest."""
    grey = (_normalize(depth) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def to_normals(depth: NDArray[np.float32], background: float) -> Pixels:
    """Return the normals of the surface: red from left to right, green from top to bottom, blue towards the camera.

    As in ControlNet 1.0 (annotator/midas): the gradients of the depth as it is estimated are parts of the normal.

    Args:
        depth: Inverse depth, float32 [height, width].
        background: Share of the range of depth below which a pixel is background, and faces the camera.
    """
    import cv2

    normals = np.stack(
        (
            cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3),
            cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3),
            np.full(depth.shape, _FORWARD, np.float32),
        ),
        axis=2,
    )
    normals[_normalize(depth) < background, :2] = 0
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return (normals * 127.5 + 127.5).clip(0, 255).astype(np.uint8)


def _normalize(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = depth - depth.min()
    return shifted / (shifted.max() or 1)
