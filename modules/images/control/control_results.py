"""What control units do to finished images: the brightness of a recoloured picture, what inpainting has kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB
_BLUR = 7  # pixels, as sd-webui-controlnet's option has it


def with_luminance(image: Pixels, control: Pixels) -> Pixels:
    """Return an image with the luminance of a control image, for recolor_luminance.

    Args:
        image: The result.
        control: Grey, of the same size.
    """
    import cv2

    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = control[:, :, 0]
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def with_intensity(image: Pixels, control: Pixels) -> Pixels:
    """Return an image with the values of a control image in HSV, for recolor_intensity.

    Args:
        image: The result.
        control: Grey, of the same size.
    """
    import cv2

    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[:, :, 2] = control[:, :, 0]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def with_kept_part(image: Pixels, control: Pixels, mask: NDArray[np.float32]) -> Pixels:
    """Return an image with the control image outside of a mask, for inpaint_only.

    Args:
        image: The result.
        control: Of the same size.
        mask: 1.0 where the image is new, float32 [height, width].
    """
    import cv2

    wide = cv2.dilate(mask, np.ones((_BLUR, _BLUR), np.uint8))
    share = cv2.blur(wide, (_BLUR, _BLUR))[..., None]
    blended = share * image.astype(np.float32) + (1 - share) * control.astype(np.float32)
    return np.rint(blended).astype(np.uint8)
