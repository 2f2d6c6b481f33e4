"""The size at which a preprocessor works: its resolution is the shorter side of what it returns."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB
ResizeMode = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]

_PAD_MULTIPLE = 64


def resize_to_resolution(image: Pixels, resolution: int) -> Pixels:
    """Return an image whose shorter side is the resolution, with the same proportions.

    Args:
        image: uint8 [height, width, 3].
        resolution: In pixels.
    """
    import cv2  # here, since the page answers before OpenCV is imported

    height, width = image.shape[:2]
    scale = resolution / min(height, width)
    # As in sd-webui-controlnet: a half goes to the even number.
    size = max(1, round(width * scale)), max(1, round(height * scale))
    filter_ = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=filter_), np.uint8)


def pad_edges(image: Pixels, multiple: int = _PAD_MULTIPLE) -> Pixels:
    """Return an image whose sides are multiples of 64, its last row and column repeated.

    sd-webui-controlnet finds edges in such an image and cuts the added part off, which shows at the border.
    """
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")


def pixel_perfect_resolution(
    image_size: tuple[int, int], target_size: tuple[int, int], resize_mode: ResizeMode
) -> int:
    """Return the resolution at which a control image has one pixel for each pixel of the result.

    Args:
        image_size: Width and height of the unit's image.
        target_size: Those of the image that is generated.
        resize_mode: How the control image is brought to that size.
    """
    scales = [target / side for side, target in zip(image_size, target_size, strict=True)]
    scale = min(scales) if resize_mode == "Resize and Fill" else max(scales)
    return round(scale * min(image_size))
