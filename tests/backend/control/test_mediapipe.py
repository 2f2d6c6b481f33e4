"""Where MediaPipe's networks look, and what their numbers mean; the networks themselves are no part of the repository."""

from __future__ import annotations

import numpy as np
import pytest

from modules.backend.control.annotators.mediapipe import (
    _BODY,
    _FACE,
    _angle,
    _decode,
    _make_anchors,
    _merge_overlapping,
    _Region,
    _region_around,
    _region_between,
    _to_body,
)
from modules.images.preprocessors.poses import BODY_POINTS, FACE_POINTS


def test_the_detector_has_an_anchor_in_the_middle_of_each_cell():
    anchors = _make_anchors(224)
    assert anchors.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2)
    assert anchors[0].tolist() == anchors[1].tolist() == [0.5 / 28, 0.5 / 28]
    assert anchors[2].tolist() == [1.5 / 28, 0.5 / 28]
    assert anchors[-1].tolist() == [6.5 / 7, 6.5 / 7]


def test_numbers_of_the_detector_are_pixels_from_its_anchors():
    numbers = np.array([[10.0, 20, 40, 60, 1, 2, 3, 4, 5, 6, 7, 8]])
    found = _decode(numbers, np.array([[0.5, 0.25]]), 224)
    assert found[0, 0].tolist() == [122 - 20, 76 - 30]
    assert found[0, 1].tolist() == [122 + 20, 76 + 30]
    assert found[0, 2].tolist() == [113, 58]


def test_boxes_of_one_person_are_merged_by_their_scores():
    box = np.array([[0.0, 0], [10, 10], [5, 5], [5, 0], [5, 5], [5, 5]])
    found = np.stack((box, box + 2, box + 100))
    merged = _merge_overlapping(np.array([0.6, 0.9, 0.7], np.float32), found)
    assert [one[0, 0] for one in merged] == [pytest.approx(2 * 0.9 / 1.5), 100]


@pytest.mark.parametrize(
    ("end", "degrees"), [((0, -5), 0), ((5, 0), 90), ((0, 5), 180), ((-5, 0), 270)]
)
def test_an_angle_is_clockwise_from_upwards(end: tuple[int, int], degrees: float):
    assert np.degrees(_angle(np.zeros(2), np.array(end))) % 360 == pytest.approx(degrees)


def test_a_square_is_cut_out_upright_and_its_points_lead_back():
    image = np.zeros((100, 120, 3), np.uint8)
    image[50, 80] = 255  # to the right of the middle of the square
    region = _Region(np.array([60.0, 50.0]), 64.0, np.pi / 2)  # looks to the right
    cut = region.cut(image, 64)
    row, column = np.unravel_index(cut[:, :, 0].argmax(), (64, 64))
    # What lies ahead of someone who looks to the right is above in the square.
    assert (row, column) == (pytest.approx(12, abs=1), pytest.approx(32, abs=1))
    place = region.to_image(np.array([[column, row]], np.float64), 64)[0]
    assert place.tolist() == pytest.approx([80, 50], abs=1)


def test_a_square_around_points_is_turned_with_them_and_moved_ahead():
    points = np.array([[0.0, 0], [10, 0], [10, 20], [0, 20]])
    upright = _region_around(points, 0.0, 2.0, -0.1)
    assert (upright.centre.tolist(), upright.side) == ([5, 8], 40)
    turned = points[:, ::-1] * (-1, 1)  # by 90 degrees clockwise
    lying = _region_around(turned, np.pi / 2, 2.0, -0.1)
    assert lying.side == pytest.approx(40)
    assert lying.centre.tolist() == pytest.approx([-8, 5])


def test_a_square_between_hip_and_head_stands_on_the_hip():
    region = _region_between(np.array([50.0, 80.0]), np.array([50.0, 40.0]), 2.5, 0.0)
    assert (region.centre.tolist(), region.side) == ([50, 80], 100)
    assert region.angle == pytest.approx(0)


def test_points_get_the_places_of_openpose_and_the_neck_between_the_shoulders():
    points = np.stack((np.arange(39.0), np.arange(39.0) * 10), 1)
    is_seen = np.ones(39, bool)
    is_seen[14] = False
    body = _to_body(points, is_seen)
    assert len(body) == len(_BODY) == BODY_POINTS
    assert body[0] == (0, 0)
    assert body[1] == (11.5, 115)
    assert body[2] == (12, 120)  # the right shoulder
    assert body[3] is None  # the right elbow
    assert body[14] == (5, 50)  # the right eye
    is_seen[11] = False
    assert _to_body(points, is_seen)[1] is None
    assert len(_FACE) + 2 == FACE_POINTS
