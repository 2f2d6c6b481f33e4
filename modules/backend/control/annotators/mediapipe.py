"""Bodies, hands and faces by the networks of MediaPipe (BlazePose, Bazarevsky et al., 2020), as points of OpenPose.

A detector finds people in the whole picture; each further network gets a square that is cut out upright. Sizes, scales and
thresholds are those of MediaPipe's graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modules.backend.control.annotators.tflite_network import TfliteNetwork
from modules.images.preprocessors.poses import Person, Points, Pose
from modules.images.preprocessors.sizes import Pixels

_STRIDES = ((8, 2), (16, 2), (32, 6))  # pixels of a cell of the detector, and anchors in it
_PERSON_SCORE, _OVERLAP, _VISIBILITY, _PRESENCE = 0.5, 0.3, 0.5, 0.5
_BODY_SCALE, _HAND_SCALE, _HAND_AGAIN_SCALE, _HAND_SHIFT = 1.25, 2.7, 2.0, -0.1
_FACE_SCALE, _FACE_AGAIN_SCALE = 2.0, 1.5
_BODY_NUMBERS = 5  # of each point: x, y, z, visibility, presence
# OpenPose's points but for the neck, by their numbers among BlazePose's: from the nose to the ears, right before left.
_NOSE, _SHOULDERS = 0, (12, 11)
_HIP, _TOP = 33, 34  # two more points, as those of the detector
_BODY = (_NOSE, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
_FACE_OF_BODY = slice(0, 11)
_RIGHT_EYE, _LEFT_EYE = 5, 2
_HANDS_OF_BODY = {"left": (15, 17, 19), "right": (16, 18, 20)}  # wrist, little finger, index finger
_PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # points of a hand that say where it is
_WRIST, _KNUCKLES = 0, (5, 9, 9, 13)  # of index, middle (twice) and ring finger
# The 68 points of a face (Sagonas et al., 2013) among the 468 of MediaPipe's mesh: jaw, brows, nose, eyes, mouth.
_JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
_BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
_NOSE_OF_FACE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
_FACE = _JAW + _BROWS + _NOSE_OF_FACE + _EYES + _OUTER_LIPS + _INNER_LIPS
_EYES_AT, _POINTS_OF_EYE = 36, 6

Coordinates = NDArray[np.float64]  # [points, 2]: x and y in pixels


class _Region(NamedTuple):
    """A square of the picture.

    Args:
        centre: In pixels.
        side: In pixels.
        angle: By which it is turned clockwise, in radians.
    """

    centre: Coordinates
    side: float
    angle: float

    @property
    def rotation(self) -> NDArray[np.float64]:
        """Return the matrix from the square's directions to the picture's."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        return np.array(((cosine, -sine), (sine, cosine)))

    def to_image(self, points: Coordinates, size: int) -> Coordinates:
        """Return points of the square, which is `size` pixels wide, as points of the picture."""
        return self.centre + (points / size - 0.5) * self.side @ self.rotation.T

    def cut(self, image: Pixels, size: int) -> Pixels:
        """Return the square, `size` pixels wide; what lies outside of the picture is black."""
        matrix = self.rotation * self.side / size
        shift = self.centre - matrix @ np.full(2, size / 2)
        whole = np.column_stack((matrix, shift))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(image, whole, (size, size), flags=flags), np.uint8)


@dataclass(frozen=True)
class PoseFiles:
    """The files of the networks.

    Args:
        detector: Finds people.
        body: Finds the points of a body.
        hand: Those of a hand; None finds none.
        face: Those of a face; None finds none.
    """

    detector: Path
    body: Path
    hand: Path | None = None
    face: Path | None = None


class PoseNetworks:
    """Finds the points of people.

    Args:
        files: Of the networks.
        device: Where they compute.

    Raises:
        BadFile: a file cannot be read.
    """

    def __init__(self, files: PoseFiles, device: torch.device) -> None:
        self._detector = TfliteNetwork(files.detector, device)
        self._body = TfliteNetwork(files.body, device)
        self._hand = TfliteNetwork(files.hand, device) if files.hand else None
        self._face = TfliteNetwork(files.face, device) if files.face else None
        self._anchors = _make_anchors(self._detector.input_size[0])

    def find(self, image: Pixels, *, with_body: bool = True) -> Pose:
        """Return the people of an image, uint8 [height, width, 3].

        Args:
            image: The image.
            with_body: Whether the points of bodies are part of the result.
        """
        height, width = image.shape[:2]
        people = [
            person
            for region in self._find_people(image)
            if (person := self._find_points(image, region, with_body)) is not None
        ]
        return Pose(tuple(people), width, height)

    def _find_people(self, image: Pixels) -> list[_Region]:
        """Return a square around each person, the most probable first."""
        height, width = image.shape[:2]
        whole = _Region(np.array((width / 2, height / 2)), float(max(width, height)), 0.0)
        size = self._detector.input_size[0]
        outputs = self._detector.run(_to_tensor(whole.cut(image, size)) * 2 - 1)
        scores = outputs["Identity_1"][0, :, 0].sigmoid().cpu().numpy()
        numbers = outputs["Identity"][0].cpu().numpy().astype(np.float64)
        kept = np.flatnonzero(scores >= _PERSON_SCORE)
        found = _merge_overlapping(scores[kept], _decode(numbers[kept], self._anchors[kept], size))
        regions: list[_Region] = []
        for points in found:
            hip, top = (whole.to_image(points[2 + index], size) for index in (0, 1))
            regions.append(_region_between(hip, top, 2 * _BODY_SCALE, 0.0))
        return regions

    def _find_points(self, image: Pixels, region: _Region, with_body: bool) -> Person | None:
        size = self._body.input_size[0]
        numbers, points = np.zeros((0, _BODY_NUMBERS)), np.zeros((0, 2))
        for _ in range(2):  # the second time where the body turned out to be
            outputs = self._body.run(_to_tensor(region.cut(image, size)))
            if float(outputs["Identity_1"]) < _PRESENCE:
                return None
            values = outputs["Identity"].reshape(-1, _BODY_NUMBERS)
            numbers = values.cpu().numpy().astype(np.float64)
            points = region.to_image(numbers[:, :2], size)
            region = _region_between(points[_HIP], points[_TOP], 2 * _BODY_SCALE, 0.0)
        is_visible = (1 / (1 + np.exp(-numbers[:, 3])) >= _VISIBILITY) & _is_inside(points, image)
        return Person(
            _to_body(points, is_visible) if with_body else (),
            self._find_hand(image, points, is_visible, "left"),
            self._find_hand(image, points, is_visible, "right"),
            self._find_face(image, points, is_visible),
        )

    def _find_hand(
        self, image: Pixels, body: Coordinates, is_visible: NDArray[np.bool_], side: str
    ) -> Points:
        wrist, little, index = _HANDS_OF_BODY[side]
        if self._hand is None or not is_visible[wrist]:
            return ()
        middle = (2 * body[index] + body[little]) / 3
        region = _region_between(body[wrist], middle, 2 * _HAND_SCALE, 1.0)
        points, presence = self._run_hand(self._hand, image, region)
        if presence >= _PRESENCE:  # once more, where the hand turned out to be
            knuckles = points[list(_KNUCKLES)].mean(0)
            angle = _angle(points[_WRIST], knuckles)
            region = _region_around(points[list(_PALM)], angle, _HAND_AGAIN_SCALE, _HAND_SHIFT)
            points, presence = self._run_hand(self._hand, image, region)
        return _to_points(points) if presence >= _PRESENCE else ()

    @staticmethod
    def _run_hand(
        network: TfliteNetwork, image: Pixels, region: _Region
    ) -> tuple[Coordinates, float]:
        size = network.input_size[0]
        outputs = network.run(_to_tensor(region.cut(image, size)))
        numbers = outputs["Identity"].reshape(-1, 3).cpu().numpy().astype(np.float64)
        return region.to_image(numbers[:, :2], size), float(outputs["Identity_1"])

    def _find_face(self, image: Pixels, body: Coordinates, is_visible: NDArray[np.bool_]) -> Points:
        if self._face is None or not is_visible[_NOSE]:
            return ()
        angle = _angle(body[_RIGHT_EYE], body[_LEFT_EYE]) - np.pi / 2
        region = _region_around(body[_FACE_OF_BODY], angle, _FACE_SCALE)
        size, presence, mesh = self._face.input_size[0], 0.0, np.zeros((0, 2))
        for _ in range(2):  # the second time where the face turned out to be
            outputs = list(self._face.run(_to_tensor(region.cut(image, size))).values())
            numbers = outputs[0].reshape(-1, 3).cpu().numpy().astype(np.float64)
            mesh = region.to_image(numbers[:, :2], size)
            presence = float(outputs[1].flatten().sigmoid())
            if presence < _PRESENCE:
                return ()
            angle = _angle(mesh[_EYES[0]], mesh[_EYES[9]]) - np.pi / 2
            region = _region_around(mesh, angle, _FACE_AGAIN_SCALE)
        points = mesh[list(_FACE)]
        eyes = points[_EYES_AT : _EYES_AT + 2 * _POINTS_OF_EYE].reshape(2, _POINTS_OF_EYE, 2)
        return _to_points(np.concatenate((points, eyes.mean(1))))


def _make_anchors(size: int) -> Coordinates:
    """Return the middle of the cell of each of the detector's results, as shares of its picture."""
    anchors: list[Coordinates] = []
    for stride, count in _STRIDES:
        cells = size // stride
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        middles = (np.column_stack((columns, rows)) + 0.5) / cells
        anchors.append(middles.repeat(count, 0))
    return np.concatenate(anchors)


def _decode(numbers: NDArray[np.float64], anchors: Coordinates, size: int) -> NDArray[np.float64]:
    """Return low and high corner of each box and its points, [found, 6, 2], in pixels of the detector's picture."""
    pairs = numbers.reshape(len(numbers), -1, 2)
    middles = pairs + anchors[:, None] * size
    half = pairs[:, 1] / 2
    return np.concatenate(
        ((middles[:, 0] - half)[:, None], (middles[:, 0] + half)[:, None], middles[:, 2:]), 1
    )


def _merge_overlapping(
    scores: NDArray[np.float32], found: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Return the mean, by score, of each group of boxes that overlap its best one."""
    order = np.argsort(-scores, kind="stable")
    merged: list[NDArray[np.float64]] = []
    while len(order):
        low = np.maximum(found[order[0], 0], found[order, 0])
        high = np.minimum(found[order[0], 1], found[order, 1])
        common = np.maximum(high - low, 0).prod(1)
        areas = (found[order, 1] - found[order, 0]).prod(1)
        is_same = common / np.maximum(areas + areas[0] - common, 1e-9) > _OVERLAP
        is_same[0] = True
        group = order[is_same]
        merged.append(np.average(found[group], axis=0, weights=scores[group]))
        order = order[~is_same]
    return merged


def _angle(start: Coordinates, end: Coordinates) -> float:
    """Return by how much the direction from a point to another is turned clockwise from upwards, in radians."""
    across, down = end - start
    return float(np.pi / 2 - np.arctan2(-down, across))


def _region_between(start: Coordinates, end: Coordinates, scale: float, share: float) -> _Region:
    """Return the square that looks from a point to another; `share` says where between them it has its middle."""
    side = max(float(np.linalg.norm(end - start)) * scale, 1.0)
    return _Region(start + share * (end - start), side, _angle(start, end))


def _region_around(points: Coordinates, angle: float, scale: float, shift: float = 0) -> _Region:
    """Return the square around points; `shift` moves it down by a share of its height before it is scaled."""
    rotation = _Region(np.zeros(2), 1.0, angle).rotation
    turned = points @ rotation
    low, high = turned.min(0), turned.max(0)
    centre = (low + high) / 2 + (0, shift * (high[1] - low[1]))
    side = max(float((high - low).max()) * scale, 1.0)
    return _Region(rotation @ centre, side, angle)


def _is_inside(points: Coordinates, image: Pixels) -> NDArray[np.bool_]:
    is_inside = (points >= 0) & (points < (image.shape[1], image.shape[0]))
    return is_inside[:, 0] & is_inside[:, 1]


def _to_body(points: Coordinates, is_visible: NDArray[np.bool_]) -> Points:
    """Return OpenPose's points of a body; its neck is the middle of the shoulders."""
    right, left = _SHOULDERS
    neck = (points[right] + points[left]) / 2 if is_visible[right] and is_visible[left] else None
    places = [
        neck if number < 0 else points[number] if is_visible[number] else None for number in _BODY
    ]
    return tuple(None if place is None else (float(place[0]), float(place[1])) for place in places)


def _to_points(points: Coordinates) -> Points:
    return tuple((float(x), float(y)) for x, y in points)


def _to_tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
