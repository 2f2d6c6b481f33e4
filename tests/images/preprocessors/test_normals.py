"""Tests of depth as grey and as normals."""

import numpy as np
import pytest

from modules.images.preprocessors.normals import to_depth_image, to_normals


def test_depth_is_white_where_it_is_nearest():
    depth = np.array([[2.0, 4.0], [6.0, 10.0]], np.float32)
    assert to_depth_image(depth)[:, :, 0].tolist() == [[0, 63], [127, 255]]
    assert not to_depth_image(np.ones((2, 2), np.float32)).any()


def test_a_plane_faces_the_camera_and_a_slope_leans_by_its_gradient():
    flat = to_normals(np.ones((8, 8), np.float32), 0.0)
    assert flat[4, 4].tolist() == [127, 127, 255]
    slope = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    # Sobel's kernel sums to 8 times the slope of 1 a pixel; the part forward is 2 pi.
    length = np.hypot(8, 2 * np.pi)
    expected = [int(8 / length * 127.5 + 127.5), 127, int(2 * np.pi / length * 127.5 + 127.5)]
    assert to_normals(slope, 0.0)[4, 4].tolist() == pytest.approx(expected, abs=1)
    assert to_normals(slope.T.copy(), 0.0)[4, 4, 1] == pytest.approx(expected[0], abs=1)


def test_the_background_faces_the_camera():
    slope = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    normals = to_normals(slope, 0.4)
    assert normals[4, 1].tolist() == [127, 127, 255]
    assert normals[4, 5, 0] > 200
