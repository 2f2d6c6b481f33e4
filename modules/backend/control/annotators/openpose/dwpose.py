"""Poses by DWPose (Yang et al., 2023): YOLOX finds people, RTMPose their bodies, hands and faces. OpenCV runs both.

Sizes and thresholds are those with which sd-webui-controlnet runs the networks.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from modules.core.errors import BadFile
from modules.images.preprocessors.poses import HAND_POINTS, Person, Points, Pose
from modules.images.preprocessors.regions import remove_duplicates
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.scan import ModelFile

_DETECTOR_SIDE, _GREY = 640, 114
_STRIDES = (8, 16, 32)
_PERSON_SCORE, _MOST_OVERLAP = 0.3, 0.45
_PERSON = 0  # among the classes of COCO
_POSE_WIDTH, _POSE_HEIGHT = 288, 384
_AROUND = 1.25  # times the box of a person
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_PLACES = 2  # for each pixel of width and height
_POINT_SCORE = 0.3
# Where the points of COCO-WholeBody are: 17 of the body, 6 of feet, 68 of the face, 21 of each hand.
_FACE, _LEFT_HAND, _RIGHT_HAND = 23, 91, 112
_FACE_COUNT = 68
_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6
_RIGHT_EYE, _LEFT_EYE = 14, 15  # in OpenPose's order
# OpenPose's nose, then shoulder to ear behind its neck.
_NOSE, _AFTER_NECK = 0, (6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)


class _Found(NamedTuple):
    """Points of a person with their scores."""

    places: NDArray[np.float64]  # [133, 2]; x and y in pixels
    scores: NDArray[np.float32]  # [133]

    def take(self, start: int, count: int) -> Points:
        """Return some of the points, or none when none was found."""
        numbers = range(start, start + count)
        points = tuple(self.point(number) for number in numbers)
        return points if any(points) else ()

    def point(self, number: int) -> tuple[float, float] | None:
        """Return a point, None where it was not found."""
        if self.scores[number] < _POINT_SCORE:
            return None
        x, y = self.places[number].tolist()
        return x, y


class DwPose:
    """Finds the points of people.

    Args:
        detector: Finds people.
        points: Finds the points of one.
    """

    def __init__(self, detector: cv2.dnn.Net, points: cv2.dnn.Net) -> None:
        self._detector, self._points = detector, points

    def find(self, image: Pixels, *, with_body: bool = True) -> Pose:
        """Return the people of an image, uint8 [height, width, 3].

        Args:
            image: The image.
            with_body: Whether the points of bodies are part of the result.
        """
        height, width = image.shape[:2]
        people: list[Person] = []
        for box in self._find_boxes(image):
            found = self._find_points(image, box)
            body = _to_body(found)
            face = found.take(_FACE, _FACE_COUNT)
            people.append(
                Person(
                    body if with_body else (),
                    found.take(_LEFT_HAND, HAND_POINTS),
                    found.take(_RIGHT_HAND, HAND_POINTS),
                    (*face, body[_RIGHT_EYE], body[_LEFT_EYE]) if face else (),
                )
            )
        return Pose(tuple(people), width, height)

    def _find_boxes(self, image: Pixels) -> NDArray[np.float64]:
        """Return where people are, the surest first: [count, 4]; left, top, right, bottom."""
        height, width = image.shape[:2]
        scale = _DETECTOR_SIDE / max(height, width)
        size = int(width * scale), int(height * scale)
        square = np.full((_DETECTOR_SIDE, _DETECTOR_SIDE, 3), _GREY, np.uint8)
        square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        (found,) = _run(self._detector, square.astype(np.float32))[:1]
        rows = found[0].astype(np.float64)
        cells, strides = _make_cells()
        middles = (rows[:, :2] + cells) * strides
        scores = rows[:, 4] * rows[:, 5 + _PERSON]
        is_sure = scores > _PERSON_SCORE
        sizes = np.exp(rows[is_sure, 2:4]) * strides[is_sure]
        starts = (middles[is_sure] - sizes / 2) / scale
        boxes = np.concatenate((starts, starts + sizes / scale), 1)
        # Boxes of whole pixels: the last row and column count.
        kept = remove_duplicates(
            boxes + np.array((0, 0, 1, 1)), scores[is_sure].tolist(), _MOST_OVERLAP
        )
        return boxes[kept]

    def _find_points(self, image: Pixels, box: NDArray[np.float64]) -> _Found:
        middle = (box[:2] + box[2:]) / 2
        width, height = (box[2:] - box[:2]) * _AROUND
        shown = np.array(
            (
                max(width, height * _POSE_WIDTH / _POSE_HEIGHT),
                max(height, width * _POSE_HEIGHT / _POSE_WIDTH),
            )
        )
        scale = _POSE_WIDTH / shown[0]
        size = np.array((_POSE_WIDTH, _POSE_HEIGHT))
        shift = size / 2 - scale * middle
        matrix = np.array(((scale, 0, shift[0]), (0, scale, shift[1])))
        cut = cv2.warpAffine(image, matrix, (_POSE_WIDTH, _POSE_HEIGHT), flags=cv2.INTER_LINEAR)
        normalized = ((cut - np.array(_MEAN)) / _STD).astype(np.float32)
        across, down = (values[0] for values in _run(self._points, normalized)[:2])
        scores = np.minimum(across.max(1), down.max(1))
        places = np.stack((across.argmax(1), down.argmax(1)), 1) / _PLACES
        return _Found(places / size * shown + middle - shown / 2, scores)


def _to_body(found: _Found) -> Points:
    """Return the points of the body in OpenPose's order, in which the neck is between the shoulders."""
    shoulders = [found.point(number) for number in (_LEFT_SHOULDER, _RIGHT_SHOULDER)]
    neck = None
    if None not in shoulders:
        x, y = found.places[[_LEFT_SHOULDER, _RIGHT_SHOULDER]].mean(0).tolist()
        neck = x, y
    return (found.point(_NOSE), neck, *(found.point(number) for number in _AFTER_NECK))


def _make_cells() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the column and row, and the stride, of each cell for which the detector answers."""
    cells: list[NDArray[np.float64]] = []
    strides: list[NDArray[np.float64]] = []
    for stride in _STRIDES:
        count = _DETECTOR_SIDE // stride
        columns, rows = np.meshgrid(np.arange(count), np.arange(count))
        cells.append(np.stack((columns.ravel(), rows.ravel()), 1).astype(np.float64))
        strides.append(np.full((count * count, 1), float(stride)))
    return np.concatenate(cells), np.concatenate(strides)


def _run(network: cv2.dnn.Net, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    network.setInput(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
    return [
        np.asarray(values, np.float32)
        for values in network.forward(network.getUnconnectedOutLayersNames())
    ]


def read_network(file: ModelFile) -> cv2.dnn.Net:
    """Return the network of an .onnx file.

    Raises:
        BadFile: OpenCV cannot read it.
    """
    try:
        return cv2.dnn.readNetFromONNX(str(file.path))
    except cv2.error as error:
        raise BadFile(
            f"OpenCV cannot read '{file.file_name}': {error.err}", "Download it again."
        ) from error
