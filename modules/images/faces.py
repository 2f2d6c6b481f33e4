"""Cuts faces out of an image upright and of one size, and puts restored ones back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FACE_SIDE = 512  # of the faces that restorers were trained with
# Where FFHQ's faces of that side have their eyes, the tip of the nose and the corners of the mouth, x and y in pixels.
FACE_POINTS = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.19360],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
_BORDER = 48  # pixels of a face in which its mask fades out
_OUTSIDE = (135, 133, 132)  # grey, as in the training of the restorers

Points = NDArray[np.float64]  # [5, 2]: x and y of the eyes, the nose, the corners of the mouth
Matrix = NDArray[np.float64]  # [2, 3]: from the image to the face


def face_matrix(points: Points) -> Matrix:
    """Return the rotation, scaling and shift that bring a face's points nearest to FACE_POINTS (Umeyama, 1991)."""
    source, target = points - points.mean(0), FACE_POINTS - FACE_POINTS.mean(0)
    left, singular, right = np.linalg.svd(target.T @ source)
    # No reflection: that would be a face turned inside out.
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * signs) @ right
    scale = float((singular * signs).sum() / max(float(np.square(source).sum()), 1e-9))
    shift = FACE_POINTS.mean(0) - scale * rotation @ points.mean(0)
    return np.column_stack((scale * rotation, shift))


def cut_face(image: Image.Image, matrix: Matrix) -> Image.Image:
    """Return the face of an RGB image, FACE_SIDE wide and high."""
    import cv2  # here, since the page answers before OpenCV is imported

    pixels = np.asarray(image)
    face = cv2.warpAffine(pixels, matrix, (FACE_SIDE, FACE_SIDE), borderValue=_OUTSIDE)
    return Image.fromarray(face)


def paste_face(image: Image.Image, face: Image.Image, matrix: Matrix) -> Image.Image:
    """Return an image with a restored face in its place; towards the face's border the image shows through.

    Args:
        image: RGB.
        face: FACE_SIDE wide and high.
        matrix: From the image to the face.
    """
    import cv2

    back = _invert(matrix)
    mask = np.zeros((FACE_SIDE, FACE_SIDE), np.float32)
    mask[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), _BORDER / 3)
    whole = cv2.warpAffine(np.asarray(face), back, image.size, flags=cv2.INTER_CUBIC)
    share = cv2.warpAffine(mask, back, image.size)[:, :, None]
    mixed = np.asarray(whole * share + np.asarray(image, np.float32) * (1 - share))
    levels: NDArray[np.uint8] = np.minimum(np.maximum(np.rint(mixed), 0), 255).astype(np.uint8)
    return Image.fromarray(levels)


def _invert(matrix: Matrix) -> Matrix:
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack((inverse, -inverse @ matrix[:, 2])).astype(np.float64)
