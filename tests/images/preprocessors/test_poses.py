"""Tests of poses: drawn as ControlNet's models know them, and as OpenPose's JSON."""

from __future__ import annotations

import numpy as np
import pytest

from modules.core.errors import UserError
from modules.images.preprocessors.poses import Person, Pose

NOTHING = (None,) * 18


def body(**points: tuple[float, float]) -> tuple[tuple[float, float] | None, ...]:
    """Return a body of the points that are named by their numbers, such as p1=(3, 4)."""
    return tuple(points.get(f"p{number}") for number in range(18))


def test_points_have_their_colours_and_limbs_are_darker():
    person = Person(body(p1=(64.0, 20.0), p8=(64.0, 100.0)))
    drawn = Pose((person,), 128, 128).draw()
    assert drawn.shape == (128, 128, 3)
    assert drawn[20, 64].tolist() == [255, 85, 0]  # the neck
    assert drawn[100, 64].tolist() == [0, 255, 170]  # the right hip
    # The limb from the neck to the right hip is the seventh, at six tenths of its colour.
    assert drawn[60, 64].tolist() == [0, 153, 0]
    assert drawn[60, 64 - 4].tolist() == [0, 153, 0]
    assert not drawn[60, 64 - 7].any()
    assert not drawn[:10].any()


def test_a_limb_needs_both_ends_and_people_do_not_darken_each_other():
    alone = Pose((Person(body(p1=(20.0, 20.0))),), 64, 64).draw()
    together = Pose((Person(body(p1=(20.0, 20.0))), Person(body(p0=(50.0, 50.0)))), 64, 64).draw()
    assert (alone.any(axis=2)).sum() < 60
    assert together[20, 20].tolist() == [255, 85, 0]
    assert together[50, 50].tolist() == [255, 0, 0]


def test_hands_are_coloured_bones_with_blue_joints_and_faces_white_dots():
    hand = tuple((10.0 + 5 * number, 30.0) for number in range(21))
    face = ((100.0, 100.0),) * 70
    drawn = Pose((Person(left_hand=hand, face=face),), 128, 128).draw()
    assert drawn[30, 10].tolist() == [0, 0, 255]
    assert drawn[100, 100].tolist() == [255, 255, 255]
    bone = Pose((Person(right_hand=((5.0, 9.0), (95.0, 9.0)) + (None,) * 19),), 128, 128).draw()
    assert bone[9, 50].tolist() == [255, 0, 0]  # the first of twenty hues


def test_a_pose_is_read_as_it_is_written():
    person = Person(body(p0=(32.0, 16.0), p5=(8.0, 60.0)), face=((1.0, 2.0),) * 70)
    pose = Pose((person,), 64, 128)
    document = pose.to_json()
    assert document["people"][0]["pose_keypoints_2d"][:3] == [0.5, 0.125, 1.0]
    assert document["people"][0]["pose_keypoints_2d"][3:6] == [0, 0, 0]
    assert document["people"][0]["hand_left_keypoints_2d"] is None
    assert Pose.from_json(document) == pose


def test_points_in_pixels_and_short_lists_are_understood():
    numbers = [32, 16, 1, 0, 0, 0, 8, 60, 0.9]
    document = {
        "people": [{"pose_keypoints_2d": numbers}],
        "canvas_width": 64,
        "canvas_height": 128,
    }
    person = Pose.from_json(document).people[0]
    assert person.body == ((32.0, 16.0), None, (8.0, 60.0)) + (None,) * 15
    assert person.face == ()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "not in OpenPose's form: KeyError 'people'|not in OpenPose's form: KeyError 'canvas"),
        ({"people": [], "canvas_width": 10**9, "canvas_height": 2}, "1000000000 x 2 pixels"),
        ({"people": [3], "canvas_width": 8, "canvas_height": 8}, "not in OpenPose's form"),
        (
            {
                "people": [{"pose_keypoints_2d": [1, 2]}],
                "canvas_width": 8,
                "canvas_height": 8,
            },
            "pose_keypoints_2d has 2 numbers",
        ),
        (
            {
                "people": [{"pose_keypoints_2d": [float("nan"), 2, 1]}],
                "canvas_width": 8,
                "canvas_height": 8,
            },
            "not in OpenPose's form",
        ),
    ],
)
def test_another_form_is_refused_with_a_sentence(document, words: str):
    with pytest.raises(UserError, match=words):
        Pose.from_json(document)


def test_points_far_away_are_drawn_without_an_error():
    numbers = [1e300, -1e300, 1.0, 3.0, 3.0, 1.0] + [0.0] * 48
    document = {"people": [{"pose_keypoints_2d": numbers}], "canvas_width": 8, "canvas_height": 8}
    assert Pose.from_json(document).draw().shape == (8, 8, 3)
    assert not np.any(Pose((), 4, 4).draw())
