"""Poses of people as OpenPose names them: bodies of 18 points, hands of 21, faces of 70; drawn, and as its JSON.

The drawing is what ControlNet's openpose models were trained with (Zhang et al., 2023).
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modules.core.errors import UserError
from modules.images.preprocessors.sizes import Pixels

BODY_POINTS, HAND_POINTS, FACE_POINTS = 18, 21, 70
_MORE_FACE_POINTS = 1  # sd-webui-controlnet has one where OpenPose's network finds most background
# Nose, neck, shoulder, elbow and wrist of the right and the left, then hip, knee and ankle, eyes, ears; their colours.
_COLOURS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
# In the order of their colours, which begins with that of the points.
_LIMBS = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
_FINGERS = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1)
    for finger in range(5)
    for joint in range(4)
)
_RADIUS, _FACE_RADIUS = 4, 3  # pixels of a point; a limb is as wide as a point
_LIMB_BRIGHTNESS = 0.6
_BONE_WIDTH = 2
_HAND_COLOUR, _FACE_COLOUR = (0, 0, 255), (255, 255, 255)
_MAX_SIDE = 4096
_MAX_PEOPLE = 100
_FARTHEST = 32767.0  # from the corner of the canvas that OpenCV draws

Point = tuple[float, float]  # x and y in pixels
Points = tuple[Point | None, ...]  # None: not detected


@dataclass(frozen=True)
class Person:
    """The points of one person.

    Args:
        body: BODY_POINTS of them, or none.
        left_hand: HAND_POINTS of them, or none.
        right_hand: Likewise.
        face: FACE_POINTS of them, perhaps one more, or none.
    """

    body: Points = ()
    left_hand: Points = ()
    right_hand: Points = ()
    face: Points = ()


@dataclass(frozen=True)
class Pose:
    """The people of a picture.

    Args:
        people: Each of them.
        width: Of the picture, in pixels.
        height: Likewise.
    """

    people: tuple[Person, ...]
    width: int
    height: int

    def draw(self) -> Pixels:
        """Return the control image, uint8 [height, width, 3]: coloured limbs on black."""
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        for person in self.people:
            _draw_body(canvas, person.body)
            _draw_hand(canvas, person.left_hand)
            _draw_hand(canvas, person.right_hand)
            _draw_dots(canvas, person.face, _FACE_RADIUS, _FACE_COLOUR)
        return canvas

    def to_json(self) -> dict[str, Any]:
        """Return it as OpenPose writes it, with x and y as shares of width and height, as sd-webui-controlnet has them."""
        return {
            "people": [
                {
                    "pose_keypoints_2d": self._numbers(person.body),
                    "face_keypoints_2d": self._numbers(person.face),
                    "hand_left_keypoints_2d": self._numbers(person.left_hand),
                    "hand_right_keypoints_2d": self._numbers(person.right_hand),
                }
                for person in self.people
            ],
            "canvas_height": self.height,
            "canvas_width": self.width,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Pose:
        """Return the pose that OpenPose's JSON describes, in pixels or, where no number is above 1, in shares.

        Raises:
            UserError: it has another form, or a canvas without a size that can be drawn.
        """
        try:
            width, height = int(document["canvas_width"]), int(document["canvas_height"])
            listed = list(document["people"])[:_MAX_PEOPLE]
            people = tuple(_read_person(person, width, height) for person in listed)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise UserError(
                f"The pose is not in OpenPose's form: {type(error).__name__} {error}.",
                "It has people, canvas_width and canvas_height, and three numbers for each point.",
            ) from error
        if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
            raise UserError(
                f"A pose of {width} x {height} pixels cannot be drawn.",
                f"Sides are 1 to {_MAX_SIDE} pixels.",
            )
        return cls(people, width, height)

    def _numbers(self, points: Points) -> list[float] | None:
        if not points:
            return None
        return [
            number
            for point in points
            for number in (
                (point[0] / self.width, point[1] / self.height, 1.0) if point else (0.0, 0.0, 0.0)
            )
        ]


def _read_person(person: Mapping[str, Any], width: int, height: int) -> Person:
    def read(key: str, count: int, more: int = 0) -> Points:
        numbers = person.get(key) or ()
        values = [float(number) for number in numbers]
        if len(values) % 3 or len(values) > 3 * (count + more) or not np.isfinite(values).all():
            raise ValueError(f"{key} has {len(values)} numbers, not {3 * count}")
        triples = [values[start : start + 3] for start in range(0, len(values), 3)]
        is_fraction = [
            abs(number) <= 1 for x, y, score in triples if score > 0 for number in (x, y)
        ]
        across, down = (width, height) if is_fraction and all(is_fraction) else (1, 1)
        points = tuple(
            (_bound(x * across), _bound(y * down)) if score > 0 else None for x, y, score in triples
        )
        return points + (None,) * (count - len(triples) if triples else 0)

    return Person(
        read("pose_keypoints_2d", BODY_POINTS),
        read("hand_left_keypoints_2d", HAND_POINTS),
        read("hand_right_keypoints_2d", HAND_POINTS),
        read("face_keypoints_2d", FACE_POINTS, _MORE_FACE_POINTS),
    )


def _bound(number: float) -> float:
    return min(max(number, -_FARTHEST), _FARTHEST)


def _draw_body(canvas: Pixels, points: Points) -> None:
    """Draw limbs as ellipses, darker than the points, then the points."""
    import cv2

    if not points:
        return
    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        first, second = points[start], points[end]
        if first is None or second is None:
            continue
        across, down = second[0] - first[0], second[1] - first[1]
        middle = int((first[0] + second[0]) / 2), int((first[1] + second[1]) / 2)
        axes = int(np.hypot(across, down) / 2), _RADIUS
        angle = int(np.degrees(np.arctan2(-down, -across)))
        outline = np.asarray(cv2.ellipse2Poly(middle, axes, angle, 0, 360, 1), np.int32)
        cv2.fillConvexPoly(canvas, outline, [int(_LIMB_BRIGHTNESS * part) for part in colour])
    for point, colour in zip(points, _COLOURS, strict=True):
        _draw_dots(canvas, (point,), _RADIUS, colour)


def _draw_hand(canvas: Pixels, points: Points) -> None:
    import cv2

    if not points:
        return
    for number, (start, end) in enumerate(_FINGERS):
        first, second = points[start], points[end]
        if first is None or second is None:
            continue
        red, green, blue = colorsys.hsv_to_rgb(number / len(_FINGERS), 1, 1)
        colour = (255 * red, 255 * green, 255 * blue)
        cv2.line(canvas, _whole(first), _whole(second), colour, _BONE_WIDTH)
    _draw_dots(canvas, points, _RADIUS, _HAND_COLOUR)


def _draw_dots(
    canvas: Pixels, points: Sequence[Point | None], radius: int, colour: tuple[int, int, int]
) -> None:
    import cv2

    for point in points:
        if point is not None:
            cv2.circle(canvas, _whole(point), radius, colour, thickness=-1)


def _whole(point: Point) -> tuple[int, int]:
    return int(point[0]), int(point[1])
