"""OpenPose: finds bodies in the whole picture, then hands and faces where the bodies have them.

Sizes and thresholds are those with which sd-webui-controlnet runs the networks.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from modules.backend.control.annotators.openpose.networks import (
    BodyNetwork,
    FaceNetwork,
    HandNetwork,
)
from modules.backend.control.annotators.openpose.people import Maps, assemble_people, smooth
from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.poses import HAND_POINTS, Person, Point, Points, Pose
from modules.images.preprocessors.sizes import Pixels

_BODY_HEIGHT = 184.0  # at which bodies are looked for
_STRIDE, _PADDING = 8, 128
_HAND_SIZES, _HAND_MAP = (184, 368, 552, 736), 128  # a hand is looked at four times
_HAND_BLUR, _HAND_PEAK = 0.8, 0.05
_FACE_SIZE, _FACE_PEAK = 384, 0.05
_SMALLEST = 20  # pixels of a hand or face
# Shoulder, elbow and wrist.
_LEFT_ARM, _RIGHT_ARM = (5, 6, 7), (2, 3, 4)
_BEYOND_WRIST, _HAND_SCALE, _UPPER_ARM_SHARE = 0.33, 1.5, 0.9
_NOSE = 0
_EYES_AND_EARS = ((14, 3.0), (15, 3.0), (16, 1.5), (17, 1.5))  # half a face is that often as wide


class _Box(NamedTuple):
    """A square of the picture, in pixels."""

    left: int
    top: int
    side: int

    def cut(self, image: Pixels) -> Pixels:
        """Return that part of an image."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]

    def place(self, x: int, y: int) -> Point | None:
        """Return a point of the box in the picture; one at the very edge is none that was found."""
        return (float(x + self.left), float(y + self.top)) if x > 0 and y > 0 else None


class OpenPose:
    """Finds the points of people.

    Args:
        body: Finds bodies.
        hand: Finds the points of a hand; None finds none.
        face: Those of a face; None finds none.
    """

    def __init__(
        self, body: BodyNetwork, hand: HandNetwork | None, face: FaceNetwork | None
    ) -> None:
        self._body, self._hand, self._face = body, hand, face
        self._device = next(body.parameters()).device

    def find(self, image: Pixels, *, with_body: bool = True) -> Pose:
        """Return the people of an image, uint8 [height, width, 3].

        Args:
            image: The image.
            with_body: Whether the points of bodies are part of the result.
        """
        height, width = image.shape[:2]
        blue_first = np.ascontiguousarray(image[:, :, ::-1])
        people = tuple(
            Person(
                body if with_body else (),
                self._find_hand(blue_first, body, _LEFT_ARM),
                self._find_hand(blue_first, body, _RIGHT_ARM),
                self._find_face(blue_first, body),
            )
            for body in self._find_bodies(blue_first)
        )
        return Pose(people, width, height)

    def _find_bodies(self, image: Pixels) -> list[Points]:
        height, width = image.shape[:2]
        scale = _BODY_HEIGHT / height
        # Cut off, not rounded, as sd-webui-controlnet does.
        small = _resize(image, int(width * scale), int(height * scale))
        rows, columns = small.shape[:2]
        pad = ((0, -rows % _STRIDE), (0, -columns % _STRIDE), (0, 0))
        padded = np.pad(small, pad, constant_values=_PADDING)
        maps = self._body(to_tensor(padded, self._device) / 256 - 0.5)

        def enlarge(values: torch.Tensor) -> Maps:
            large = _resize_maps(
                values.cpu().numpy(), _STRIDE * values.shape[2], _STRIDE * values.shape[1]
            )
            return _resize_maps(large[:, :rows, :columns], width, height)

        fields, heatmaps = (enlarge(values) for values in maps)
        return assemble_people(fields, heatmaps)

    def _find_hand(self, image: Pixels, body: Points, arm: tuple[int, int, int]) -> Points:
        if self._hand is None or (box := _box_of_hand(image, body, arm)) is None:
            return ()
        cut = np.asarray(cv2.GaussianBlur(box.cut(image), (0, 0), _HAND_BLUR), np.uint8)
        total = np.zeros((HAND_POINTS, _HAND_MAP, _HAND_MAP), np.float32)
        for size in _HAND_SIZES:
            found = self._hand(to_tensor(_resize(cut, size, size), self._device) / 256 - 0.5)
            large = _resize_maps(found[:HAND_POINTS].cpu().numpy(), size, size)
            total += _resize_maps(large, _HAND_MAP, _HAND_MAP) / len(_HAND_SIZES)
        places = [_find_best(heatmap) for heatmap in total]
        height, width = cut.shape[:2]
        return tuple(
            box.place(int(x * width / _HAND_MAP), int(y * height / _HAND_MAP)) for x, y in places
        )

    def _find_face(self, image: Pixels, body: Points) -> Points:
        if self._face is None or (box := _box_of_face(image, body)) is None:
            return ()
        cut = box.cut(image)
        pixels = to_tensor(_resize(cut, _FACE_SIZE, _FACE_SIZE), self._device) / 256 - 0.5
        size = cut.shape[0], cut.shape[1]
        maps = functional.interpolate(
            self._face(pixels)[None], size, mode="bilinear", align_corners=True
        )
        # The last one is where the background is surest: sd-webui-controlnet takes it for a point of the face.
        scores, places = maps[0].flatten(1).cpu().max(1)
        points = [
            box.place(place % size[1], place // size[1]) if score > _FACE_PEAK else None
            for score, place in zip(scores.tolist(), places.tolist(), strict=True)
        ]
        return tuple(points) if any(points) else ()


def _find_best(heatmap: Maps) -> tuple[int, int]:
    """Return the best place of the largest spot of a heatmap; 0, 0 where there is none."""
    binary = (smooth(heatmap) > _HAND_PEAK).astype(np.uint8)
    count, spots = cv2.connectedComponents(binary, connectivity=8)
    if count < 2:
        return 0, 0
    weights = [float(heatmap[spots == spot].sum()) for spot in range(1, count)]
    inside = np.where(spots == 1 + int(np.argmax(weights)), heatmap, 0)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(column), int(row)


def _box_of_hand(image: Pixels, body: Points, arm: tuple[int, int, int]) -> _Box | None:
    """Return the square around a hand: beyond the wrist, in the direction of the forearm."""
    places = [body[point] for point in arm]
    if None in places:
        return None
    shoulder, elbow, wrist = (np.array(place) for place in places)
    side = _HAND_SCALE * max(
        float(np.linalg.norm(wrist - elbow)),
        _UPPER_ARM_SHARE * float(np.linalg.norm(elbow - shoulder)),
    )
    corner = wrist + _BEYOND_WRIST * (wrist - elbow) - side / 2
    return _bound(image, corner, side, side)


def _box_of_face(image: Pixels, body: Points) -> _Box | None:
    """Return the square around a face: the nose is in the middle, eyes and ears say how wide it is."""
    nose = body[_NOSE]
    if nose is None:
        return None
    half = max(
        (
            scale * max(abs(place[0] - nose[0]), abs(place[1] - nose[1]))
            for point, scale in _EYES_AND_EARS
            if (place := body[point]) is not None
        ),
        default=0.0,
    )
    return _bound(image, np.array(nose) - half, 2 * half, half)


def _bound(image: Pixels, corner: NDArray[np.float64], side: float, reach: float) -> _Box | None:
    """Return a square that keeps within an image, or None where too little of it is left.

    Args:
        image: The image.
        corner: Its left and top.
        side: Its own.
        reach: How far from its corner it must lie in the image to be left as it is.
    """
    left, top = (max(float(number), 0.0) for number in corner)
    height, width = image.shape[:2]
    right = width - left if left + reach > width else side
    below = height - top if top + reach > height else side
    side = min(right, below)
    return _Box(int(left), int(top), int(side)) if side >= _SMALLEST else None


def _resize(image: Pixels, width: int, height: int) -> Pixels:
    filter_ = _filter(image, width, height)
    return np.asarray(cv2.resize(image, (width, height), interpolation=filter_), np.uint8)


def _resize_maps(maps: Maps, width: int, height: int) -> Maps:
    """Return maps [maps, height, width] at another size."""
    filter_ = _filter(maps[0], width, height)
    resized = [cv2.resize(one, (width, height), interpolation=filter_) for one in maps]
    return np.stack(resized).astype(np.float32, copy=False)


def _filter(image: NDArray[np.generic], width: int, height: int) -> int:
    is_smaller = width + height < image.shape[0] + image.shape[1]
    return cv2.INTER_AREA if is_smaller else cv2.INTER_LANCZOS4
