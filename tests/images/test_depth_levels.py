from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.depth_levels import NO_ADJUSTMENT, DepthLevels
from modules.params.requests.depth import DepthRequest

RAMP = np.linspace(0, 1, 11)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (NO_ADJUSTMENT, RAMP),
        (DepthLevels(invert=True), RAMP[::-1]),
        (DepthLevels(contrast=0), np.full(11, 0.5)),
        (DepthLevels(contrast=2), [0, 0, 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1, 1, 1]),
        (DepthLevels(near=0.5), [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1]),
        (DepthLevels(far=0.5), [0, 0, 0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1]),
        (DepthLevels(near=0.5, invert=True), [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0]),
    ],
)
def test_depth_is_inverted_stretched_and_contrasted(levels: DepthLevels, expected: object):
    assert np.allclose(levels(RAMP), expected)


def test_a_depth_image_is_adjusted_like_an_array():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = DepthLevels(contrast=1.5, near=0.8, far=0.1, invert=True)
    assert np.array_equal(
        np.asarray(levels.adjust_image(ramp))[0], np.rint(levels(np.arange(256) / 255) * 255)
    )
    assert NO_ADJUSTMENT.adjust_image(ramp).tobytes() == ramp.tobytes()


def test_the_adjustment_is_taken_from_the_request():
    request = DepthRequest(depth_contrast=2, depth_near=0.9, depth_far=0.1, depth_invert=True)
    assert DepthLevels.from_request(request) == DepthLevels(2, 0.9, 0.1, True)
    assert DepthLevels.from_request(DepthRequest()) == NO_ADJUSTMENT
